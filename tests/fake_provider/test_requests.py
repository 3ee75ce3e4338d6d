from collections.abc import Callable

import pytest

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import Token
from fake_provider.machine import State, Verb
from tests.fake_provider.driver import IDLE, SLOT, Driver, refused, small_fleet


@pytest.mark.parametrize("verb", ["create", "configure", "drain", "delete", "get"])
def test_an_unknown_id_is_not_found_and_creates_no_machine(verb: str) -> None:
    drive = Driver()
    with refused(Code.NOT_FOUND):
        getattr(drive, verb)("nobody")
    assert "nobody" not in drive.ids()


@pytest.mark.parametrize("verb", ["create", "configure", "drain", "delete", "get"])
def test_an_empty_id_is_invalid(verb: str) -> None:
    with refused(Code.INVALID_ARGUMENT):
        getattr(Driver(), verb)("")


@pytest.mark.parametrize("verb", list(Verb))
def test_validate_id_gets_the_verb_of_the_call(verb: Verb) -> None:
    class NamesTheVerb(Core):
        def validate_id(self, verb: Verb | None, machine_id: str) -> None:
            raise Rejected(Code.INVALID_ARGUMENT, f"not for {verb}")

    drive = Driver(NamesTheVerb(small_fleet()))
    with pytest.raises(Rejected, match=f"not for {verb}"):
        getattr(drive, verb)(IDLE)
    with pytest.raises(Rejected, match="not for None"):
        drive.get(IDLE)


def test_a_configure_without_a_cluster_is_invalid() -> None:
    drive = Driver()
    with refused(Code.INVALID_ARGUMENT):
        drive.configure(cluster="")
    assert drive.state(IDLE) is State.IDLE


def test_an_unknown_id_is_not_found_even_without_a_cluster() -> None:
    with refused(Code.NOT_FOUND):
        Driver().configure("nobody", cluster="")


def test_a_negative_grace_is_invalid() -> None:
    drive = Driver()
    drive.bound()
    with refused(Code.INVALID_ARGUMENT):
        drive.drain(grace=-1)
    assert drive.state(IDLE) is State.CONFIGURED


@pytest.mark.parametrize("grace", [0, 2**63 - 1])
def test_a_drain_with_any_other_grace_ends_in_idle(grace: int) -> None:
    drive = Driver()
    drive.bound()
    assert drive.settled(drive.drain(grace=grace)).state is State.IDLE


def test_metadata_is_returned_byte_for_byte() -> None:
    odd = {"": "", "k\0": "\x01\n", "Ä": "A\u0308", "K": " spaced ", "k": "x" * 60_000, "emoji": "\U0001f9ff"}
    drive = Driver()
    ack = drive.configure(metadata=odd)
    assert ack.machine.shard_metadata == odd
    assert drive.settled(ack).shard_metadata == odd
    assert next(m for m in drive.list().machines if m.id == IDLE).shard_metadata == odd


def test_the_core_keeps_its_own_copy_of_the_metadata() -> None:
    drive, sent = Driver(), {"a": "1"}
    drive.configure(metadata=sent)
    sent["a"] = "2"
    assert drive.get(IDLE).shard_metadata == {"a": "1"}


def test_metadata_of_a_binding_does_not_show_in_the_next_one_or_on_another_machine() -> None:
    drive = Driver()
    drive.bound(metadata={"a": "1", "b": "2"})
    assert drive.get(SLOT).shard_metadata == {}
    assert drive.settled(drive.drain()).shard_metadata == {}
    assert drive.bound(metadata={"a": "3"}).shard_metadata == {"a": "3"}


@pytest.mark.parametrize(
    "metadata",
    [
        {str(number): "" for number in range(256)},
        {"k": "v" * (256 * 1024 - 1)},
    ],
)
def test_metadata_up_to_the_limit_is_stored(metadata: dict[str, str]) -> None:
    assert Driver().configure(metadata=metadata).machine.shard_metadata == metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {str(number): "" for number in range(257)},
        {"k": "v" * (256 * 1024)},
        {"k": "ä" * (128 * 1024)},
    ],
)
def test_metadata_over_the_limit_is_refused(metadata: dict[str, str]) -> None:
    drive = Driver()
    with refused(Code.INVALID_ARGUMENT):
        drive.configure(metadata=metadata)
    assert drive.state(IDLE) is State.IDLE


def test_a_blob_of_2_mib_is_accepted_and_a_larger_one_refused() -> None:
    drive = Driver()
    with refused(Code.INVALID_ARGUMENT):
        drive.configure(blob=b"x" * (2 * 1024 * 1024 + 1))
    assert drive.configure(blob=b"x" * (2 * 1024 * 1024)).operation_id


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda drive: drive.create(token=Token(shard="new", epoch=-1)), ": shard_epoch and sequence_number must "),
        (lambda drive: drive.create(""), ": the machine id must "),
        (lambda _: Driver(deletes=False).delete(), ": this provider does not support Delete: the machine stays IDLE$"),
        (lambda drive: drive.create("missing"), ": there is no machine 'missing'$"),
        (lambda drive: drive.configure(cluster=""), ": cluster_id must "),
        (lambda drive: drive.configure(metadata={"k": "v" * 2**18}), ": shard_metadata is larger than 262144 bytes$"),
        (
            lambda drive: drive.configure(metadata={str(n): "" for n in range(257)}),
            ": shard_metadata has more than 256 ",
        ),
        (lambda drive: drive.drain(grace=-1), ": grace_period_seconds must "),
        (lambda drive: drive.list(max_results=-1), ": max_results must "),
        (lambda drive: drive.drain(SLOT), ": cannot drain 'slot': it is SPECULATIVE$"),
        (lambda drive: drive.bound() and drive.delete(), ": cannot delete 'idle': it is CONFIGURED, bound to 'blue'$"),
    ],
)
def test_a_refusal_names_the_invalid_field(call: Callable[[Driver], object], words: str) -> None:
    with pytest.raises(Rejected, match=words):
        call(Driver())


def test_a_refusal_fits_in_a_header() -> None:
    drive = Driver()
    with pytest.raises(Exception, match="nobody") as caught:
        drive.create("nobody\0" + "x" * 100_000)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()
