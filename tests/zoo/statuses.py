"""Species that end calls with a status that gRPC does not know, does not allow, or cannot represent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.zoo.http2 import (
    END_HEADERS,
    END_STREAM,
    RESPONSE_HEADERS,
    Kind,
    block,
    data,
    frame,
    headers,
    message,
    requests,
    response_headers,
)
from tests.zoo.species import species

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable

    from tests.zoo.sandbox import Sandbox


async def _answer_with(sandbox: Sandbox, answer: Callable[[int], bytes]) -> None:
    """Answers every call with the frames that `answer` returns for its stream."""

    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        async for stream in requests(reader, writer):
            writer.write(answer(stream))

    await sandbox.listen(handle)


async def _end_with(sandbox: Sandbox, *trailers: tuple[str, str]) -> None:
    """Answers every call with trailers only."""
    await _answer_with(sandbox, lambda stream: headers(stream, *RESPONSE_HEADERS, *trailers, end=True))


@species(r"does not answer List: INTERNAL$")
async def says_nothing_of_it(sandbox: Sandbox) -> None:
    """Rejects every call with a status without a message."""
    await _end_with(sandbox, ("grpc-status", "13"))


@species(r"does not answer List: INTERNAL: long")
async def says_too_much(sandbox: Sandbox) -> None:
    """Rejects every call with a message of 1 MiB."""

    def answer(stream: int) -> bytes:
        everything = block(*RESPONSE_HEADERS, ("grpc-status", "13"), ("grpc-message", "long " * (2**20 // 5)))
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

    await _answer_with(sandbox, answer)


@species(r"does not answer List: UNKNOWN")
async def ends_with_code_99(sandbox: Sandbox) -> None:
    """Rejects every call with the unknown code 99."""
    await _end_with(sandbox, ("grpc-status", "99"), ("grpc-message", "beyond all codes"))


@species(r"does not answer List: .*grpc-status", rare=True)
async def ends_with_a_word(sandbox: Sandbox) -> None:
    """Rejects every call with a code that is not a number."""
    await _end_with(sandbox, ("grpc-status", "banana"))


@species(r"does not answer List: UNKNOWN", rare=True)
async def ends_without_a_status(sandbox: Sandbox) -> None:
    """Ends every call without any status."""
    await _end_with(sandbox)


@species(r"does not answer List: .*OK without a response message")
async def is_fine_and_has_no_answer(sandbox: Sandbox) -> None:
    """Answers every call with OK and trailers, but no message."""
    await _end_with(sandbox, ("grpc-status", "0"))


@species(r"does not answer List within 1 s$", rpc=1)
async def answers_twice(sandbox: Sandbox) -> None:
    """Sends two messages in answer to a unary call."""

    def answer(stream: int) -> bytes:
        return (
            response_headers(stream)
            + data(stream, message(b"\x12\x01a") + message(b"\x12\x01b"))
            + headers(stream, ("grpc-status", "0"), end=True)
        )

    await _answer_with(sandbox, answer)


@species(r"\\x1b|\\u202e")
async def steers_the_terminal(sandbox: Sandbox) -> None:
    """Rejects every call with a message that contains terminal control sequences."""
    await _end_with(sandbox, ("grpc-status", "13"), ("grpc-message", "%1B[2J%1B]0;owned%07%E2%80%AEdecived"))
