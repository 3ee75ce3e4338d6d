import pytest

from fake_provider import revision
from fake_provider.errors import Code
from fake_provider.machine import State
from tests.fake_provider.driver import IDLE, OTHER, SLOT, Driver, refused


def test_states_are_a_union_and_an_empty_filter_matches_all() -> None:
    drive = Driver()
    assert drive.ids() == {SLOT, IDLE, OTHER}
    assert drive.ids(states=frozenset({State.SPECULATIVE})) == {SLOT, OTHER}
    assert drive.ids(states=frozenset({State.SPECULATIVE, State.IDLE})) == {SLOT, IDLE, OTHER}
    assert drive.ids(states=frozenset({State.FAILED})) == set()


@pytest.mark.parametrize("unknown", [0, 99, -1])
def test_an_unknown_state_matches_no_machine(unknown: int) -> None:
    drive = Driver()
    assert drive.ids(states=frozenset({unknown})) == set()
    assert drive.ids(states=frozenset({unknown, State.IDLE})) == {IDLE}


def test_the_cap_comes_after_the_filter() -> None:
    drive = Driver()
    assert len(drive.ids(max_results=2)) == 2
    assert drive.ids(states=frozenset({State.IDLE}), max_results=1) == {IDLE}
    assert len(drive.ids(max_results=99)) == 3


def test_a_negative_cap_is_invalid() -> None:
    with refused(Code.INVALID_ARGUMENT):
        Driver().list(max_results=-1)


def test_list_and_get_agree() -> None:
    drive = Driver()
    drive.bound(metadata={"a": "b"})
    assert all(drive.get(machine.id) is machine for machine in drive.list().machines)


def test_a_delta_has_every_changed_machine_even_if_it_changed_back() -> None:
    drive = Driver()
    cursor = drive.list().revision
    assert drive.ids(since=cursor) == set()
    drive.bound()
    drive.settled(drive.drain())
    assert drive.ids(since=cursor) == {IDLE}
    cursor = drive.list(since=cursor).revision
    drive.create()
    assert drive.ids(since=cursor) == {SLOT}
    drive.wait()
    assert drive.ids(since=cursor) == {SLOT}


def test_the_end_of_a_transition_changes_the_revision() -> None:
    drive = Driver()
    drive.create()
    cursor = drive.list().revision
    drive.wait()
    assert drive.ids(since=cursor) == {SLOT}


def test_a_refused_call_does_not_change_the_revision() -> None:
    drive = Driver()
    cursor = drive.list().revision
    with refused():
        drive.drain(SLOT)
    assert drive.list(since=cursor).revision == cursor
    assert drive.ids(since=cursor) == set()


@pytest.mark.parametrize("garbage", [b"x", b"\xff\0", b"0", b"1", b"-1", b" 12", b"9" * 5000, "١".encode()])
def test_an_invalid_cursor_lists_all_machines(garbage: bytes) -> None:
    assert Driver().ids(since=garbage) == {SLOT, IDLE, OTHER}


@pytest.mark.parametrize("ahead", [1, 1000, 2**39, 2**60])
def test_a_cursor_from_the_future_lists_all_machines(ahead: int) -> None:
    drive = Driver()
    future = str(int(drive.list().revision) + ahead).encode()
    assert drive.ids(since=future) == {SLOT, IDLE, OTHER}


def test_a_cursor_of_another_inventory_lists_all_machines() -> None:
    drive = Driver()
    foreign = revision.encode(drive.core.inventory.origin + 1, drive.core.inventory.revision)
    assert drive.ids(since=foreign) == {SLOT, IDLE, OTHER}


@pytest.mark.parametrize("full", [True, False])
def test_paging_with_the_returned_revision_reaches_all_machines(full: bool) -> None:
    drive = Driver()
    cursor = b"" if full else drive.list().revision
    for machine_id in (OTHER, SLOT):
        drive.settled(drive.create(machine_id))
    drive.bound()
    reached: list[str] = []
    while page := drive.list(since=cursor, max_results=1):
        if not page.machines:
            break
        reached += [machine.id for machine in page.machines]
        cursor = page.revision
    assert reached == [OTHER, SLOT, IDLE]
    assert cursor == drive.list().revision


def test_a_machine_that_changes_between_pages_is_listed_again() -> None:
    drive = Driver()
    page = drive.list(max_results=1)
    assert page.machines[0].id == SLOT
    drive.create(SLOT)
    assert drive.ids(since=page.revision) == {SLOT, IDLE, OTHER}


def test_paging_with_a_filter_skips_no_matching_machine() -> None:
    drive = Driver()
    slots = frozenset({State.SPECULATIVE})
    page = drive.list(states=slots, max_results=1)
    assert [machine.id for machine in page.machines] == [SLOT]
    assert drive.ids(states=slots, since=page.revision) == {OTHER}


def test_the_cursor_of_a_complete_list_covers_changes_that_its_filter_omits() -> None:
    drive = Driver()
    drive.bound()
    for slots in (drive.list(states=frozenset({State.SPECULATIVE})), drive.list(states=frozenset({State.FAILED}))):
        assert drive.ids(since=slots.revision) == set()


def test_without_revisions_there_is_no_cursor_and_every_cursor_lists_all_machines() -> None:
    drive = Driver(revisions=False)
    assert drive.list().revision == b""
    for cursor in (b"12", revision.encode(drive.core.inventory.origin, drive.core.inventory.revision)):
        assert drive.ids(since=cursor) == {SLOT, IDLE, OTHER}
