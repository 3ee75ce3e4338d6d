import pytest

from fake_provider.core import Core
from fake_provider.errors import Code
from fake_provider.fence import Scope, Token, newer
from fake_provider.machine import State
from tests.fake_provider.driver import IDLE, OTHER, SLOT, Driver, fenced, refused

VERBS = ["create", "configure", "drain", "delete"]


def token(epoch: int, sequence: int, shard: str = "shard") -> Token:
    return Token(shard=shard, epoch=epoch, sequence=sequence)


def probe(drive: Driver, token: Token, machine_id: str = SLOT) -> None:
    """Sends a Create that raises the mark if the token passes; raises only if it is fenced."""
    try:
        drive.create(machine_id, token)
    except Exception as error:
        if getattr(error, "code", None) is Code.FAILED_PRECONDITION:
            raise


def test_tokens_compare_by_epoch_and_then_by_sequence() -> None:
    assert newer(token(1, 2), token(1, 1))
    assert newer(token(2, 0), token(1, 9))
    assert not newer(token(1, 1), token(1, 1))
    assert not newer(token(1, 9), token(2, 0))


@pytest.mark.parametrize("bound", [2**31, 2**32, 2**53, 2**63 - 1])
def test_numbers_are_compared_as_64_bit_integers(bound: int) -> None:
    drive = Driver()
    probe(drive, token(bound - 1, bound - 1))
    probe(drive, token(bound - 1, bound))
    with fenced():
        probe(drive, token(bound - 1, bound - 1))
    probe(drive, token(bound, 0))
    with fenced():
        probe(drive, token(bound - 1, bound))


@pytest.mark.parametrize("verb", VERBS)
def test_an_equal_token_is_fenced(verb: str) -> None:
    drive = Driver()
    probe(drive, token(1, 1))
    with fenced():
        getattr(drive, verb)(SLOT, token=token(1, 1))


@pytest.mark.parametrize("first", [token(0, 1), token(0, 0), token(2**63 - 1, 2**63 - 1)])
def test_the_first_token_passes_with_any_numbers(first: Token) -> None:
    drive = Driver()
    assert drive.create(token=first).operation_id
    with fenced():
        drive.create(token=first)


def test_an_older_epoch_is_fenced_with_any_sequence() -> None:
    drive = Driver()
    probe(drive, token(2, 1))
    with fenced():
        probe(drive, token(1, 99))
    probe(drive, token(2, 2))


def test_a_newer_epoch_starts_a_new_sequence_space() -> None:
    drive = Driver()
    probe(drive, token(1, 99))
    probe(drive, token(2, 0))
    with fenced():
        probe(drive, token(2, 0))


def test_the_fence_comes_before_existence_validation_and_the_retry_answer() -> None:
    drive = Driver(scope=Scope.SHARD)
    drive.create(token=token(1, 5))
    for machine_id in ("nobody", "", SLOT):
        with fenced():
            drive.create(machine_id, token(1, 5))
    with fenced():
        drive.configure(IDLE, cluster="", token=token(1, 5))


def test_a_fenced_call_changes_neither_machine_nor_mark() -> None:
    drive = Driver(scope=Scope.SHARD)
    probe(drive, token(5, 5))
    before = drive.get(IDLE)
    with fenced():
        drive.configure(token=token(5, 4))
    assert drive.get(IDLE) is before
    with fenced():
        drive.configure(token=token(5, 5))
    assert drive.configure(token=token(5, 6)).machine.state is State.CONFIGURING


@pytest.mark.parametrize("machine_id", ["nobody", "", OTHER])
def test_a_newer_token_raises_the_mark_even_if_the_call_is_rejected(machine_id: str) -> None:
    drive = Driver()
    with refused():
        drive.drain(machine_id, token=token(1, 7))
    with fenced():
        drive.create(machine_id, token=token(1, 7))


@pytest.mark.parametrize("first", VERBS)
@pytest.mark.parametrize("second", VERBS)
def test_all_four_verbs_share_one_mark(first: str, second: str) -> None:
    drive = Driver()
    with refused():
        getattr(drive, first)("nobody", token=token(1, 1))
    with fenced():
        getattr(drive, second)("nobody", token=token(1, 1))


@pytest.mark.parametrize(("one", "two"), [("a", "A"), ("a", "a "), ("a", "a\0"), ("x" * 5000, "x" * 5001)])
def test_marks_of_different_shards_are_independent(one: str, two: str) -> None:
    drive = Driver()
    probe(drive, token(9, 9, one))
    probe(drive, token(1, 1, two))
    with fenced():
        probe(drive, token(1, 1, one))


def test_marks_survive_drains_deletes_and_many_shards() -> None:
    drive = Driver()
    probe(drive, token(3, 3))
    drive.settled(drive.create())
    drive.bound(SLOT)
    drive.settled(drive.drain(SLOT))
    drive.settled(drive.delete(SLOT))
    for number in range(2000):
        probe(drive, token(1, 1, f"shard-{number}"))
    with fenced():
        probe(drive, token(3, 3))


def test_a_mark_per_shard_fences_a_lower_token_for_another_machine() -> None:
    drive = Driver(scope=Scope.SHARD)
    probe(drive, token(1, 2), SLOT)
    with fenced():
        probe(drive, token(1, 1), OTHER)


def test_a_mark_per_shard_and_machine_accepts_a_lower_token_for_another_machine() -> None:
    drive = Driver(scope=Scope.SHARD_MACHINE)
    probe(drive, token(1, 2), SLOT)
    probe(drive, token(1, 1), OTHER)
    with fenced():
        probe(drive, token(1, 1), SLOT)


def test_a_call_without_a_token_is_not_fenced() -> None:
    drive = Driver()
    probe(drive, Token())
    probe(drive, Token())


@pytest.mark.parametrize("incomplete", [token(1, 0, ""), token(0, 1, ""), token(0, 0)])
def test_an_incomplete_token_is_fenced_like_any_other(incomplete: Token) -> None:
    drive = Driver()
    probe(drive, incomplete)
    with fenced():
        probe(drive, incomplete)


@pytest.mark.parametrize("odd", [token(-1, 1), token(1, -1), token(-(2**63), -(2**63))])
def test_negative_numbers_in_a_first_token_are_invalid_and_set_no_mark(odd: Token) -> None:
    drive = Driver()
    with refused(Code.INVALID_ARGUMENT):
        drive.create(token=odd)
    assert drive.state(SLOT) is State.SPECULATIVE
    assert not drive.core.inventory.marks


def test_negative_numbers_older_than_the_mark_are_fenced() -> None:
    drive = Driver()
    probe(drive, token(1, 1))
    with fenced():
        drive.create(token=token(-1, 5))


def test_fencing_of_one_verb_can_be_changed_by_overriding_one_method() -> None:
    class DrainForgetsTheFence(Core):
        def passes(self, verb: object, token: Token, mark: Token) -> bool:
            return verb == "drain" or super().passes(verb, token, mark)  # type: ignore[arg-type]

    drive = Driver(DrainForgetsTheFence([]))
    probe(drive, token(1, 1))
    with refused(Code.NOT_FOUND):
        drive.drain("nobody", token=token(1, 1))
    with fenced():
        drive.delete("nobody", token=token(1, 1))
