"""A capacity provider on connectrpc: an ASGI application that any ASGI server with HTTP/2 and trailers can serve."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from bigfleet.v1alpha1 import provider_pb as pb
from bigfleet.v1alpha1.provider_connect import CapacityProvider, CapacityProviderASGIApplication
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from fleet import Fleet, Machine, RefusedError, Token


def refusing(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any, RequestContext], Awaitable[Any]]:
    """Ends the call with the status code of a refusal."""

    @wraps(method)
    async def call(self: Any, request: Any, _ctx: RequestContext) -> Any:
        try:
            return method(self, request)
        except RefusedError as error:
            raise ConnectError(Code[error.reason.value], error.message) from None

    return call


def token(request: Any) -> Token:
    return Token(request.shard_id, request.shard_epoch, request.sequence_number)


def message(machine: Machine) -> pb.Machine:
    capacity_type = pb.CapacityType(machine.capacity_type)
    return pb.Machine(
        id=machine.id,
        state=pb.MachineState(int(machine.state)),
        host=pb.HostRef(provider="connectrpc", ref=machine.host) if machine.host else None,
        instance_type="m1.large",
        zone=machine.zone,
        capacity_type=capacity_type,
        price_per_hour=0.1,
        interruption_probability=0.05 if capacity_type == pb.CapacityType.SPOT else 0.0,
        resources=pb.Resources(resources={"cpu": "2", "memory": "8Gi"}),
        allocatable=pb.Resources(resources={"cpu": "1900m", "memory": "7Gi"}),
        cluster=machine.cluster,
        shard_metadata=dict(machine.metadata),
    )


def ack(started: tuple[str, Machine]) -> pb.TransitionAck:
    operation, machine = started
    return pb.TransitionAck(operation_id=operation, machine=message(machine))


class Provider(CapacityProvider):
    """The six RPCs. The event loop serialises them, because the fleet never waits."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    @refusing
    def create(self, request: pb.CreateRequest) -> pb.TransitionAck:
        return ack(self.fleet.create(request.machine_id, token(request)))

    @refusing
    def configure(self, request: pb.ConfigureRequest) -> pb.TransitionAck:
        metadata = dict(request.shard_metadata)
        return ack(
            self.fleet.configure(
                request.machine_id, token(request), request.cluster_id, request.bootstrap_blob, metadata
            )
        )

    @refusing
    def drain(self, request: pb.DrainRequest) -> pb.TransitionAck:
        return ack(self.fleet.drain(request.machine_id, token(request), request.grace_period_seconds))

    @refusing
    def delete(self, request: pb.DeleteRequest) -> pb.TransitionAck:
        return ack(self.fleet.delete(request.machine_id, token(request)))

    @refusing
    def get(self, request: pb.MachineRef) -> pb.Machine:
        return message(self.fleet.get(request.id))

    @refusing
    def list(self, request: pb.ListFilter) -> pb.MachineList:
        machines = self.fleet.list([int(state) for state in request.states], request.max_results)
        return pb.MachineList(machines=[message(machine) for machine in machines])


def application(fleet: Fleet) -> CapacityProviderASGIApplication:
    return CapacityProviderASGIApplication(Provider(fleet))
