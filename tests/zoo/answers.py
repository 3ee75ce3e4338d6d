"""Answers that are no messages, too many, or too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.servicer import Servicer
from tests.zoo.cage import forever
from tests.zoo.provider import kept, provider
from tests.zoo.species import species

if TYPE_CHECKING:
    from tests.zoo.cage import Cage

JUDGED = frozenset({1, 3})
UNREADABLE = r"cannot be read as .*"
GARBAGE = b"\xff\xfe\xfd no message at all"


def saying(**answers: bytes) -> type[Servicer]:
    """A servicer that answers these RPCs with these bytes, whatever is asked."""

    def method(answer: bytes) -> Any:
        async def says(self: Servicer, request: Any, context: Any) -> Any:
            return answer

        return says

    return type("Saying", (Servicer,), {rpc: method(answer) for rpc, answer in answers.items()})


@species(r"does not answer List: .*cannot be read as MachineList")
async def lists_garbage(cage: Cage) -> None:
    """Answers List with bytes that are no message."""
    await kept(cage, saying(List=GARBAGE))


@species(r"does not answer List: .*cannot be read as MachineList", rare=True)
async def cuts_its_list(cage: Cage) -> None:
    """Answers List with a message that ends in the middle."""
    whole = pb.MachineList(machines=[pb.Machine(id=f"machine-{n}") for n in range(9)]).SerializeToString()
    await kept(cage, saying(List=whole[:-3]))


@species(UNREADABLE + "Machine", codes=JUDGED)
async def gets_garbage(cage: Cage) -> None:
    """Answers Get with bytes that are no message."""
    await kept(cage, saying(Get=GARBAGE))


@species(UNREADABLE + "TransitionAck", codes=JUDGED)
async def acknowledges_with_garbage(cage: Cage) -> None:
    """Does what it is asked to, and acknowledges with bytes that are no message."""

    class Mumbling(Servicer):
        def ack(self, ack: Any) -> Any:
            return GARBAGE

    await kept(cage, Mumbling)


@species(r"lists more than 64 MiB", mend="--max-answer")
async def lists_200_megabytes(cage: Cage) -> None:
    """Answers List with 200 MB."""
    await kept(cage, saying(List=pb.MachineList(revision=bytes(200_000_000)).SerializeToString()))


@species(r"returns a List that is larger than 64 MiB, or has too many machines for that limit$", mend="--max-answer")
async def lists_nobodies(cage: Cage) -> None:
    """Answers List with 30 million machines of two bytes each."""
    await kept(cage, saying(List=b"\x0a\x00" * 30_000_000))


@species(r"does not answer List within 1 s$", mend="--rpc-timeout", rpc=1)
async def lists_never(cage: Cage) -> None:
    """Answers everything but List."""

    class Withholding(Servicer):
        async def List(self, request: pb.ListFilter, context: Any) -> pb.MachineList:  # noqa: N802
            await forever()
            raise AssertionError

    await kept(cage, Withholding)


@species(r"too few machines|no machine", codes=JUDGED)
async def says_nothing_with_every_answer(cage: Cage) -> None:
    """Answers everything OK, with an empty message."""
    await kept(cage, saying(**dict.fromkeys(("Create", "Configure", "Drain", "Delete", "Get", "List"), b"")))


@species(r"^FAILED OPS-1a", codes=frozenset({1}), select="OPS-1a,LIF-1a")
async def acknowledges_with_nothing(cage: Cage) -> None:
    """Does what it is asked to, and acknowledges with an empty message."""

    class Silent(Servicer):
        def ack(self, ack: Any) -> Any:
            return b""

    await kept(cage, Silent)


@species(r"^FAILED OPS-3a", codes=frozenset({1}), select="OPS-1a,OPS-3a,LIF-1a")
async def names_operations_at_length(cage: Cage) -> None:
    """Gives every operation an id of 1 MiB, and the same to all."""

    class Long(Servicer):
        def ack(self, ack: Any) -> pb.TransitionAck:
            return pb.TransitionAck(operation_id="long" * 2**18, machine=self.machine(ack.machine))

    await kept(cage, Long)


@species(r"MET-1a .*unknown key 'more'", codes=JUDGED, select="MET-1a,LIF-1a,LST-6a")
async def tells_too_much_of_machines(cage: Cage) -> None:
    """Shows every machine that lives with 1 MiB of metadata of its own, and a host of 1 MiB."""

    class Verbose(Servicer):
        def build(self, machine: Any) -> pb.Machine:
            told = super().build(machine)
            if machine.host:
                told.host.ref = "host" * 2**18
                told.shard_metadata["more"] = "m" * 2**20
            return told

    await kept(cage, Verbose)


@species(r"does not serve bigfleet\.v1alpha1\.CapacityProvider$", mend="the provider's port")
async def serves_something_else(cage: Cage) -> None:
    """A gRPC server of another service."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await cage.stand(f"127.0.0.1:{port}")


@species(r"too few machines")
async def mumbles_about_itself(cage: Cage) -> None:
    """Has no machines, and answers for its health and its services with bytes that are no message."""

    class Elsewhere(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            async def once(request: bytes, context: Any) -> bytes:
                return GARBAGE

            async def again(requests: Any, context: Any) -> Any:
                yield GARBAGE

            if "reflection" in details.method:
                return grpc.stream_stream_rpc_method_handler(again)
            return grpc.unary_unary_rpc_method_handler(once) if "health" in details.method else None

    class Mumbling(Servicer):
        def handlers(self) -> Any:
            return (Elsewhere(),)

    await kept(cage, Mumbling, provider(0))
