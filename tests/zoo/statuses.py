"""How a call may end: statuses that gRPC has not, does not allow, or cannot hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.zoo.http2 import (
    BEGINNING,
    END_HEADERS,
    END_STREAM,
    Kind,
    beginning,
    block,
    data,
    frame,
    headers,
    message,
    requests,
)
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable

    from tests.zoo.cage import Cage


async def _answering(cage: Cage, answer: Callable[[int], bytes]) -> None:
    """Answer every call with the frames that `answer` makes for its stream."""

    async def meet(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(answer(stream))

    await cage.listen(meet)


async def _ending(cage: Cage, *trailers: tuple[str, str]) -> None:
    """Answer every call with trailers only."""
    await _answering(cage, lambda stream: headers(stream, *BEGINNING, *trailers, end=True))


@species(r"does not answer List: INTERNAL$")
async def says_nothing_of_it(cage: Cage) -> None:
    """Refuses every call with a status that has no message."""
    await _ending(cage, ("grpc-status", "13"))


@species(r"does not answer List: RESOURCE_EXHAUSTED")
async def says_too_much(cage: Cage) -> None:
    """Refuses every call with a message of 1 MiB."""

    def answer(stream: int) -> bytes:
        everything = block(*BEGINNING, ("grpc-status", "13"), ("grpc-message", "long " * (2**20 // 5)))
        pieces = [everything[at : at + 2**14] for at in range(0, len(everything), 2**14)]
        kinds = [Kind.HEADERS] + [Kind.CONTINUATION] * (len(pieces) - 1)
        return b"".join(
            frame(
                kind,
                piece,
                stream=stream,
                flags=(END_STREAM if kind is Kind.HEADERS else 0) | (END_HEADERS if piece is pieces[-1] else 0),
            )
            for kind, piece in zip(kinds, pieces, strict=True)
        )

    await _answering(cage, answer)


@species(r"does not answer List: UNKNOWN")
async def ends_with_code_99(cage: Cage) -> None:
    """Refuses every call with code 99, which there is not."""
    await _ending(cage, ("grpc-status", "99"), ("grpc-message", "beyond all codes"))


@species(r"does not answer List: .*grpc-status", rare=True)
async def ends_with_a_word(cage: Cage) -> None:
    """Refuses every call with a code that is no number."""
    await _ending(cage, ("grpc-status", "banana"))


@species(r"does not answer List: UNKNOWN", rare=True)
async def ends_without_a_status(cage: Cage) -> None:
    """Ends every call without any status."""
    await _ending(cage)


@species(r"does not answer List: .*OK without a response message")
async def is_fine_and_has_no_answer(cage: Cage) -> None:
    """Answers every call OK, with trailers only and no message."""
    await _ending(cage, ("grpc-status", "0"))


@species(r"does not answer List within 1 s$", rpc=1)
async def answers_twice(cage: Cage) -> None:
    """Streams: two messages where one is awaited."""

    def answer(stream: int) -> bytes:
        return (
            beginning(stream)
            + data(stream, message(b"\x12\x01a") + message(b"\x12\x01b"))
            + headers(stream, ("grpc-status", "0"), end=True)
        )

    await _answering(cage, answer)


@species(r"\\x1b|\\u202e")
async def steers_the_terminal(cage: Cage) -> None:
    """Refuses every call with a message that would steer a terminal."""
    await _ending(cage, ("grpc-status", "13"), ("grpc-message", "%1B[2J%1B]0;owned%07%E2%80%AEdecived"))
