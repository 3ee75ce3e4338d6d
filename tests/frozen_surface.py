"""Collects the public surface of the kit from real runs and commands, and compares it with a frozen copy.

`python -m tests.frozen_surface` prints the differences from `frozen_surface.json`; with `--write` it accepts them.
A surface consists of named, sorted lists of lines, so every difference is one readable line.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

import conformance
from conformance.frontends.cli import main as cli_main
from conformance.frontends.cli.commands.run import run_command
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.faults import Faults
from fake_provider.fleet import fleet
from tests.runs import provider, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Surface: TypeAlias = "dict[str, list[str]]"

ROOT = Path(__file__).resolve().parent.parent
FROZEN = Path(__file__).with_name("frozen_surface.json")
WRITE = "python -m tests.frozen_surface --write"

FREE = (
    *("found.fleet", "home.reasons", "home.failed", "home.taken", "took", "calls[].seen", "changes[].codes"),
    *("weather.did", "weather.lost", "weather.again", "scale.latencies", "rates", "p99"),
)
"""Key paths of objects whose keys are data: machines, RPCs, states."""
FOREIGN = ("calls[].sent",)
"""Key paths of objects that protobuf writes: the contract defines their keys."""

NOWHERE = ("--target", "127.0.0.1:1", "--connect-timeout", "200ms")
SELECT = ("--select", "FEN-1a,COD-1,MET-1a")


class Broken(Core):
    """Breaks FEN-1 and COD-1, and fails each Delete, so that reports have failures and FAILED machines."""

    def passes(self, verb, token, mark):  # type: ignore[no-untyped-def]
        return token == mark or super().passes(verb, token, mark)

    def find(self, machine_id):  # type: ignore[no-untyped-def]
        if machine_id not in self.machines:
            raise Rejected(Code.INTERNAL, "no such machine")
        return super().find(machine_id)

    def settle(self, machine):  # type: ignore[no-untyped-def]
        settled = super().settle(machine)
        deleted = machine.operation is not None and machine.operation.verb == "delete"
        return self.failed(machine, "the cloud keeps it") if deleted else settled


class KeepsMachines(Core):
    """Refuses each Delete, so that machines are left."""

    def start(self, verb, machine, request, now):  # type: ignore[no-untyped-def]
        if verb == "delete":
            raise Rejected(Code.ABORTED, "the cloud keeps it")
        return super().start(verb, machine, request, now)


# Processes.


def environment(home: Path) -> dict[str, str]:
    """Returns the environment without variables of the kit and of pytest, so that only the command line counts."""
    foreign = ("CONFORMANCE_", "BIGFLEET_", "PYTEST")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {"XDG_STATE_HOME": str(home / "state")}


def module(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m COMMAND` in `home`."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def interrupted(home: Path) -> int:
    """Returns the exit code of a run that receives SIGINT after its first line of output."""
    command = [sys.executable, "-m", "conformance", "run", "--fake", "--no-config"]
    with subprocess.Popen(
        command, cwd=home, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=100)
    return process.returncode


# Runs: the keys in their files, and their exit codes.


def runs() -> Surface:
    """Returns the key paths in the files that runs write, and the exit codes of the commands."""
    with tempfile.TemporaryDirectory() as directory, served(Core(fleet(16, idle=1))) as good:
        home = Path(directory)
        _write_inputs(home, good)
        with (
            served(provider(16, cls=Broken, faults=Faults(), revisions=False)) as bad,
            served(provider(16, cls=KeepsMachines)) as kept,
            ThreadPoolExecutor(3) as pool,
        ):
            codes: dict[str, int] = {}
            stopped = pool.submit(interrupted, home)
            for stage in _commands_to_run(good, bad, kept):
                done = pool.map(lambda words: module(home, "conformance", *words), stage.values())
                for name, each in zip(stage, done, strict=True):
                    codes[name] = each.returncode
                    # pytest shows this if the test fails: a run that ended early explains missing keys.
                    print(f"{name}: exit code {each.returncode} {each.stderr.strip()}", file=sys.stderr)
            codes["run: interrupted"] = stopped.result()
        reports = [json.loads(path.read_text(encoding="utf-8")) for path in home.glob("*/report.json")]
        events, ledger = _lines(home.glob("*/events.ndjson")), _lines(home.rglob("*ledger.ndjson"))
        return {
            "exit codes": sorted(f"{name}: {code}" for name, code in codes.items()),
            "report directory": sorted(path.name for path in home.glob("good/*")),
            "report.json": _paths_of(reports),
            **_by_kind("events.ndjson", events, lambda line: line["event"]),
            **_by_kind("ledger.ndjson", ledger, lambda line: next(iter(line))),
        }


def _write_inputs(home: Path, address: str) -> None:
    """Writes a waiver that is stale on a good provider, and the ledger of a run whose machine has another host now."""
    waiver = ('reason = "a test"', 'owner = "a test"', "expires = 2999-01-01", 'fingerprint = "1:0123456789ab"')
    (home / "waivers.toml").write_text("\n".join(("[waiver.FEN-1a]", *waiver)), encoding="utf-8")
    lines = (
        {"ledger": 1, "run": "cpc-dead", "target": address, "at": 0.0},
        {"intend": "Create", "machine": "machine-0001", "home": "SPECULATIVE", "shard": "s", "epoch": 1, "at": 0.0},
        {"seen": "IDLE", "machine": "machine-0001", "host": "i-before"},
    )
    (home / "taken-ledger.ndjson").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def _commands_to_run(good: str, bad: str, kept: str) -> tuple[dict[str, tuple[str, ...]], ...]:
    """Returns commands by the meaning of their exit code, in stages: a stage reads the output of earlier stages."""
    run = ("run", "--no-config", "--seed", "1", "--quiet")
    scale = ("--lane", "scale", "--soak", "1500ms", "--max-machines", "4")
    first = {
        "run: conformant": (*run, "--target", good, *SELECT, "--report-dir", "good"),
        "run: budget exceeded": (*run, "--fake", *scale, "--budget", "get.max=0.01ms", "--report-dir", "scale"),
        "run: waiver stale": (*run, "--fake", "--select", "FEN-1a", "--waivers", "waivers.toml"),
        "run: unreachable": (*run, *NOWHERE),
        "run: no target": run,
        "run: unknown option": (*run, "--no-such-option"),
        "plan: planned": ("plan", "--no-config", "--fake", *SELECT),
        "plan: unreachable": ("plan", "--no-config", *NOWHERE),
        "sweep: no such ledger": ("sweep", "none.ndjson", "--target", good),
        "list: listed": ("list", "--format", "json"),
        "list: unknown behaviour": ("list", "--select", "NOT-1"),
        "show: shown": ("show", "FEN-1a"),
        "config: shown": ("config", "--no-config"),
        "completion: written": ("completion", "zsh"),
        "proto lint: nothing found": ("proto", "lint"),
        "proto lint: cannot tell": ("proto", "lint", "--proto", "nowhere"),
        "no command": (),
    }
    second = {
        "run: not conformant": (
            *(*run, "--target", bad, *SELECT, "--report-dir", "bad", "--fault", "delay=20ms"),
            *("--baseline", "good/report.json", "--waivers", "waivers.toml"),
        ),
        "run: machines left": (*run, "--target", kept, "--select", "MET-1a", "--report-dir", "left"),
        "run: machines failed": (*run, "--target", bad, "--select", "MET-1a"),
        "diff: nothing differs": ("diff", "good", "good"),
        "render: rendered": ("render", "good/report.json", "--md", "report.md"),
        "render: not a record": ("render", "waivers.toml"),
        "next: named": ("next", "good/report.json"),
    }
    third = {
        "diff: something differs": ("diff", "good", "bad"),
        "waive: written": ("waive", "--from", "bad/report.json", "--output", "waived.toml"),
        "sweep: machines left": ("sweep", "left/ledger.ndjson", "--target", kept),
        "sweep: all cleaned up": ("sweep", "good/ledger.ndjson", "--target", good),
        "sweep: machine taken": ("sweep", "taken-ledger.ndjson", "--target", good),
    }
    return first, second, third


def _lines(files: Iterable[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def _by_kind(file: str, lines: Iterable[dict[str, Any]], kind: Callable[[dict[str, Any]], str]) -> Surface:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        kinds.setdefault(kind(line), []).append(line)
    return {f"{file} {name}": _paths_of(found) for name, found in sorted(kinds.items())}


def _paths_of(values: Iterable[Any]) -> list[str]:
    return sorted({path for value in values for path in _paths(value, "")} - {""})


def _paths(value: Any, path: str) -> Iterator[str]:
    """Yields the key paths in a JSON value: `calls[]` for an array, `took{}` for an object whose keys are data."""
    match value:
        case dict() if path.endswith(FOREIGN):
            yield path
        case dict():
            free = path.endswith(FREE)
            yield f"{path}{{}}" if free else path
            for key, each in value.items():
                yield from _paths(each, f"{path}{{}}" if free else f"{path}.{key}".lstrip("."))
        case list():
            yield f"{path}[]"
            for each in value:
                yield from _paths(each, f"{path}[]")
        case _:
            yield path


# Commands and their options.


def commands() -> Surface:
    """Returns every command with its arguments, options, choices and environment variables."""
    return {
        "commands": sorted(
            {*_lines_of(cli_main.conformance, "conformance", None), *_lines_of(run_command, "conformance-run", None)}
        )
    }


def _lines_of(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, parent=parent, info_name=name, **command.context_settings)
    yield context.command_path
    for parameter in command.params:
        yield " ".join((context.command_path, *_words_of(parameter, context)))
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from _lines_of(found, each, context)


def _words_of(parameter: click.Parameter, context: click.Context) -> Iterator[str]:
    name = str(parameter.name)
    if isinstance(parameter, click.Argument):
        yield name.upper()
    else:
        yield "/".join((*parameter.opts, *parameter.secondary_opts))
    if isinstance(parameter.type, click.Choice):
        yield f"{{{','.join(map(str, parameter.type.choices))}}}"
    if parameter.multiple or parameter.nargs == -1:
        yield "..."
    own = [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar or ())
    if isinstance(parameter, click.Option) and context.auto_envvar_prefix:
        own.append(f"{context.auto_envvar_prefix}_{name.upper()}")
    yield from (f"${variable}" for variable in dict.fromkeys(own))


# All other names.


def names() -> Surface:
    """Returns names: Python API, entry points, options of the plugin, keys of conformance.toml, behaviours."""
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as pool:
        collect = ("pytest", "--pyargs", "conformance.suite", "--collect-only", "-q", "-p", "no:cacheprovider")
        commands = (
            collect,
            ("pytest", "--help", "-p", "no:cacheprovider"),
            ("conformance", "config", "--no-config", "--format", "json"),
            ("conformance", "list", "--format", "json"),
        )
        suite, usage, config, listed = (
            done.stdout for done in pool.map(lambda words: module(Path(directory), *words), commands)
        )
    group = usage.partition("\nconformance:")[2].partition("\n\n")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "python": sorted(_described(name) for name in conformance.__all__),
        "entry points": sorted(
            [
                *(f"script {name}" for name in project["scripts"]),
                *(f"{kind} {name}" for kind, points in project["entry-points"].items() for name in points),
            ]
        ),
        "pytest options": sorted(
            word.partition("=")[0] for line in group.splitlines() for word in line.split()[:1] if word.startswith("--")
        ),
        "conformance.toml": sorted(json.loads(config)),
        "suite": sorted(line.rpartition("/")[2] for line in suite.splitlines() if "::" in line),
        "behaviours": sorted(f"{each['id']} {each['level']} {each['clause']}" for each in json.loads(listed)),
    }


def _described(name: str) -> str:
    public = getattr(conformance, name)
    if inspect.isfunction(public):
        return f"{name}({', '.join(inspect.signature(public).parameters)})"
    if issubclass(public, Enum):
        return f"{name}: {', '.join(str(member.value) for member in public)}"
    return name


def kill_matrix() -> Surface:
    """Returns the mutants of the self-test, each with its clause and the behaviours that find it independently."""
    rows = json.loads((ROOT / "docs" / "kill-matrix.json").read_text(encoding="utf-8"))["mutants"]
    found = {row["mutant"]: (row["clause"], sorted(root for root, _ in row["causes"])) for row in rows}
    return {"kill matrix": sorted(f"{name} {clause}: {', '.join(by)}" for name, (clause, by) in found.items())}


PARTS: Mapping[str, Callable[[], Surface]] = {
    "runs": runs,
    "commands": commands,
    "names": names,
    "kill matrix": kill_matrix,
}


# The frozen copy.


def frozen() -> dict[str, Surface]:
    """Returns the frozen surface, by part."""
    data: dict[str, Surface] = json.loads(FROZEN.read_text(encoding="utf-8"))
    return data


def differences(then: Surface, now: Surface) -> list[str]:
    """Returns a line for each removed and each new line of the surface."""
    found = []
    for name in sorted({*then, *now}):
        before, after = set(then.get(name, ())), set(now.get(name, ()))
        found += [f"gone  {name}: {line}" for line in sorted(before - after)]
        found += [f"new   {name}: {line}" for line in sorted(after - before)]
    return found


def main() -> int:
    """Prints the differences, and accepts them with --write; returns 1 if there are unaccepted ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="accept the current surface: write frozen_surface.json")
    given = parser.parse_args()
    now = {name: collect() for name, collect in PARTS.items()}
    then = frozen() if FROZEN.exists() else {}
    found = [line for name in PARTS for line in differences(then.get(name, {}), now[name])]
    print("\n".join(found) or "the surface is unchanged")
    if given.write:
        FROZEN.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if found and not given.write else 0


if __name__ == "__main__":
    sys.exit(main())
