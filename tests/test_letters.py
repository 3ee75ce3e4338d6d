"""Losing one answer on a connection: frames in, frames out, and nothing else is touched."""

from __future__ import annotations

from bigfleet.v1alpha1 import provider_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from conformance.letters import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LOST,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Frame,
    Frames,
    Letterbox,
    Wire,
)
from conformance.token import Token

TOKEN = Token("shard", 3, 4)
REQUEST = pb.CreateRequest(machine_id="m1", shard_id="shard", shard_epoch=3, sequence_number=4)
ACK = pb.TransitionAck(operation_id="op-1", machine=pb.Machine(id="m1"))
OPENING = bytes(Frame(HEADERS, END_HEADERS, 1, b"\x88"))
TRAILERS = Frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x00\x0bgrpc-status\x010")


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def asked(request: bytes = REQUEST.SerializeToString(), stream: int = 1) -> bytes:
    return bytes(Frame(DATA, END_STREAM, stream, framed(request)))


def answered(ack: pb.TransitionAck = ACK) -> bytes:
    return OPENING + bytes(Frame(DATA, 0, 1, framed(ack.SerializeToString()))) + bytes(TRAILERS)


def a_wire(*, wanted: bool = True) -> tuple[Letterbox, Wire]:
    box = Letterbox()
    if wanted:
        box.wanted.add(("Create", "m1", TOKEN))
    wire = Wire(box)
    assert wire.up(PREFACE) == PREFACE
    return box, wire


def down(wire: Wire, data: bytes) -> list[Frame]:
    frames = list(Frames().feed(wire.down(data)[0]))
    assert all(isinstance(frame, Frame) for frame in frames)
    return [frame for frame in frames if isinstance(frame, Frame)]


def test_the_answer_of_a_wanted_call_is_kept_and_a_status_comes_in_its_place() -> None:
    box, wire = a_wire()
    assert wire.up(asked()) == asked()
    [status] = down(wire, answered())
    assert (status.kind, status.stream, status.ends) == (HEADERS, 1, True)
    assert f"{LOST}1".encode() in status.payload
    assert box.lost == {"Create": 1}
    assert box.letter(f"{LOST}1") == ACK


def test_a_letter_is_opened_once_and_other_words_are_none() -> None:
    box = Letterbox()
    assert box.keep("Drain", ACK) == 1
    assert [box.letter(words) for words in ("", LOST, f"{LOST}x", f"{LOST}2", "1")] == [None] * 5
    assert box.letter(f"{LOST}1") == ACK
    assert box.letter(f"{LOST}1") is None


def test_what_is_not_wanted_passes_as_it_is() -> None:
    box, wire = a_wire(wanted=False)
    assert wire.up(asked()) == asked()
    assert wire.down(answered()) == (answered(), b"")
    assert box.kept == {}


def test_only_one_of_two_equal_calls_is_lost() -> None:
    _, wire = a_wire()
    wire.up(asked() + asked(stream=3))
    assert len(down(wire, answered())) == 1
    other = answered().replace(b"\0\0\0\x01", b"\0\0\0\x03")
    assert b"op-1" in wire.down(other)[0]


def test_another_token_is_another_call() -> None:
    box, wire = a_wire()
    other = pb.CreateRequest(machine_id="m1", shard_id="shard", shard_epoch=3, sequence_number=5)
    wire.up(asked(other.SerializeToString()))
    assert wire.down(answered())[0] == answered()
    assert box.wanted == {("Create", "m1", TOKEN)}


def test_a_refusal_is_not_lost() -> None:
    box, wire = a_wire()
    wire.up(asked())
    assert wire.down(bytes(TRAILERS))[0] == bytes(TRAILERS)
    assert box.kept == {}


def test_an_empty_ack_beside_a_refusal_is_not_lost() -> None:
    _, wire = a_wire()
    wire.up(asked())
    refusal = OPENING + bytes(Frame(DATA, 0, 1, framed(b""))) + bytes(TRAILERS)
    assert wire.down(refusal)[0] == refusal


def test_an_answer_of_another_kind_is_not_lost() -> None:
    _, wire = a_wire()
    wire.up(asked())
    compressed = OPENING + bytes(Frame(DATA, 0, 1, b"\x01" + framed(b"\x0a\x01x")[1:])) + bytes(TRAILERS)
    assert wire.down(compressed)[0] == compressed


def test_room_is_made_for_what_nobody_will_read() -> None:
    _, wire = a_wire()
    wire.up(asked())
    _, back = wire.down(answered())
    rooms = [frame for frame in Frames().feed(back) if isinstance(frame, Frame)]
    size = len(framed(ACK.SerializeToString())).to_bytes(4, "big")
    assert [(room.kind, room.stream, room.payload) for room in rooms] == [(WINDOW_UPDATE, s, size) for s in (0, 1)]


def test_trailers_may_go_on() -> None:
    box, wire = a_wire()
    wire.up(asked())
    cut = answered()[: -len(bytes(TRAILERS))]
    cut += bytes(Frame(HEADERS, END_STREAM, 1, TRAILERS.payload[:4]))
    assert wire.down(cut)[0] == b""
    [status] = down(wire, bytes(Frame(CONTINUATION, END_HEADERS, 1, TRAILERS.payload[4:])))
    assert status.ends
    assert box.lost == {"Create": 1}


def test_who_has_gone_gets_all_that_comes() -> None:
    box, wire = a_wire()
    wire.up(asked())
    wire.up(bytes(Frame(RST_STREAM, 0, 1, bytes(4))))
    assert wire.down(answered())[0] == answered()
    assert box.kept == {}


def test_the_provider_is_told_to_compress_no_headers_by_what_came_before() -> None:
    _, wire = a_wire()
    sent = bytes(Frame(SETTINGS, 0, 0, b"\0\x01\0\0\x10\0" + b"\0\x04\0\x01\0\0"))
    [frame] = [f for f in Frames().feed(wire.up(sent)) if isinstance(f, Frame)]
    assert frame.payload == b"\0\x04\0\x01\0\0" + b"\0\x01\0\0\0\0"
    acked = bytes(Frame(SETTINGS, 1, 0, b""))
    assert wire.up(acked) == acked


@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_it_does_not_matter_how_the_bytes_come(cuts: list[int]) -> None:
    box = Letterbox(wanted={("Create", "m1", TOKEN)})
    wire = Wire(box)
    up, out = PREFACE + asked(), answered()

    def pieces(data: bytes) -> list[bytes]:
        ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
        return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    assert b"".join(map(wire.up, pieces(up))) == up
    [status] = Frames().feed(b"".join(wire.down(piece)[0] for piece in pieces(out)))
    assert isinstance(status, Frame)
    assert status.ends
    assert box.kept == {1: ACK}
