"""Providers that the kit starts, with real processes: however they and the kit behave, none outlives the kit."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.core.command_line import parse_command
from conformance.core.errors import TargetError
from conformance.fleet.backend import CommandBackend
from conformance.fleet.commands import run_command
from conformance.fleet.control import ControlOptions, controlled
from conformance.fleet.process import CommandProvider, ProcessProvider, ProviderTimeouts
from conformance.frontends.cli.provider_options import free_port
from conformance.rpc.target import Target

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conformance.fleet.provider import Provider

LIMIT_S = 60.0
"""The longest time for something that takes milliseconds on a computer without load."""
SLOW = ProviderTimeouts(start=LIMIT_S, stop=LIMIT_S, command=LIMIT_S)
FAKE = [sys.executable, "-m", "fake_provider", "serve", "--port"]

SLEEPS = """
    import pathlib, time
    pathlib.Path({ready!r}).touch()
    time.sleep(1000)
"""
FORKS = """
    import os, pathlib, time
    child = os.fork()
    if not child:
        {before_sleep}
        pathlib.Path({ready!r}).write_text(str(os.getpid()))
        time.sleep(1000)
    {parent}
"""
DEAF = """
    import pathlib, signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path({ready!r}).touch()
    time.sleep(1000)
"""


class Started:
    """A provider made from a script, which is written and started in a directory."""

    def __init__(self, directory: Path, script: str = "", *, timeouts: ProviderTimeouts = SLOW, **values: str) -> None:
        self.ready, self.log = directory / "ready", directory / "provider.log"
        path = directory / "provider.py"
        path.write_text(textwrap.dedent(script).format(ready=str(self.ready), **values))
        self.port = free_port()
        self.provider = ProcessProvider(
            [sys.executable, str(path)], Target(address=f"127.0.0.1:{self.port}"), log=self.log, timeouts=timeouts
        )

    async def start(self) -> None:
        """Starts the script, and returns when it has said that it runs."""
        await self.provider.start(wait=False)
        await until(self.ready.exists)


async def until(condition: Callable[[], object]) -> None:
    """Returns when a condition holds. Fails after LIMIT_S."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "this takes too long"
        await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Returns whether a process has ended; a zombie has."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def run(work: Awaitable[object]) -> None:
    """Runs a test's coroutine."""

    async def main() -> None:
        await work

    asyncio.run(main())


async def closing(provider: ProcessProvider, work: Awaitable[object]) -> None:
    """Runs `work`, and closes the provider."""
    try:
        await work
    finally:
        await provider.close()


def runs(provider: Provider) -> bool:
    """Returns whether a provider runs."""
    return provider.running


def test_a_provider_is_killed_started_again_and_stopped(tmp_path: Path) -> None:
    port = free_port()
    words = [*FAKE, str(port), "--state", str(tmp_path / "state")]
    target, log = Target(address=f"127.0.0.1:{port}"), tmp_path / "log"
    provider = ProcessProvider(words, target, log=log, timeouts=SLOW)

    async def work() -> None:
        assert not runs(provider)
        await provider.start()
        await provider.start()
        assert runs(provider)
        assert provider.address == f"127.0.0.1:{port}"
        await provider.kill()
        assert not runs(provider)
        await provider.start()
        assert await provider.stop() > 0.0
        assert not runs(provider)
        assert provider.death == ""

    run(closing(provider, work()))
    assert [line.split()[2] for line in log.read_text().splitlines() if line.startswith("--- start")] == ["1", "2"]


def test_a_provider_that_needs_long_to_serve_is_waited_for(tmp_path: Path) -> None:
    started = Started(
        tmp_path,
        """
        import os, sys, time
        time.sleep(3)
        os.execv(sys.executable, [sys.executable, "-m", "fake_provider", "serve", "--port", {port!r}])
        """,
        port="0",
    )
    path = tmp_path / "provider.py"
    path.write_text(path.read_text().replace("'0'", f"'{started.port}'"))

    async def work() -> None:
        began = time.monotonic()
        await started.provider.start()
        assert time.monotonic() - began > 3.0

    run(closing(started.provider, work()))


def test_a_provider_that_never_listens_is_killed_and_named(tmp_path: Path) -> None:
    script = """
        import os, time
        print("I am", os.getpid(), flush=True)
        time.sleep(1000)
    """
    started = Started(tmp_path, script, timeouts=ProviderTimeouts(start=3.0))

    async def work() -> None:
        with pytest.raises(TargetError, match=r"does not serve at .* within 3 s; its last output: I am \d+") as raised:
            await started.provider.start()
        assert "provider.log" in str(raised.value.hint)
        assert not started.provider.running

    run(closing(started.provider, work()))
    assert gone(int(started.log.read_text().split()[-1]))


def test_a_provider_that_dies_at_its_start_shows_its_last_lines(tmp_path: Path) -> None:
    script = """
        import sys
        for number in range(2000):
            print("line", number)
        sys.exit("address in use \\x1b[31m")
    """
    started = Started(tmp_path, script)

    async def work() -> None:
        with pytest.raises(TargetError) as raised:
            await started.provider.start()
        said = raised.value.message
        assert said.startswith("the provider ended with exit code 1; its last output: line 1995 | line 1996")
        assert said.endswith("| address in use \\x1b[31m")

    run(closing(started.provider, work()))


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    target = Target(address="127.0.0.1:1")
    provider = ProcessProvider(["/no/such/program"], target, log=tmp_path / "log", timeouts=SLOW)

    async def work() -> None:
        with pytest.raises(TargetError, match="cannot be started: /no/such/program: No such file or directory"):
            await provider.start()
        assert not runs(provider)

    run(closing(provider, work()))


def test_headers_are_not_shown_with_the_last_lines(tmp_path: Path) -> None:
    target = Target(address="127.0.0.1:1", headers=(("authorization", "Bearer abcdefgh12345"),))
    words = ["sh", "-c", "echo got abcdefgh12345; exit 3"]
    provider = ProcessProvider(words, target, log=tmp_path / "log", timeouts=SLOW)

    async def work() -> None:
        with pytest.raises(TargetError, match=r"exit code 3; its last output: got \[authorization: redacted\]"):
            await provider.start()

    run(closing(provider, work()))


def test_a_death_in_the_middle_is_told_and_others_are_not(tmp_path: Path) -> None:
    script = """
        import os, pathlib, signal, time
        print("panic: out of memory", flush=True)
        pathlib.Path({ready!r}).touch()
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGSEGV)
    """
    started = Started(tmp_path, script)

    async def work() -> None:
        await started.start()
        await until(lambda: not started.provider.running)
        assert started.provider.death == "the provider was killed by SIGSEGV; its last output: panic: out of memory"

    run(closing(started.provider, work()))


def test_a_provider_that_prints_much_is_not_held_up(tmp_path: Path) -> None:
    script = """
        import pathlib, sys, time
        for number in range(200):
            sys.stdout.write("x" * 100_000 + "\\n")
        sys.stdout.flush()
        pathlib.Path({ready!r}).touch()
        time.sleep(1000)
    """
    started = Started(tmp_path, script)
    run(closing(started.provider, started.start()))
    assert started.log.stat().st_size > 20_000_000


def test_a_provider_that_ignores_sigterm_is_killed_after_the_timeout(tmp_path: Path) -> None:
    started = Started(tmp_path, DEAF, timeouts=ProviderTimeouts(stop=0.5))

    async def work() -> None:
        await started.start()
        with pytest.raises(TargetError, match=r"did not end within 0.5 s of SIGTERM, and was killed"):
            await started.provider.stop()
        assert not started.provider.running
        assert started.provider.death == ""

    run(closing(started.provider, work()))


def test_an_orderly_stop_waits_for_the_whole_group(tmp_path: Path) -> None:
    # The shell ends at once; the provider that it has started needs a while to stop.
    script = tmp_path / "slow.py"
    script.write_text(
        textwrap.dedent(f"""
        import pathlib, signal, sys, time
        def stop(number, frame):
            time.sleep(0.5)
            pathlib.Path({str(tmp_path / "stopped")!r}).touch()
            sys.exit()
        signal.signal(signal.SIGTERM, stop)
        pathlib.Path({str(tmp_path / "ready")!r}).touch()
        time.sleep(1000)
        """)
    )
    words = ["sh", "-c", f"{sys.executable} {script}; true"]
    target = Target(address="127.0.0.1:1")
    provider = ProcessProvider(words, target, log=tmp_path / "log", timeouts=SLOW)

    async def work() -> None:
        await provider.start(wait=False)
        await until((tmp_path / "ready").exists)
        await provider.stop()
        assert (tmp_path / "stopped").exists()

    run(closing(provider, work()))


CHILDREN = [("pass", "time.sleep(1000)"), ("signal = __import__('signal'); signal.signal(15, 1)", "time.sleep(1000)")]
if sys.platform == "linux":
    CHILDREN.append(("os.setsid()", "time.sleep(1000)"))  # a process that leaves its group: only Linux finds it


@pytest.mark.parametrize(("child", "parent"), CHILDREN)
@pytest.mark.parametrize("way", ["kill", "close"])
def test_the_children_of_a_provider_end_with_it(child: str, parent: str, way: str, tmp_path: Path) -> None:
    timeouts = ProviderTimeouts(stop=0.5)
    started = Started(tmp_path, FORKS, timeouts=timeouts, before_sleep=child, parent=parent)

    async def work() -> None:
        await started.start()
        await until(started.ready.read_text)
        pid = int(started.ready.read_text())
        assert not gone(pid)
        await (started.provider.kill() if way == "kill" else started.provider.close())
        await until(lambda: gone(pid))

    run(closing(started.provider, work()))


def test_the_children_of_a_provider_that_dies_end_with_it(tmp_path: Path) -> None:
    wait = f"while not pathlib.Path({str(tmp_path / 'ready')!r}).exists(): time.sleep(0.01)"
    started = Started(tmp_path, FORKS, before_sleep="pass", parent=wait)

    async def work() -> None:
        await started.provider.start(wait=False)
        await until(lambda: started.ready.exists() and started.ready.read_text())
        pid = int(started.ready.read_text())
        await until(lambda: not started.provider.running)
        assert gone(pid)
        assert "exit code 0" in started.provider.death

    run(closing(started.provider, work()))


KIT = """
import asyncio, sys
from pathlib import Path
from conformance.fleet.process import ProcessProvider, ProviderTimeouts
from conformance.rpc.target import Target

async def main(directory: Path) -> None:
    provider = ProcessProvider(
        [sys.executable, str(directory / "provider.py")], Target(address="127.0.0.1:1"), log=directory / "log",
        timeouts=ProviderTimeouts(),
    )
    await provider.start(wait=False)
    await asyncio.sleep(1000)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("script", [FORKS, DEAF, SLEEPS], ids=["forks", "deaf", "sleeps"])
def test_a_provider_does_not_outlive_a_killed_kit(script: str, tmp_path: Path) -> None:
    values = {"ready": str(tmp_path / "ready"), "before_sleep": "pass", "parent": "time.sleep(1000)"}
    mark = f"import os, pathlib; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
    (tmp_path / "provider.py").write_text(mark + textwrap.dedent(script).format(**values))
    (tmp_path / "kit.py").write_text(KIT)
    kit = subprocess.Popen([sys.executable, str(tmp_path / "kit.py"), str(tmp_path)])
    try:
        asyncio.run(until((tmp_path / "ready").exists))
        pids = [int((tmp_path / name).read_text() or 0) for name in ("pid", "ready")]
        pids = [pid for pid in pids if pid]
        assert not any(map(gone, pids))
        kit.kill()
        asyncio.run(until(lambda: all(map(gone, pids))))
    finally:
        with suppress(ProcessLookupError):
            kit.kill()
        kit.wait()


def test_a_provider_does_not_outlive_its_supervisor(tmp_path: Path) -> None:
    started = Started(tmp_path, SLEEPS)

    async def work() -> None:
        await started.start()
        assert started.provider._process is not None
        started.provider._process._process.send_signal(signal.SIGKILL)
        await until(lambda: not started.provider.running)
        assert "its supervisor ended" in started.provider.death

    run(closing(started.provider, work()))


# Commands of the user.


def test_a_command_is_judged_by_its_exit_code_and_its_time() -> None:
    async def work() -> None:
        assert await run_command(["printf", "a\\nb"], option="--x", timeout=LIMIT_S) == "a\nb"
        with pytest.raises(TargetError, match=r"^--x ended with exit code 3: no \| disk$"):
            await run_command(["sh", "-c", "echo no >&2; echo disk >&2; exit 3"], option="--x", timeout=LIMIT_S)
        with pytest.raises(TargetError, match=r"--x took longer than 0\.2 s"):
            await run_command(["sleep", "1000"], option="--x", timeout=0.2)
        with pytest.raises(TargetError, match="--x cannot be started: no-such-program: No such file"):
            await run_command(["no-such-program"], option="--x", timeout=LIMIT_S)

    run(work())


def test_the_backend_lists_one_host_a_line() -> None:
    async def work() -> None:
        backend = CommandBackend(["printf", "i-1\\n\\n  i-2  \\n"], timeout=LIMIT_S)
        assert await backend.hosts() == {"i-1", "i-2"}
        with pytest.raises(TargetError, match="--hosts-cmd ended with exit code 1"):
            await CommandBackend(["false"], timeout=LIMIT_S).hosts()

    run(work())


def outside(directory: Path, port: int) -> CommandProvider:
    """Returns a provider that shell commands start in the background, and end."""
    serve = f"nohup {' '.join(FAKE)} {port} >{directory}/log 2>&1 & echo $! >{directory}/pid"
    return CommandProvider(
        Target(address=f"127.0.0.1:{port}"),
        start=["setsid", "sh", "-c", serve],
        stop=["sh", "-c", f"kill $(cat {directory}/pid)"],
        kill=["sh", "-c", f"kill -9 $(cat {directory}/pid)"],
        timeouts=SLOW,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="setsid is a program of Linux")
def test_a_provider_elsewhere_is_left_as_it_was_found(tmp_path: Path) -> None:
    port = free_port()
    first, second = outside(tmp_path, port), outside(tmp_path, port)

    async def work() -> None:
        await first.start()
        assert runs(first)
        await second.start()
        await second.kill()
        assert not runs(second)
        await second.close()
        assert runs(second)
        assert await first._serving.answers()
        await first.close()
        assert not runs(first)
        assert not await first._serving.answers()

    run(work())


def test_state_and_output_go_to_the_report_directory(tmp_path: Path) -> None:
    command = parse_command("printf {dir}", "--hosts-cmd")
    options = ControlOptions(hosts=command, timeouts=SLOW)

    async def work() -> None:
        for name in ("provider-state", "provider-state-2"):
            async with controlled(options, Target(address="127.0.0.1:1"), report_dir=tmp_path) as control:
                assert control.backend is not None
                assert await control.backend.hosts() == {str(tmp_path / name)}

    run(work())
    assert (tmp_path / "provider.log").exists()


def test_a_temporary_state_is_deleted_unless_it_is_needed() -> None:
    options = ControlOptions(hosts=parse_command("true", "--hosts-cmd"))

    async def work(*, keep: bool) -> Path:
        async with controlled(options, Target(address="127.0.0.1:1"), report_dir=None) as control:
            control.keep_state = keep
            assert control.state is not None
            assert control.state.is_dir()
            return control.state

    assert not asyncio.run(work(keep=False)).exists()
    kept = asyncio.run(work(keep=True))
    assert kept.exists()
    kept.rmdir()
