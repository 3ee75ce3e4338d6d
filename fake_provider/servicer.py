"""The wire's side: protos to requests and back, and `Rejected` to a status in one place."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import grpc
import grpc.aio
from bigfleet.v1alpha1 import provider_pb2 as pb

from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.fence import Token
from fake_provider.machine import Machine
from fake_provider.request import Ack, Configure, Create, Delete, Drain, Filter, Listing, Request

SERVICE = "bigfleet.v1alpha1.CapacityProvider"

Context = grpc.aio.ServicerContext[Any, Any]
Fenced = pb.CreateRequest | pb.ConfigureRequest | pb.DrainRequest | pb.DeleteRequest
T = TypeVar("T")

_log = logging.getLogger("fake_provider")


class Servicer:
    """Answers the six RPCs out of a core; no await is within its work, so nothing interrupts it (WIR-3)."""

    health: ClassVar[str] = "SERVING"
    """What the health service says of the server, and of this service (WIR-4)."""
    descriptors: ClassVar[Any] = None
    """The pool that reflection describes the service from; None is the one that it was built with (WIR-4)."""

    def __init__(
        self,
        core: Core,
        *,
        clock: Callable[[], float],
        rpc_delay: float = 0.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called after each mutation, accepted or not."""
        self.core = core
        self.clock = clock
        self.rpc_delay = rpc_delay
        self.on_change = on_change
        self._built: dict[str, tuple[Machine, pb.Machine]] = {}
        for machine in core.machines.values():  # or whoever asks first would wait for it
            self.machine(machine)

    def handlers(self) -> Sequence[grpc.GenericRpcHandler]:
        """Who else answers, beside the six RPCs: nobody (WIR-6)."""
        return ()

    # The RPCs, under the wire's names.

    async def Create(self, request: pb.CreateRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Attach a host to a quota slot."""
        return await self.answer(context, lambda: self.mutate(self.create(request)))

    async def Configure(self, request: pb.ConfigureRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Bind an IDLE machine to a cluster."""
        return await self.answer(context, lambda: self.mutate(self.configure(request)))

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Empty a CONFIGURED machine and unbind it."""
        return await self.answer(context, lambda: self.mutate(self.drain(request)))

    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.TransitionAck:  # noqa: N802
        """Give an IDLE machine's host back."""
        return await self.answer(context, lambda: self.mutate(self.delete(request)))

    async def Get(self, request: pb.MachineRef, context: Context) -> pb.Machine:  # noqa: N802
        """Read one machine."""
        return await self.answer(context, lambda: self.machine(self.core.get(request.id, self.clock())))

    async def List(self, request: pb.ListFilter, context: Context) -> pb.MachineList:  # noqa: N802
        """Read many machines."""
        return await self.answer(
            context, lambda: self.listing(self.core.list_machines(self.filter(request), self.clock()))
        )

    async def answer(self, context: Context, work: Callable[[], T]) -> T:
        """Do the work and answer with what it gives, or with the status it raises: the one place (COD-5)."""
        if self.rpc_delay:
            await asyncio.sleep(self.rpc_delay)
        try:
            return work()
        except Rejected as rejected:
            status, message = self.status(rejected.code), rejected.message
        except Exception:
            _log.exception("a call failed")
            status, message = self.status(Code.INTERNAL), "the provider failed; its log says why"
        return await context.abort(status, message[:512])  # a header, and those are small

    def status(self, code: Code) -> grpc.StatusCode:
        """The code by gRPC's name for it."""
        return grpc.StatusCode[code]

    def mutate(self, request: Request) -> pb.TransitionAck:
        """Carry the request out and settle nothing by ourselves: the server is told that there is work."""
        try:
            return self.ack(self.core.mutate(request, self.clock()))
        finally:
            self.on_change()

    # In.

    def token(self, request: Fenced) -> Token:
        """The fencing token that every mutating request carries."""
        return Token(shard=request.shard_id, epoch=request.shard_epoch, sequence=request.sequence_number)

    def create(self, request: pb.CreateRequest) -> Request:
        """Read a CreateRequest."""
        return Create(machine_id=request.machine_id, token=self.token(request))

    def configure(self, request: pb.ConfigureRequest) -> Request:
        """Read a ConfigureRequest."""
        return Configure(
            machine_id=request.machine_id,
            token=self.token(request),
            cluster=request.cluster_id,
            blob=request.bootstrap_blob,
            metadata=dict(request.shard_metadata),
        )

    def drain(self, request: pb.DrainRequest) -> Request:
        """Read a DrainRequest."""
        return Drain(machine_id=request.machine_id, token=self.token(request), grace=request.grace_period_seconds)

    def delete(self, request: pb.DeleteRequest) -> Request:
        """Read a DeleteRequest."""
        return Delete(machine_id=request.machine_id, token=self.token(request))

    def filter(self, request: pb.ListFilter) -> Filter:
        """Read a ListFilter; unknown states are kept, and match nothing (WIR-2)."""
        return Filter(
            states=frozenset(request.states),
            max_results=request.max_results,
            since=request.since_revision,
        )

    # Out.

    def ack(self, ack: Ack) -> pb.TransitionAck:
        """Write a TransitionAck."""
        return pb.TransitionAck(operation_id=ack.operation_id, machine=self.machine(ack.machine))

    def listing(self, listing: Listing) -> pb.MachineList:
        """Write a MachineList."""
        return pb.MachineList(machines=[self.machine(each) for each in listing.machines], revision=listing.revision)

    def machine(self, machine: Machine) -> pb.Machine:
        """Write a Machine; built once for each value, as a fleet is read far more often than it changes."""
        known = self._built.get(machine.id)
        if known and known[0] is machine:
            return known[1]
        built = self.build(machine)
        self._built[machine.id] = (machine, built)
        return built

    def build(self, machine: Machine) -> pb.Machine:
        """Write a Machine, field by field."""
        host = machine.host
        return pb.Machine(
            id=machine.id,
            state=machine.state,  # type: ignore[arg-type]  # the same numbers
            host=pb.HostRef(provider=host.provider, ref=host.ref) if host else None,
            instance_type=machine.instance_type,
            zone=machine.zone,
            capacity_type=machine.capacity_type,  # type: ignore[arg-type]  # the same numbers
            price_per_hour=machine.price_per_hour,
            interruption_probability=machine.interruption_probability,
            resources=pb.Resources(resources=machine.resources) if machine.resources else None,
            labels=machine.labels,
            last_error=machine.last_error,
            allocatable=pb.Resources(resources=machine.allocatable) if machine.allocatable else None,
            cluster=machine.cluster,
            shard_metadata=machine.shard_metadata,
        )
