"""The gRPC servicer: converts protobuf messages to requests and back, and `Rejected` to a gRPC status."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.errors import CannotServe, Code, Rejected
from fake_provider.fence import Token
from fake_provider.machine import Machine
from fake_provider.request import Ack, Configure, Create, Delete, Drain, Filter, Listing, Request

SERVICE = "bigfleet.v1alpha1.CapacityProvider"

Context = grpc.aio.ServicerContext[Any, Any]
Fenced = pb.CreateRequest | pb.ConfigureRequest | pb.DrainRequest | pb.DeleteRequest
T = TypeVar("T")

_log = logging.getLogger("fake_provider")


class Servicer:
    """Answers the six RPCs from a core. The core's work contains no await, so that calls are atomic (WIR-3)."""

    health: ClassVar[str] = "SERVING"
    """The status that the health service reports for the server and this service (WIR-4)."""
    descriptors: ClassVar[Any] = None
    """The descriptor pool for reflection; None for the pool of the generated code (WIR-4)."""

    def __init__(
        self,
        core: Core,
        *,
        clock: Callable[[], float],
        rpc_delay: float = 0.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Calls `on_change` after each mutating call, accepted or not; `rpc_delay` is in seconds."""
        self.core = core
        self.clock = clock
        self.rpc_delay = rpc_delay
        self.on_change = on_change
        self.calls = 0
        """The number of calls so far, served or refused."""
        self.refusing = False
        """True while the provider stops: no call is served any more."""
        self._messages: dict[str, tuple[Machine, pb.Machine]] = {}
        for machine in core.machines.values():  # otherwise the first List would wait for it
            self.machine(machine)

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """Returns handlers for further methods beside the six RPCs: none (WIR-6)."""
        return ()

    # The RPCs, with their names in the protobuf service.

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Attaches a host to a quota slot."""
        return await self.answer(context, lambda: self.mutate(self.create(request)))

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Binds an IDLE machine to a cluster."""
        return await self.answer(context, lambda: self.mutate(self.configure(request)))

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Drains a CONFIGURED machine and unbinds it."""
        return await self.answer(context, lambda: self.mutate(self.drain(request)))

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Releases the host of an IDLE machine."""
        return await self.answer(context, lambda: self.mutate(self.delete(request)))

    async def Get(self, request: pb.MachineRef, context: Context) -> pb.Machine:  # noqa: N802
        """Returns one machine."""
        return await self.answer(context, lambda: self.machine(self.core.get(request.id, self.clock())))

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        """Returns the machines that match a filter."""
        return await self.answer(
            context, lambda: self.listing(self.core.list_machines(self.filter(request), self.clock()))
        )

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        """Answers with the result of `work`, or with the status of its error; the only place that aborts (COD-5)."""
        self.calls += 1
        if self.refusing:
            return await context.abort(grpc.StatusCode.UNAVAILABLE, "the provider is stopping")
        if self.rpc_delay:
            await asyncio.sleep(self.rpc_delay)
        try:
            return work()
        except Rejected as rejected:
            status, message = self.status(rejected.code), rejected.message
        except CannotServe as error:
            _log.error("a call was not served: %s", error)
            status, message = grpc.StatusCode.UNAVAILABLE, str(error)
        except Exception:
            _log.exception("a call failed")
            status, message = self.status(Code.INTERNAL), "the provider failed; see its log"
        return await context.abort(status, message[:512])  # the message is sent in a header, whose size is limited

    def status(self, code: Code) -> grpc.StatusCode:
        """Returns the gRPC status code of a rejection's code."""
        return grpc.StatusCode[code]

    def mutate(self, request: Request) -> pb.TransitionAck:
        """Performs the request, and notifies the server that a transition may have started."""
        try:
            return self.ack(self.core.mutate(request, self.clock()))
        finally:
            self.on_change()

    # Requests.

    def token(self, request: Fenced) -> Token:
        """Returns the fencing token of a mutating request."""
        return Token(shard=request.shard_id, epoch=request.shard_epoch, sequence=request.sequence_number)

    def create(self, request: pb.CreateRequest) -> Request:
        """Converts a CreateRequest."""
        return Create(machine_id=request.machine_id, token=self.token(request))

    def configure(self, request: pb.ConfigureRequest) -> Request:
        """Converts a ConfigureRequest."""
        return Configure(
            machine_id=request.machine_id,
            token=self.token(request),
            cluster=request.cluster_id,
            blob=request.bootstrap_blob,
            metadata=dict(request.shard_metadata),
        )

    def drain(self, request: pb.DrainRequest) -> Request:
        """Converts a DrainRequest."""
        return Drain(machine_id=request.machine_id, token=self.token(request), grace=request.grace_period_seconds)

    def delete(self, request: pb.DeleteRequest) -> Request:
        """Converts a DeleteRequest."""
        return Delete(machine_id=request.machine_id, token=self.token(request))

    def filter(self, request: pb.ListFilter) -> Filter:
        """Converts a ListFilter; unknown states stay in it and match no machine (WIR-2)."""
        return Filter(
            states=frozenset(request.states),
            max_results=request.max_results,
            since=request.since_revision,
        )

    # Answers.

    def ack(self, ack: Ack) -> pb.TransitionAck:
        """Returns the TransitionAck message."""
        return pb.TransitionAck(operation_id=ack.operation_id, machine=self.machine(ack.machine))

    def listing(self, listing: Listing) -> pb.MachineList:
        """Returns the MachineList message."""
        return pb.MachineList(machines=[self.machine(each) for each in listing.machines], revision=listing.revision)

    def machine(self, machine: Machine) -> pb.Machine:
        """Returns the Machine message; cached, because a fleet is read much more often than it changes."""
        cached = self._messages.get(machine.id)
        if cached and cached[0] is machine:
            return cached[1]
        built = self.build(machine)
        self._messages[machine.id] = (machine, built)
        return built

    def build(self, machine: Machine) -> pb.Machine:
        """Returns a new Machine message."""
        host, instance_type = machine.host, machine.instance_type
        return pb.Machine(
            id=machine.id,
            state=machine.state,  # type: ignore[arg-type]  # the same numbers
            host=pb.HostRef(provider=host.provider, ref=host.ref) if host else None,
            instance_type=instance_type.name,
            zone=machine.zone,
            capacity_type=machine.capacity_type,  # type: ignore[arg-type]  # the same numbers
            price_per_hour=machine.price_per_hour,
            interruption_probability=machine.interruption_probability,
            resources=pb.Resources(resources=instance_type.resources) if instance_type.resources else None,
            labels=machine.labels,
            last_error=machine.last_error,
            allocatable=pb.Resources(resources=instance_type.allocatable) if instance_type.allocatable else None,
            cluster=machine.cluster,
            shard_metadata=machine.shard_metadata,
        )
