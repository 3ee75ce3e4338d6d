"""HTTP/2, as far as it takes to lose the answer of one call: frames are told apart, nothing else is understood.

Answers are kept back whole, and a status of our own is put in their place. So that this leaves the rest of the
connection readable, the provider is told to compress no headers by what it has sent before (RFC 7541 §4.2).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bigfleet.v1alpha1 import provider_pb2 as pb
from google.protobuf.message import DecodeError

from conformance.call import token_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conformance.token import Token

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x8, 0x9
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8
_TABLE_SIZE: Final = b"\x00\x01"
_OPERATION_ID: Final = b"\x0a"
"""How an ack begins that names its operation, which every one that was done does (OPS-1)."""

LOST: Final = "the weather has lost this answer: "
"""How the status begins that a lost answer leaves behind; its number follows."""

REQUESTS: Final[dict[str, Any]] = {
    "Create": pb.CreateRequest,
    "Configure": pb.ConfigureRequest,
    "Drain": pb.DrainRequest,
    "Delete": pb.DeleteRequest,
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, as it was sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends(self) -> bool:
        """Whether the sender says no more on this stream."""
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)

    @property
    def body(self) -> bytes:
        """A DATA frame's bytes without padding."""
        return self.payload[1 : len(self.payload) - self.payload[0]] if self.flags & PADDED else self.payload

    def __bytes__(self) -> bytes:
        head = len(self.payload).to_bytes(3, "big") + bytes((self.kind, self.flags)) + self.stream.to_bytes(4, "big")
        return head + self.payload


class Frames:
    """Bytes as they come -> whole frames."""

    def __init__(self, *, preface: bytes = b"") -> None:
        self._before = preface
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame | bytes]:
        """What is whole by now; the client's preface comes as it is."""
        self._rest += data
        if self._before:
            if len(self._rest) < len(self._before):
                return
            yield self._rest[: len(self._before)]
            self._rest, self._before = self._rest[len(self._before) :], b""
        start = 0
        while len(self._rest) - start >= 9:
            end = start + 9 + int.from_bytes(self._rest[start : start + 3], "big")
            if end > len(self._rest):
                break
            head = self._rest[start : start + 9]
            stream = int.from_bytes(head[5:9], "big") & 0x7FFFFFFF
            yield Frame(head[3], head[4], stream, self._rest[start + 9 : end])
            start = end
        self._rest = self._rest[start:]


@dataclass(slots=True)
class Letterbox:
    """The calls of a run whose answers are to be lost, and the answers that were."""

    wanted: set[tuple[str, str, Token]] = field(default_factory=set)
    """RPC, machine and token of calls that are about to be made."""
    kept: dict[int, pb.TransitionAck] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    """How many were lost, by RPC."""

    def keep(self, rpc: str, ack: pb.TransitionAck) -> int:
        """Keep one more answer; its number."""
        self.lost[rpc] += 1
        number = self.lost.total()
        self.kept[number] = ack
        return number

    def letter(self, details: str) -> pb.TransitionAck | None:
        """The answer in whose place a status with these `details` came; None where it is no such status."""
        number = details.removeprefix(LOST)
        return self.kept.pop(int(number), None) if number != details and number.isdecimal() else None

    def is_for(self, message: bytes) -> str | None:
        """The RPC of the wanted call that this request, in gRPC's framing, is, and it is wanted no more; or None."""
        for rpc, request in REQUESTS.items():
            try:
                asked = request.FromString(message[5:])
            except DecodeError:
                continue
            token = token_of(asked)
            key = rpc, asked.machine_id, token
            if key in self.wanted:
                self.wanted.discard(key)
                return rpc
        return None


@dataclass(slots=True)
class _Answer:
    """An answer that is kept back: first nobody knows whether there is an ack in it, then it is lost."""

    rpc: str
    frames: list[Frame] = field(default_factory=list)
    data: bytes = b""
    lost: bool = False
    last: bool = False
    """Whether the frame has come that says that it is the end, though its headers may go on."""


class Wire:
    """One connection, both ways: bytes in, bytes out, but for the answers that are to be lost."""

    def __init__(self, box: Letterbox) -> None:
        self._box = box
        self._up, self._down = Frames(preface=PREFACE), Frames()
        self._asked: dict[int, bytes] = {}
        self._answers: dict[int, _Answer] = {}

    def up(self, data: bytes) -> bytes:
        """What the client says, on its way to the provider."""
        return b"".join(map(self._upward, self._up.feed(data)))

    def _upward(self, frame: Frame | bytes) -> bytes:
        if isinstance(frame, bytes):
            return frame
        if frame.kind == SETTINGS and not frame.flags & ACK:
            pairs = [frame.payload[at : at + 6] for at in range(0, len(frame.payload), 6)]
            kept = [pair for pair in pairs if pair[:2] != _TABLE_SIZE]
            return bytes(Frame(SETTINGS, frame.flags, 0, b"".join([*kept, _TABLE_SIZE + bytes(4)])))
        if frame.kind == RST_STREAM:
            self._answers.pop(frame.stream, None)  # who has gone hears no answer anyway
        if frame.kind == DATA and (self._asked or self._box.wanted):
            asked = self._asked.pop(frame.stream, b"") + frame.body
            if not frame.ends:
                self._asked[frame.stream] = asked
            elif rpc := self._box.is_for(asked):
                self._answers[frame.stream] = _Answer(rpc)
        return bytes(frame)

    def down(self, data: bytes) -> tuple[bytes, bytes]:
        """What the provider says, on its way to the client; and what is to be said back to the provider at once."""
        out, back = b"", b""
        for frame in self._down.feed(data):
            assert isinstance(frame, Frame)
            answer = self._answers.get(frame.stream)
            if answer is None or frame.kind == WINDOW_UPDATE:
                out += bytes(frame)
            else:
                forth, room = self._kept_back(answer, frame)
                out, back = out + forth, back + room
        return out, back

    def _kept_back(self, answer: _Answer, frame: Frame) -> tuple[bytes, bytes]:
        answer.frames.append(frame)
        answer.last |= frame.ends
        if frame.kind == DATA:
            answer.data += frame.body
            # An ack that names its operation was meant; an empty one may come beside a status that is not OK.
            answer.lost |= answer.data[:1] == b"\0" and answer.data[5:6] == _OPERATION_ID
            if not answer.lost and len(answer.data) >= 6:
                return self._given_up(frame.stream), b""
        elif frame.kind not in (HEADERS, CONTINUATION):
            return self._given_up(frame.stream), b""
        # Nobody will read what is lost, and so nobody else makes room for what comes after it.
        spent = frame.kind == DATA and answer.lost and frame.payload
        room = b"".join(_room(stream, frame) for stream in (0, frame.stream)) if spent else b""
        whole = answer.last and (frame.kind == DATA or frame.flags & END_HEADERS)
        return self._ended(frame.stream) if whole else b"", room

    def _given_up(self, stream: int) -> bytes:
        """It is no answer that could be lost: all that was kept back of it goes its way."""
        return b"".join(map(bytes, self._answers.pop(stream).frames))

    def _ended(self, stream: int) -> bytes:
        answer = self._answers[stream]
        if not answer.lost:
            return self._given_up(stream)
        try:
            ack = pb.TransitionAck.FromString(answer.data[5:])
        except DecodeError:
            return self._given_up(stream)
        del self._answers[stream]
        return bytes(_status(stream, f"{LOST}{self._box.keep(answer.rpc, ack)}"))


def _room(stream: int, frame: Frame) -> bytes:
    return bytes(Frame(WINDOW_UPDATE, 0, stream, len(frame.payload).to_bytes(4, "big")))


def _status(stream: int, message: str) -> Frame:
    """UNAVAILABLE, as a proxy on the way would say it: headers and nothing else, none of them compressed."""
    fields = {"content-type": "application/grpc", "grpc-status": "14", "grpc-message": message}
    literal = b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())
    return Frame(HEADERS, END_STREAM | END_HEADERS, stream, b"\x88" + literal)


def _string(text: str) -> bytes:
    assert len(text) < 127
    return bytes((len(text),)) + text.encode("ascii")
