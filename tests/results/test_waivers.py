from __future__ import annotations

from dataclasses import replace
from datetime import date
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from conformance.core import catalogue
from conformance.core.catalogue import Level
from conformance.core.errors import UsageError
from conformance.results import fingerprint
from conformance.results import waivers as waivers_module
from conformance.results.result import Result, Status, Verdict
from conformance.results.waivers import Waived, Waiver, WaiverState
from tests.values import a_report, a_result

if TYPE_CHECKING:
    from pathlib import Path

    from conformance.results.report import Report

TODAY = date(2031, 3, 1)
F, P, W, S, E = Status.FAILED, Status.PASSED, Status.WARNED, Status.SKIPPED, Status.ERROR
ENTRY = """\
[waiver.FEN-3a]
reason = "the fence knows no epochs yet"
owner = "fleet team"
expires = 2031-12-31
fingerprint = "1:0123456789ab"
"""


def failing(got: str = "y", status: Status = F, **given: object) -> Result:
    return a_result(status, wanted="x", got=got, reason="r", **given)  # type: ignore[arg-type]


ANOTHER = a_result(F, wanted="Get to answer NOT_FOUND", got="INTERNAL: no", reason="r")


def of(result: Result, **given: object) -> Waiver:
    fields: dict[str, object] = {
        "id": result.id,
        "reason": "because",
        "owner": "me",
        "expires": TODAY,
        "fingerprint": fingerprint.of(result),
    }
    return Waiver(**(fields | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("result", "expires", "state"),
    [
        (failing("3 of machine-0001"), TODAY, WaiverState.HOLDS),
        (failing(status=W), TODAY, WaiverState.HOLDS),
        (failing("7 of machine-0009"), TODAY, WaiverState.HOLDS),
        (ANOTHER, TODAY, WaiverState.CHANGED),
        (failing("3 of machine-0001"), date(2031, 2, 28), WaiverState.EXPIRED),
        (ANOTHER, date(2031, 2, 28), WaiverState.EXPIRED),
        (a_result(P), TODAY, WaiverState.STALE),
        (a_result(P), date(2031, 2, 28), WaiverState.STALE),
        (a_result(S, reason="no TLS"), TODAY, WaiverState.UNSEEN),
        (a_result(E, reason="no answer"), TODAY, WaiverState.UNSEEN),
        (a_result(S, reason="no TLS"), date(2031, 2, 28), WaiverState.EXPIRED),
    ],
)
def test_state_of_a_waiver(result: Result, expires: date, state: WaiverState) -> None:
    one = of(failing("3 of machine-0001"), expires=expires)
    assert waivers_module.state_of(one, result, today=TODAY) is state


def check_waivers(*results: Result, waivers: tuple[Waiver, ...], today: date = TODAY) -> tuple[Waived, ...]:
    known = catalogue.Catalogue(clauses=(), entries=(*(r.entry for r in results), a_result(P, "TST-9a").entry))
    return waivers_module.check_waivers(waivers, results, known, today=today)


def test_a_waiver_of_an_unselected_behaviour_has_no_detail() -> None:
    (one,) = check_waivers(a_result(P), waivers=(of(failing(), id="TST-9a", expires=date(2000, 1, 1)),))
    assert (one.state, one.state.broken, one.detail) == (WaiverState.NOT_RUN, False, "")


def test_an_unknown_id_has_a_suggestion() -> None:
    known = catalogue.load()
    (one,) = waivers_module.check_waivers((of(failing(), id="FEM-3a"),), (), known, today=TODAY)
    assert one.state is WaiverState.UNKNOWN
    assert "did you mean FEN-3a" in one.detail


def test_a_changed_failure_is_shown_with_the_waived_one() -> None:
    (one,) = check_waivers(ANOTHER, waivers=(of(failing(), failure="wanted x; got y"),))
    assert one.detail.startswith(
        "the behaviour fails in another way: wanted Get to answer NOT_FOUND; got INTERNAL, not wanted x; got y;"
    )


# Consequences.


def test_a_waiver_covers_the_failures_that_follow_from_it() -> None:
    follows, other = failing(behaviour_id="TST-2a", rests_on=["TST-1a"]), failing(behaviour_id="TST-3a")
    report = report_with(failing(), follows, other, waivers=(of(failing()),))
    assert sorted(report.waived) == ["TST-1a", "TST-2a"]
    assert report.verdict is Verdict.NON_CONFORMANT
    assert report_with(failing(), follows, waivers=(of(failing()),)).exit_code == 0


def test_a_listed_behaviour_is_covered_whether_it_failed_or_was_not_judged() -> None:
    unjudged = a_result(E, "TST-2a", reason="the machine is lost")
    failed = failing(behaviour_id="TST-3a")
    assert report_with(failing(), unjudged, failed, waivers=(of(failing()),)).waived.keys() == {"TST-1a"}
    report = report_with(failing(), unjudged, failed, waivers=(of(failing(), covers=("TST-2a", "TST-3a")),))
    assert report.waived.keys() == {"TST-1a", "TST-2a", "TST-3a"}
    assert (report.verdict, report.exit_code) == (Verdict.CONFORMANT, 0)


def test_a_listed_behaviour_may_be_the_cause_in_another_run() -> None:
    root, follows = failing(behaviour_id="TST-2a"), failing(behaviour_id="TST-3a", rests_on=["TST-2a"])
    report = report_with(failing(), root, follows, waivers=(of(failing(), covers=("TST-2a",)),))
    assert report.waived.keys() == {"TST-1a", "TST-2a", "TST-3a"}


def test_a_waiver_that_does_not_hold_covers_nothing() -> None:
    follows = failing(behaviour_id="TST-2a", rests_on=["TST-1a"])
    for waiver in (of(failing(), expires=date(2031, 2, 28)), of(ANOTHER)):
        assert report_with(failing(), follows, waivers=(replace(waiver, covers=("TST-2a",)),)).waived == {}


def test_a_behaviour_with_a_waiver_of_its_own_is_not_covered_by_another() -> None:
    follows = failing(behaviour_id="TST-2a", rests_on=["TST-1a"])
    own = of(ANOTHER, id="TST-2a")
    report = report_with(failing(), follows, waivers=(of(failing(), covers=("TST-2a",)), own))
    assert report.waived.keys() == {"TST-1a"}


def test_consequences_are_failures_and_behaviours_that_were_not_judged() -> None:
    results = (
        failing(),
        failing(behaviour_id="TST-2a", rests_on=["TST-1a"]),
        a_result(E, "TST-3a", rests_on=["TST-2a"], reason="r"),
        a_result(E, "TST-4a", reason="seen an open fence; behaviours of TST-1 judge that"),
        a_result(E, "TST-5a", reason="no answer"),
    )
    assert waivers_module.consequences(results) == {"TST-1a": ("TST-2a", "TST-3a", "TST-4a")}


def test_a_waiver_of_an_older_release_still_holds() -> None:
    old = of(failing(), fingerprint="1:" + sha256(b"TST-1\nx\ny").hexdigest()[:12])
    (one,) = check_waivers(failing(), waivers=(old,))
    assert one.state is WaiverState.HOLDS
    (other,) = check_waivers(failing("another"), waivers=(old,))
    assert other.state is WaiverState.CHANGED


# Waivers in a report.


def report_with(*results: Result, waivers: tuple[Waiver, ...], **given: object) -> Report:
    return a_report(*results, waivers=check_waivers(*results, waivers=waivers), waivers_file="w.toml", **given)


def test_a_waived_must_does_not_decide_and_is_counted() -> None:
    other = a_result(P, "TST-2a")
    report = report_with(failing(), other, waivers=(of(failing()),))
    assert (report.verdict, report.verdict_line, report.exit_code) == (Verdict.CONFORMANT, "conformant, 1 waived", 0)
    assert list(report.waived) == ["TST-1a"]


def test_a_run_with_only_waived_failures_is_conformant() -> None:
    assert report_with(failing(), waivers=(of(failing()),)).verdict_line == "conformant, 1 waived"


def test_other_failures_decide_and_waived_ones_are_counted() -> None:
    other = a_result(F, "TST-2a", wanted="x", got="y")
    report = report_with(failing(), other, waivers=(of(failing()),))
    assert (report.verdict_line, report.exit_code) == ("non-conformant, 1 waived", 1)


def test_a_waived_should_is_counted_only_in_strict_runs() -> None:
    warned = failing(status=W, level=Level.SHOULD)
    assert report_with(warned, waivers=(of(warned),)).verdict_line == "conformant"
    strict = report_with(warned, waivers=(of(warned),), strict=True)
    assert (strict.verdict_line, strict.exit_code) == ("conformant, 1 waived", 0)
    assert report_with(warned, waivers=(), strict=True).exit_code == 1


def test_a_waiver_does_not_tolerate_an_unjudged_must() -> None:
    report = report_with(a_result(E, reason="r"), a_result(P, "TST-2a"), waivers=(of(failing()),))
    assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 3)


def test_a_stale_waiver_fails_the_run_and_not_the_provider() -> None:
    report = report_with(a_result(P), waivers=(of(failing()),))
    assert (report.verdict, report.exit_code) == (Verdict.CONFORMANT, 1)


@pytest.mark.parametrize("today", [date(2031, 3, 1), date(2031, 3, 2)])
def test_a_waiver_is_valid_through_its_last_day(today: date) -> None:
    (one,) = check_waivers(failing(), waivers=(of(failing(), expires=date(2031, 3, 1)),), today=today)
    assert one.state is (WaiverState.HOLDS if today == date(2031, 3, 1) else WaiverState.EXPIRED)


# The file.


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "w.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_waiver_is_loaded(tmp_path: Path) -> None:
    (one,) = waivers_module.load(file(tmp_path, ENTRY + 'failure = "wanted x; got y"'))
    assert one == Waiver(
        id="FEN-3a",
        reason="the fence knows no epochs yet",
        owner="fleet team",
        expires=date(2031, 12, 31),
        fingerprint="1:0123456789ab",
        failure="wanted x; got y",
    )


def test_a_date_may_be_a_string_and_an_id_in_lower_case(tmp_path: Path) -> None:
    text = ENTRY.replace("2031-12-31", '"2031-12-31"').replace("FEN-3a", "fen-3A")
    (one,) = waivers_module.load(file(tmp_path, text))
    assert (one.id, one.expires) == ("FEN-3a", date(2031, 12, 31))


def test_a_file_without_waivers_is_valid(tmp_path: Path) -> None:
    assert waivers_module.load(file(tmp_path, "# nothing\n")) == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('reason = "the fence knows no epochs yet"', 'reason = ""', "FEN-3a has no reason"),
        ('owner = "fleet team"', 'owner = " "', "FEN-3a has no owner"),
        ('owner = "fleet team"', "owner = 7", "FEN-3a has no owner"),
        ('owner = "fleet team"', "", "FEN-3a has no owner"),
        ("expires = 2031-12-31", "", "FEN-3a has no date in `expires`"),
        ("expires = 2031-12-31", 'expires = "soon"', "FEN-3a has an invalid date in `expires`: 'soon'"),
        ("expires = 2031-12-31", "expires = 2031-12-31T00:00:00Z", "FEN-3a has no date in `expires`"),
        ('fingerprint = "1:0123456789ab"', "", "FEN-3a has no fingerprint"),
        ("1:0123456789ab", "any", "FEN-3a has an invalid fingerprint 'any'"),
        ("1:0123456789ab", "0:0123456789ab", "FEN-3a has a fingerprint of another release of the kit"),
        ("owner", "ownner", "FEN-3a has an unknown key 'ownner'"),
        ("[waiver.FEN-3a]", "[FEN-3a]", "has an unknown key 'FEN-3a'"),
        ("[waiver.FEN-3a]", "[waiver]", "reason is not a table"),
        ("[waiver.FEN-3a]", "[waiver.FEN-3a", "is not valid TOML"),
        ("[waiver.FEN-3a]", "waiver = 7\n[FEN-3a]", "has an unknown key 'FEN-3a'"),
    ],
)
def test_an_incomplete_waiver_is_an_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        waivers_module.load(file(tmp_path, ENTRY.replace(old, new)))
    assert message in refused.value.message
    assert refused.value.hint


def test_two_waivers_of_one_behaviour_are_an_error(tmp_path: Path) -> None:
    for again in (ENTRY, ENTRY.replace("FEN-3a", "fen-3a")):
        with pytest.raises(UsageError):
            waivers_module.load(file(tmp_path, ENTRY + again))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\x00"])
def test_a_binary_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not valid TOML"):
        waivers_module.load(path)


def test_a_missing_file_or_a_directory_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "no.toml", tmp_path):
        with pytest.raises(UsageError, match="waivers "):
            waivers_module.load(path)
