"""WIR: requests that carry more, or weigh more, than usual, and RPCs that there are not (contract §1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc import StatusCode

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import State, Verb
from conformance.rpc import reflection
from conformance.rpc.client import SERVICE
from conformance.suite._list import listing
from conformance.suite._metadata import TOO_LARGE, shown
from conformance.testkit import expect
from conformance.testkit.behaviour import behaviour

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from conformance.fleet.machine import Machine
    from conformance.rpc.call import Call
    from conformance.rpc.client import Client
    from conformance.testkit.trial import Trial

UNKNOWN_FIELDS: Final = (
    b"\xc0\x3e\x07"  # 1000: varint
    b"\xca\x3e\x05later"  # 1001: bytes
    b"\xd5\x3e\x01\x02\x03\x04"  # 1002: four bytes
    b"\xd9\x3e\x01\x02\x03\x04\x05\x06\x07\x08"  # 1003: eight bytes
    b"\xfa\xff\xff\xff\x0f\x00"  # 536870911, the highest there is: bytes, none
)
"""What a client of a later contract may add to any message."""
RESERVED_FIELDS: Final = (
    b"\x12\x05later\x10\x07"  # 2: bytes, and a varint
    b"\x1a\x05later\x18\x07"  # 3: the same
)
"""What a client of an earlier contract may still send with a ListFilter."""
UNKNOWN_ID = (StatusCode.NOT_FOUND, StatusCode.UNIMPLEMENTED)
"""How Delete of an unknown id may be answered (COD-1)."""
NO_EDGE = tuple(code for code in StatusCode if code not in (StatusCode.OK, StatusCode.FAILED_PRECONDITION))
"""How a call that has no edge may be refused, and twice need not be the same (COD-2)."""


async def both(plain: Call, later: Call, *, what: str, free: Collection[StatusCode] = ()) -> None:
    """The two calls, the second with unknown fields, are answered with one code, or each with one of `free`."""
    plain, later = await expect.answered(plain), await expect.answered(later)
    expect.fact(
        plain.code is later.code or {plain.code, later.code} <= {*free},
        wanted=f"{what} with unknown fields to answer {plain.code.name}, as without them",
        got=later.outcome(),
        calls=[plain, later],
    )


@behaviour("WIR-1a", machines=1)
async def test_unknown_fields_change_no_answer(trial: Trial) -> None:
    machine, stranger = trial.machine, trial.stranger()
    async with trial.client.another(suffix=UNKNOWN_FIELDS) as later:
        for verb in Verb:
            plain = await stranger.call(verb)
            await both(
                plain, await stranger.call(verb, client=later), what=f"{verb.value} of an unknown id", free=UNKNOWN_ID
            )
        plain = await machine.drain()
        await both(plain, await machine.drain(client=later), what="Drain at IDLE", free=NO_EDGE)
        plain, other = await machine.create(), await machine.create(client=later)
        # A machine that rests because of a Drain, or was IDLE when the kit came, may refuse it: it has no edge.
        await both(plain, other, what="Create at IDLE", free=NO_EDGE)
        if plain.ok:
            await expect.same_operation(plain, other)


@behaviour("WIR-1b", machines=1, transitions=2)
async def test_unknown_fields_hinder_no_transition(trial: Trial) -> None:
    machine, metadata = trial.machine, {"key": "value"}
    async with trial.client.another(suffix=UNKNOWN_FIELDS) as later:
        call = await machine.configure(metadata=metadata, client=later)
        if not call.ok:
            await trial.bind(machine, cluster=machine.cluster, metadata=metadata)  # control: does it without?
        await expect.acked(call)
        watch = await expect.settles(machine, Verb.CONFIGURE)
        expect.fact(
            watch.machine.cluster == machine.cluster, wanted=f"cluster {machine.cluster}", got=watch.machine.cluster
        )
        expect.echoes(watch.machine, metadata, where=f"Get of {machine.id}")
        call = await machine.drain(client=later)
        if not call.ok:
            await trial.drive(machine, Verb.DRAIN)
        await expect.acked(call)


@behaviour("WIR-1c", machines=1)
async def test_unknown_fields_hinder_no_reading(trial: Trial) -> None:
    machine = trial.machine
    seen = await machine.read()
    async with trial.client.another(suffix=UNKNOWN_FIELDS) as later:
        got = await expect.acked(later.get(machine.id))
        expect.same(seen, got.response, what="Get with and without unknown fields")
        for states in ([State.IDLE], trial.found.states_to_list(State.IDLE)):
            await listing(trial, states, inside=[machine], client=later)
        await listing(trial, [State.IDLE], cap=1, least=1, client=later)
    async with trial.client.another(suffix=RESERVED_FIELDS) as earlier:
        await listing(trial, [State.IDLE], inside=[machine], client=earlier)


async def taken_or_refused(
    trial: Trial, machine: Machine, *, what: str, metadata: Mapping[str, str] | None = None, blob: bytes = b"small"
) -> None:
    """Configure takes the heavy request and does it, or refuses it as too large and changes nothing."""
    before = await machine.read()
    call = await machine.configure(metadata=metadata, blob=blob)
    if call.ok:
        await trial.bring(machine, State.CONFIGURED)
        await shown(trial, machine, metadata or {})
        return
    if call.code in TOO_LARGE:
        await expect.unchanged(machine, before, by=f"the refused Configure with {what}")
    await trial.bind(machine, cluster=machine.cluster)  # control: a light one is taken
    await expect.code(call, StatusCode.OK, *TOO_LARGE)
    await shown(trial, machine, {})


@behaviour("WIR-5a", machines=1, transitions=2)
async def test_a_blob_of_1_mib_is_taken_or_refused(trial: Trial) -> None:
    head = b"#!conformance\n"
    blob = head + trial.random.randbytes((1 << 20) - len(head))
    await taken_or_refused(trial, trial.machine, what="a bootstrap blob of 1 MiB", blob=blob)


@behaviour("WIR-5b", machines=1, transitions=2)
async def test_metadata_of_64_kib_is_taken_or_refused(trial: Trial) -> None:
    metadata = {f"key-{number:02}": "v" * (1024 - len("key-00")) for number in range(64)}
    await taken_or_refused(trial, trial.machine, what="metadata of 64 KiB", metadata=metadata)


@behaviour("WIR-5c", machines=1, transitions=2)
async def test_a_heavy_blob_and_metadata_together(trial: Trial) -> None:
    what, metadata = "a blob of 1 MiB and metadata of 64 KiB", {"one": "v" * (64 * 1024 - 3)}
    await taken_or_refused(
        trial, trial.machine, what=what, metadata=metadata, blob=b"#!conformance\n".ljust(1 << 20, b"\0")
    )


@behaviour("WIR-6a")
async def test_an_unknown_method_is_unimplemented(trial: Trial) -> None:
    for method in ("NoSuchMethod", "create", "CREATE", "Get2", "Lis"):
        await expect.code(
            trial.client.call_path(SERVICE + method, pb.MachineRef(id="x"), pb.Machine), StatusCode.UNIMPLEMENTED
        )


@behaviour("WIR-6b")
async def test_an_unknown_service_is_unimplemented(trial: Trial) -> None:
    for service in ("bigfleet.v9.CapacityProvider", "bigfleet.v1alpha1.NoSuchService"):
        await expect.code(
            trial.client.call_path(f"/{service}/List", pb.ListFilter(max_results=1), pb.MachineList),
            StatusCode.UNIMPLEMENTED,
        )


@behaviour("WIR-4a")
async def test_health_is_serving(trial: Trial) -> None:
    from grpc_health.v1 import health_pb2

    async def serving(client: Client) -> None:
        path, request = "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service="")
        call = await expect.acked(client.call_path(path, request, health_pb2.HealthCheckResponse))
        status = reflection.serving_status(call.response)
        expect.fact(status == "SERVING", wanted="SERVING for the empty service", got=status, calls=[call])

    await serving(trial.client)
    async with trial.client.another() as fresh:
        await serving(fresh)


@behaviour("WIR-4b")
async def test_reflection_tells_the_contract(trial: Trial) -> None:
    files = await reflection.described(trial.client)
    if files is None:
        raise Unsupported("reflection does not describe the service")
    differ = reflection.differences(files)
    wanted = "descriptors that are wire-compatible with the contract"
    expect.fact(not differ, wanted=wanted, got="; ".join(differ[:5]))
