from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from conformance.core import catalogue
from conformance.core.errors import UsageError
from conformance.engine.replay import compare_outcomes, select_ids
from conformance.results.result import Status
from fake_provider.core import Core
from fake_provider.server import serving as served
from tests.provider_process import judge, run, serving
from tests.runs import provider
from tests.values import a_report, a_result

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAILED, PASSED, ERROR = Status.FAILED, Status.PASSED, Status.ERROR
KNOWN = catalogue.load()


class EqualPasses(Core):
    """A fence that accepts an equal token."""

    fixed = False

    def passes(self, verb, token, mark):  # type: ignore[no-untyped-def]
        return (token == mark and not self.fixed) or super().passes(verb, token, mark)


@contextmanager
def broken() -> Iterator[tuple[str, EqualPasses]]:
    """Serves a broken provider in its own thread. The test can fix it while it is served."""
    loop, over, up = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    core = provider(16, cls=EqualPasses)
    where: list[str] = []

    async def serve() -> None:
        async with served(core, grace=0.0) as address:
            where.append(address)
            up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(20)
    try:
        yield where[0], core  # type: ignore[misc]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()


def test_a_failure_is_replayed_with_its_seed_and_options_and_passes_after_the_fix(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with broken() as (address, core):
        options = ("--select", "FEN-1a,LIF-4a", "--seed", "41", "--examples", "3", "--patience", "20s", "--strict")
        done = run("conformance-run", "--target", address, "--report-dir", str(first), *options)
        assert done.code == 1, done.text
        again = run("conformance", "replay", str(first / "events.ndjson"), "FEN-1a", "--report-dir", str(second))
        core.fixed = True
        fixed = run("conformance", "replay", str(first / "report.json"))
    assert again.code == 1, again.text
    assert again.out.splitlines()[-1] == "replay     FEN-1a: same failure as before"
    then, now = (json.loads((where / "report.json").read_text()) for where in (first, second))
    assert (now["seed"], now["asked"], now["strict"]) == (41, then["asked"], True)
    assert [one["id"] for one in now["behaviours"]] == ["FEN-1a"]
    assert now["home"]["clean"]
    assert fixed.code == 0, fixed.text
    assert fixed.out.splitlines()[-1] == "replay     FEN-1a: passed this time"


def test_a_run_of_the_embedded_fake_is_replayed_on_a_new_one(tmp_path: Path) -> None:
    done = run("conformance-run", "--fake", "--select", "FEN-1a", "--report-dir", str(tmp_path / "out"))
    assert done.code == 0, done.text
    again = run("conformance", "replay", str(tmp_path / "out/events.ndjson"), "FEN-1")
    assert again.code == 0, again.text
    assert again.out.splitlines()[-1] == "replay     FEN-1a: passed, passed before"


def test_a_truncated_log_is_replayed_at_another_target(tmp_path: Path) -> None:
    with serving() as provider_:
        assert judge(provider_, "--select", "FEN-1a,LIF-4a", directory=tmp_path / "out").code == 0
    log = tmp_path / "out/events.ndjson"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]), encoding="utf-8")
    with serving() as other:
        again = run("conformance", "replay", str(log), "LIF-4a", "--target", other.address)
    assert again.code == 0, again.text
    assert again.out.splitlines()[-1].startswith("replay     LIF-4a: passed")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"headers": ["authorization"]}, "that run sent the header 'authorization', whose value is not recorded"),
        ({"tls": True}, "that run used TLS"),
    ],
)
def test_credentials_must_be_given_again(change: dict[str, object], problem: str, tmp_path: Path) -> None:
    with serving() as provider_:
        assert judge(provider_, "--select", "FEN-1a", directory=tmp_path / "out").code == 0
    path = tmp_path / "out/report.json"
    record = json.loads(path.read_text())
    record["asked"] |= {key: value for key, value in change.items() if key != "tls"}
    record["found"] |= {key: value for key, value in change.items() if key == "tls"}
    path.write_text(json.dumps(record))
    done = run("conformance", "replay", str(path), "FEN-1a")
    assert done.code == 2
    assert done.err.splitlines()[0] == f"error: {problem}"


def test_without_ids_all_behaviours_that_did_not_pass_are_selected() -> None:
    report = a_report(a_result(PASSED, "FEN-1a"), a_result(FAILED, "FEN-1b"), a_result(ERROR, "LIF-1a"))
    assert select_ids(report, (), KNOWN) == ("FEN-1b", "LIF-1a")
    assert select_ids(report, ("FEN",), KNOWN) == ("FEN-1a", "FEN-1b")


@pytest.mark.parametrize(
    ("pattern", "problem"), [("LIF-4a", "was not part of that run"), ("FEN-99", "matches no behaviour")]
)
def test_a_behaviour_that_the_run_did_not_judge_is_rejected(pattern: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        select_ids(a_report(a_result(FAILED, "FEN-1a")), (pattern,), KNOWN)


def test_if_all_passed_ids_must_be_given() -> None:
    report = a_report(a_result(PASSED, "FEN-1a"))
    with pytest.raises(UsageError, match="all behaviours passed"):
        select_ids(report, (), KNOWN)
    assert select_ids(report, ("FEN-1a",), KNOWN) == ("FEN-1a",)


def test_a_behaviour_that_no_longer_exists_is_named() -> None:
    with pytest.raises(UsageError, match="TST-1a: this version of the kit does not judge them"):
        select_ids(a_report(a_result(FAILED)), (), KNOWN)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ((FAILED, "state IDLE"), (FAILED, "state IDLE"), "same failure as before"),
        (
            (FAILED, "state IDLE"),
            (FAILED, "ABORTED: no"),
            "fails differently: got state IDLE before; got ABORTED: no now",
        ),
        ((FAILED, "x"), (PASSED, ""), "passed this time"),
        ((PASSED, ""), (FAILED, "x"), "failed (got x), passed before"),
        ((FAILED, "x"), (ERROR, ""), "not judged (gone), failed (got x) before"),
        ((PASSED, ""), (PASSED, ""), "passed, passed before"),
    ],
)
def test_outcomes_are_compared_by_wanted_and_got(
    before: tuple[Status, str], now: tuple[Status, str], words: str
) -> None:
    def result(status: Status, got: str):  # type: ignore[no-untyped-def]
        return a_result(status, wanted="a fence" if got else "", got=got, reason="gone" if status is ERROR else "")

    assert compare_outcomes(result(*before), result(*now)).startswith(words)
