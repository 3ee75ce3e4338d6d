"""A capacity provider on grpclib: gRPC for asyncio in pure Python."""

import asyncio
from typing import Any, TypeVar

from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1.provider_grpc import CapacityProviderBase
from fleet import Fleet, Machine, RefusedError, Token, arguments
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.service import OVERALL, Health
from grpclib.server import Server, Stream
from grpclib.utils import graceful_exit

Request = TypeVar("Request")


def refusal(error: RefusedError) -> GRPCError:
    return GRPCError(Status[error.reason.value], error.message)


def token(request: Any) -> Token:
    return Token(request.shard_id, request.shard_epoch, request.sequence_number)


def message(machine: Machine) -> pb.Machine:
    return pb.Machine(
        id=machine.id,
        state=int(machine.state),
        host=pb.HostRef(provider="grpclib", ref=machine.host) if machine.host else None,
        instance_type="m1.large",
        zone=machine.zone,
        capacity_type=machine.capacity_type,
        price_per_hour=0.1,
        interruption_probability=0.05 if machine.capacity_type == pb.CAPACITY_TYPE_SPOT else 0.0,
        resources=pb.Resources(resources={"cpu": "2", "memory": "8Gi"}),
        allocatable=pb.Resources(resources={"cpu": "1900m", "memory": "7Gi"}),
        cluster=machine.cluster,
        shard_metadata=machine.metadata,
    )


def ack(started: tuple[str, Machine]) -> pb.TransitionAck:
    operation, machine = started
    return pb.TransitionAck(operation_id=operation, machine=message(machine))


class Provider(CapacityProviderBase):
    """The six RPCs. The event loop serialises them, because the fleet never waits."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    @staticmethod
    async def _request(stream: "Stream[Request, Any]") -> Request:
        request = await stream.recv_message()
        if request is None:
            raise GRPCError(Status.INVALID_ARGUMENT, "the call has no request message")
        return request

    async def Create(self, stream: "Stream[pb.CreateRequest, pb.TransitionAck]") -> None:  # noqa: N802
        request = await self._request(stream)
        try:
            started = self.fleet.create(request.machine_id, token(request))
        except RefusedError as error:
            raise refusal(error) from None
        await stream.send_message(ack(started))

    async def Configure(self, stream: "Stream[pb.ConfigureRequest, pb.TransitionAck]") -> None:  # noqa: N802
        request = await self._request(stream)
        metadata = dict(request.shard_metadata)
        try:
            started = self.fleet.configure(
                request.machine_id, token(request), request.cluster_id, request.bootstrap_blob, metadata
            )
        except RefusedError as error:
            raise refusal(error) from None
        await stream.send_message(ack(started))

    async def Drain(self, stream: "Stream[pb.DrainRequest, pb.TransitionAck]") -> None:  # noqa: N802
        request = await self._request(stream)
        try:
            started = self.fleet.drain(request.machine_id, token(request), request.grace_period_seconds)
        except RefusedError as error:
            raise refusal(error) from None
        await stream.send_message(ack(started))

    async def Delete(self, stream: "Stream[pb.DeleteRequest, pb.TransitionAck]") -> None:  # noqa: N802
        request = await self._request(stream)
        try:
            started = self.fleet.delete(request.machine_id, token(request))
        except RefusedError as error:
            raise refusal(error) from None
        await stream.send_message(ack(started))

    async def Get(self, stream: "Stream[pb.MachineRef, pb.Machine]") -> None:  # noqa: N802
        request = await self._request(stream)
        try:
            machine = self.fleet.get(request.id)
        except RefusedError as error:
            raise refusal(error) from None
        await stream.send_message(message(machine))

    async def List(self, stream: "Stream[pb.ListFilter, pb.MachineList]") -> None:  # noqa: N802
        request = await self._request(stream)
        try:
            machines = self.fleet.list(list(request.states), request.max_results)
        except RefusedError as error:
            raise refusal(error) from None
        await stream.send_message(pb.MachineList(machines=[message(machine) for machine in machines]))


async def main() -> None:
    options = arguments()
    provider = Provider(Fleet(options.machines, options.latency, options.defect))
    server = Server([provider, Health({OVERALL: []})])
    with graceful_exit([server]):
        await server.start("127.0.0.1", options.port)
        port = server._server.sockets[0].getsockname()[1]
        print(f"serving 127.0.0.1:{port}", flush=True)
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
