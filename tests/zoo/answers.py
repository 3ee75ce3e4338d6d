"""Species whose answers are not valid messages, or are too many or too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.servicer import Servicer
from tests.zoo.provider import provider, serve_until_over
from tests.zoo.sandbox import forever
from tests.zoo.species import species

if TYPE_CHECKING:
    from tests.zoo.sandbox import Sandbox

JUDGED = frozenset({1, 3})
UNREADABLE = r"cannot be read as .*"
GARBAGE = b"\xff\xfe\xfd not a message"


def answering_with(**answers: bytes) -> type[Servicer]:
    """Returns a servicer that answers each of these RPCs with fixed bytes."""

    def method(answer: bytes) -> Any:
        async def respond(self: Servicer, request: Any, context: Any) -> Any:
            return answer

        return respond

    return type("Saying", (Servicer,), {rpc: method(answer) for rpc, answer in answers.items()})


@species(r"does not answer List: .*cannot be read as MachineList")
async def lists_garbage(sandbox: Sandbox) -> None:
    """Answers List with bytes that are not a message."""
    await serve_until_over(sandbox, answering_with(List=GARBAGE))


@species(r"does not answer List: .*cannot be read as MachineList", rare=True)
async def cuts_its_list(sandbox: Sandbox) -> None:
    """Answers List with a truncated message."""
    whole = pb.MachineList(machines=[pb.Machine(id=f"machine-{n}") for n in range(9)]).SerializeToString()
    await serve_until_over(sandbox, answering_with(List=whole[:-3]))


@species(UNREADABLE + "Machine", codes=JUDGED)
async def gets_garbage(sandbox: Sandbox) -> None:
    """Answers Get with bytes that are not a message."""
    await serve_until_over(sandbox, answering_with(Get=GARBAGE))


@species(UNREADABLE + "TransitionAck", codes=JUDGED)
async def acknowledges_with_garbage(sandbox: Sandbox) -> None:
    """Performs every call, and answers with an ack that is not a message."""

    class GarbageAcks(Servicer):
        def ack(self, ack: Any) -> Any:
            return GARBAGE

    await serve_until_over(sandbox, GarbageAcks)


@species(r"lists more than 64 MiB", hint="--max-answer")
async def lists_200_megabytes(sandbox: Sandbox) -> None:
    """Answers List with 200 MB."""
    answer = pb.MachineList(revision=bytes(200_000_000)).SerializeToString()
    await serve_until_over(sandbox, answering_with(List=answer))


@species(r"lists more than 64 MiB, or more machines than that holds$", hint="--max-answer")
async def lists_nobodies(sandbox: Sandbox) -> None:
    """Answers List with 30 million machines of two bytes each."""
    await serve_until_over(sandbox, answering_with(List=b"\x0a\x00" * 30_000_000))


@species(r"does not answer List within 1 s$", hint="--rpc-timeout", rpc=1)
async def lists_never(sandbox: Sandbox) -> None:
    """Answers every RPC except List."""

    class NoList(Servicer):
        async def List(self, request: pb.ListFilter, context: Any) -> pb.MachineList:  # noqa: N802
            await forever()
            raise AssertionError

    await serve_until_over(sandbox, NoList)


@species(r"too few machines|no machine", codes=JUDGED)
async def says_nothing_with_every_answer(sandbox: Sandbox) -> None:
    """Answers every call with OK and an empty message."""
    rpcs = ("Create", "Configure", "Drain", "Delete", "Get", "List")
    await serve_until_over(sandbox, answering_with(**dict.fromkeys(rpcs, b"")))


@species(r"^FAILED OPS-1a", codes=frozenset({1}), select="OPS-1a,LIF-1a")
async def acknowledges_with_nothing(sandbox: Sandbox) -> None:
    """Performs every call, and answers with an empty ack."""

    class EmptyAcks(Servicer):
        def ack(self, ack: Any) -> Any:
            return b""

    await serve_until_over(sandbox, EmptyAcks)


@species(r"^FAILED OPS-3a", codes=frozenset({1}), select="OPS-1a,OPS-3a,LIF-1a")
async def names_operations_at_length(sandbox: Sandbox) -> None:
    """Gives all operations the same id of 1 MiB."""

    class LongOperationIds(Servicer):
        def ack(self, ack: Any) -> pb.TransitionAck:
            return pb.TransitionAck(operation_id="long" * 2**18, machine=self.machine(ack.machine))

    await serve_until_over(sandbox, LongOperationIds)


@species(r"MET-1a .*unknown key 'more'", codes=JUDGED, select="MET-1a,LIF-1a,LST-6a")
async def tells_too_much_of_machines(sandbox: Sandbox) -> None:
    """Shows every running machine with 1 MiB of extra metadata and a host ref of 1 MiB."""

    class LargeMachines(Servicer):
        def build(self, machine: Any) -> pb.Machine:
            built = super().build(machine)
            if machine.host:
                built.host.ref = "host" * 2**18
                built.shard_metadata["more"] = "m" * 2**20
            return built

    await serve_until_over(sandbox, LargeMachines)


@species(r"does not serve bigfleet\.v1alpha1\.CapacityProvider$", hint="the provider's port")
async def serves_something_else(sandbox: Sandbox) -> None:
    """Serves another gRPC service."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await sandbox.announce(f"127.0.0.1:{port}")


@species(r"too few machines")
async def mumbles_about_itself(sandbox: Sandbox) -> None:
    """Has no machines, and answers health and reflection with bytes that are not messages."""

    class GarbageHandlers(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            async def unary(request: bytes, context: Any) -> bytes:
                return GARBAGE

            async def stream(requests: Any, context: Any) -> Any:
                yield GARBAGE

            if "reflection" in details.method:
                return grpc.stream_stream_rpc_method_handler(stream)
            return grpc.unary_unary_rpc_method_handler(unary) if "health" in details.method else None

    class GarbageHealth(Servicer):
        def handlers(self) -> Any:
            return (GarbageHandlers(),)

    await serve_until_over(sandbox, GarbageHealth, provider(0))
