import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme
from bigfleet.v1alpha1 import provider_pb2 as pb
from bigfleet.v1alpha1 import provider_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import (
    reflection_pb2,
    reflection_pb2_grpc,
)

from fake_provider.core import Core
from fake_provider.errors import CannotServe
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.machine import Machine
from fake_provider.server import Tls, TransitionTimer, serving
from fake_provider.servicer import SERVICE
from tests.fake_provider.driver import IDLE, SLOT, Driver, small_fleet


class Wire:
    """A channel to a provider, and the tokens of one shard."""

    def __init__(self, core: Core, channel: grpc.aio.Channel) -> None:
        self.core = core
        self.channel = channel
        self.stub: Any = provider_pb2_grpc.CapacityProviderStub(channel)  # type: ignore[no-untyped-call]
        self.sequence = 0

    def token(self) -> dict[str, Any]:
        self.sequence += 1
        return {"shard_id": "shard", "shard_epoch": 1, "sequence_number": self.sequence}

    async def code(self, call: Awaitable[Any]) -> grpc.StatusCode:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


@contextlib.asynccontextmanager
async def wire_to(core: Core | None = None, **options: Any) -> AsyncIterator[Wire]:
    core = core or Core(small_fleet())
    unlimited = [("grpc.max_receive_message_length", -1)]
    async with (
        serving(core, **options) as address,
        grpc.aio.insecure_channel(address, options=unlimited) as channel,
    ):
        yield Wire(core, channel)


def check_over_the_wire(check: Callable[[Wire], Awaitable[None]], core: Core | None = None, **options: Any) -> None:
    async def run() -> None:
        async with wire_to(core, **options) as wire:
            await check(wire)

    asyncio.run(run())


def test_a_machine_goes_through_the_whole_lifecycle() -> None:
    async def check(wire: Wire) -> None:
        stub = wire.stub
        ack = await stub.Create(pb.CreateRequest(machine_id=SLOT, **wire.token()))
        assert ack.operation_id
        assert ack.machine.state == pb.MACHINE_STATE_IDLE
        ack = await stub.Configure(
            pb.ConfigureRequest(machine_id=SLOT, cluster_id="blue", shard_metadata={"k\0": "Ä"}, **wire.token())
        )
        assert ack.machine.cluster == "blue"
        assert dict(ack.machine.shard_metadata) == {"k\0": "Ä"}
        got = await stub.Get(pb.MachineRef(id=SLOT))
        assert got == ack.machine
        listed = await stub.List(pb.ListFilter(states=[pb.MACHINE_STATE_CONFIGURED]))
        assert list(listed.machines) == [got]
        assert listed.revision
        ack = await stub.Drain(pb.DrainRequest(machine_id=SLOT, **wire.token()))
        assert not ack.machine.cluster
        ack = await stub.Delete(pb.DeleteRequest(machine_id=SLOT, **wire.token()))
        assert ack.machine.state == pb.MACHINE_STATE_SPECULATIVE
        assert not ack.machine.HasField("host")

    check_over_the_wire(check)


def test_every_field_of_a_machine_is_on_the_wire() -> None:
    machine = fleet(2, idle=2)[1]

    async def check(wire: Wire) -> None:
        got = await wire.stub.Get(pb.MachineRef(id=machine.id))
        assert machine.host
        assert (got.host.provider, got.host.ref) == (machine.host.provider, machine.host.ref)
        assert (got.instance_type, got.zone) == (machine.instance_type.name, machine.zone)
        assert (got.state, got.capacity_type) == (machine.state, machine.capacity_type)
        assert got.price_per_hour == machine.price_per_hour
        assert got.interruption_probability == machine.interruption_probability
        assert dict(got.resources.resources) == machine.instance_type.resources
        assert dict(got.allocatable.resources) == machine.instance_type.allocatable
        assert dict(got.labels) == machine.labels

    check_over_the_wire(check, Core([machine]))


def test_refusals_have_the_codes_of_the_core() -> None:
    async def check(wire: Wire) -> None:
        stub, token = wire.stub, wire.token()
        assert await wire.code(stub.Create(pb.CreateRequest(machine_id=SLOT, **token))) is grpc.StatusCode.OK
        stale = stub.Create(pb.CreateRequest(machine_id=SLOT, **token))
        assert await wire.code(stale) is grpc.StatusCode.FAILED_PRECONDITION
        assert await wire.code(stub.Get(pb.MachineRef(id="x" * 100_000))) is grpc.StatusCode.NOT_FOUND
        assert await wire.code(stub.Get(pb.MachineRef())) is grpc.StatusCode.INVALID_ARGUMENT
        negative = stub.List(pb.ListFilter(max_results=-1))
        assert await wire.code(negative) is grpc.StatusCode.INVALID_ARGUMENT

    check_over_the_wire(check)


def test_an_unexpected_exception_is_internal_and_the_server_keeps_running() -> None:
    class Broken(Core):
        def shown_in_get(self, machine: Machine) -> Machine:
            raise ZeroDivisionError

    async def check(wire: Wire) -> None:
        assert await wire.code(wire.stub.Get(pb.MachineRef(id=SLOT))) is grpc.StatusCode.INTERNAL
        assert len((await wire.stub.List(pb.ListFilter())).machines) == 3

    check_over_the_wire(check, Broken(small_fleet()))


def test_unknown_fields_and_states_are_ignored_and_an_unknown_method_is_unimplemented() -> None:
    async def check(wire: Wire) -> None:
        def raw(method: str) -> Any:
            return wire.channel.unary_unary(f"/{SERVICE}/{method}")

        unknown_field = b"\xfa\x3f\x03xyz"  # number 1023, length-delimited
        got = pb.Machine.FromString(await raw("Get")(pb.MachineRef(id=SLOT).SerializeToString() + unknown_field))
        assert got.id == SLOT
        listed = pb.MachineList.FromString(await raw("List")(b"\x08\x63"))  # state 99
        assert not listed.machines
        assert await wire.code(raw("SettleResult")(b"")) is grpc.StatusCode.UNIMPLEMENTED
        assert await wire.code(raw("Get")(b"\xff\xff\xff")) is not grpc.StatusCode.OK
        assert (await wire.stub.Get(pb.MachineRef(id=SLOT))).id == SLOT

    check_over_the_wire(check)


def test_a_blob_of_1_mib_is_accepted() -> None:
    async def check(wire: Wire) -> None:
        request = pb.ConfigureRequest(machine_id=IDLE, cluster_id="blue", bootstrap_blob=b"x" * 2**20, **wire.token())
        assert (await wire.stub.Configure(request)).machine.state == pb.MACHINE_STATE_CONFIGURED

    check_over_the_wire(check)


def test_concurrent_identical_calls_are_one_operation() -> None:
    async def check(wire: Wire) -> None:
        acks = await asyncio.gather(
            *(
                wire.stub.Create(pb.CreateRequest(machine_id=SLOT, shard_id=str(n), shard_epoch=1, sequence_number=1))
                for n in range(20)
            )
        )
        assert len({ack.operation_id for ack in acks}) == 1
        same = [
            wire.code(
                wire.stub.Create(pb.CreateRequest(machine_id=SLOT, shard_id="s", shard_epoch=1, sequence_number=1))
            )
            for _ in range(20)
        ]
        codes = await asyncio.gather(*same)
        assert codes.count(grpc.StatusCode.OK) == 1
        assert codes.count(grpc.StatusCode.FAILED_PRECONDITION) == 19

    check_over_the_wire(check)


def test_a_cancelled_call_does_not_stop_the_transition() -> None:
    started = asyncio.Event()

    class Signals(Core):
        def start(self, *args: Any) -> Machine:
            started.set()
            return super().start(*args)

    async def check(wire: Wire) -> None:
        call = wire.stub.Create(pb.CreateRequest(machine_id=SLOT, **wire.token()))
        waiting = asyncio.ensure_future(call)
        await started.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert (await wire.stub.Get(pb.MachineRef(id=SLOT))).state == pb.MACHINE_STATE_IDLE

    check_over_the_wire(check, Signals(small_fleet()))


def test_a_transition_ends_without_any_call() -> None:
    settled = asyncio.Event()

    class Signals(Core):
        def settle(self, machine: Machine) -> Machine:
            settled.set()
            return super().settle(machine)

    async def check(wire: Wire) -> None:
        await wire.stub.Create(pb.CreateRequest(machine_id=SLOT, **wire.token()))
        assert not settled.is_set()
        await settled.wait()

    check_over_the_wire(check, Signals(small_fleet(), latency=Latency.every(0.03)))


def test_answers_do_not_depend_on_the_timer() -> None:
    now = [1000.0]

    async def check(wire: Wire) -> None:
        ack = await wire.stub.Create(pb.CreateRequest(machine_id=SLOT, **wire.token()))
        assert ack.machine.state == pb.MACHINE_STATE_CREATING
        now[0] += 3600
        assert (await wire.stub.Get(pb.MachineRef(id=SLOT))).state == pb.MACHINE_STATE_IDLE

    check_over_the_wire(check, Core(small_fleet(), latency=Latency.every(3600)), clock=lambda: now[0])


def test_a_large_fleet_fits_in_one_answer() -> None:
    async def check(wire: Wire) -> None:
        assert len((await wire.stub.List(pb.ListFilter())).machines) == 20_000

    check_over_the_wire(check, Core(fleet(20_000)))


def test_health_is_serving_for_the_server_and_the_service() -> None:
    async def check(wire: Wire) -> None:
        health = health_pb2_grpc.HealthStub(wire.channel)
        for service in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING

    check_over_the_wire(check)


def test_reflection_serves_the_contracts_descriptors() -> None:
    async def check(wire: Wire) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(wire.channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
        ]
        services, file = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
        assert SERVICE in [each.name for each in services.list_services_response.service]
        assert pb.DESCRIPTOR.serialized_pb in file.file_descriptor_response.file_descriptor_proto

    check_over_the_wire(check)


def test_health_and_reflection_can_be_disabled() -> None:
    async def check(wire: Wire) -> None:
        check = health_pb2_grpc.HealthStub(wire.channel).Check(health_pb2.HealthCheckRequest())
        assert await wire.code(check) is grpc.StatusCode.UNIMPLEMENTED

    check_over_the_wire(check, health=False, reflection=False)


def test_an_address_in_use_is_an_error() -> None:
    async def run() -> None:
        async with serving(Core()) as address:
            with pytest.raises(CannotServe, match=address):
                async with serving(Core(), address=address):
                    pass

    asyncio.run(run())


def test_mutual_tls_accepts_only_clients_with_a_certificate_of_its_ca() -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    server = ours.issue_cert("localhost", "127.0.0.1")
    tls = Tls(
        certificate=server.cert_chain_pems[0].bytes(),
        key=server.private_key_pem.bytes(),
        client_ca=ours.cert_pem.bytes(),
    )

    def credentials(ca: trustme.CA | None) -> grpc.ChannelCredentials:
        root = ours.cert_pem.bytes()
        if ca is None:
            return grpc.ssl_channel_credentials(root)
        client = ca.issue_cert("client@example.org")
        return grpc.ssl_channel_credentials(root, client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes())

    async def code(channel: grpc.aio.Channel) -> grpc.StatusCode:
        async with channel:
            wire = Wire(Core(), channel)
            return await wire.code(wire.stub.List(pb.ListFilter(), timeout=10))

    async def run() -> None:
        async with serving(Core(), tls=tls) as address:
            assert await code(grpc.aio.secure_channel(address, credentials(ours))) is grpc.StatusCode.OK
            for stranger in (
                grpc.aio.secure_channel(address, credentials(theirs)),
                grpc.aio.secure_channel(address, credentials(None)),
                grpc.aio.insecure_channel(address),
            ):
                assert await code(stranger) is grpc.StatusCode.UNAVAILABLE

    asyncio.run(run())


@pytest.mark.parametrize("ticks", range(5))
def test_the_timer_ends_when_a_call_wakes_it_at_the_same_moment(ticks: int) -> None:
    async def facts() -> None:
        driver = Driver()
        driver.create()  # it ends in a second, so that the timer waits with a limit
        timer = TransitionTimer(driver.core, lambda: driver.now)
        task = asyncio.create_task(timer.run())
        await asyncio.sleep(0.01)
        timer.wake()
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=1.0)
        assert task.cancelled()

    asyncio.run(facts())
