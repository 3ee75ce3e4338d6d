"""WIR: requests with unknown fields, large requests, and unknown RPCs (contract §1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bigfleet.v1alpha1 import provider_pb2 as pb
from grpc import StatusCode

from conformance.core.errors import Unsupported
from conformance.core.lifecycle import State, Verb
from conformance.rpc import reflection
from conformance.rpc.call import require_from_provider
from conformance.rpc.client import SERVICE
from conformance.suite._list import checked_list
from conformance.suite._metadata import TOO_LARGE, check_shown
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
    b"\xfa\xff\xff\xff\x0f\x00"  # 536870911, the highest there is: no bytes
)
"""Encoded fields that a client of a later contract may add to any message."""
RESERVED_FIELDS: Final = (
    b"\x12\x05later\x10\x07"  # 2: bytes, and a varint
    b"\x1a\x05later\x18\x07"  # 3: the same
)
"""Encoded fields that a client of an earlier contract may still send in a ListFilter."""
UNKNOWN_ID_CODES = (StatusCode.NOT_FOUND, StatusCode.UNIMPLEMENTED)
"""The codes allowed for Delete of an unknown id (COD-1)."""
NO_EDGE_CODES = tuple(code for code in StatusCode if code not in (StatusCode.OK, StatusCode.FAILED_PRECONDITION))
"""The codes allowed for a call without an edge; two such calls may have different codes (COD-2)."""


async def check_same_code(plain: Call, later: Call, *, what: str, allowed: Collection[StatusCode] = ()) -> None:
    """Checks that the calls, of which `later` has unknown fields, have the same code, or each one of `allowed`."""
    plain, later = await expect.answered(plain), await expect.answered(later)
    for call in (plain, later):
        require_from_provider(call)
    expect.fact(
        plain.status is later.status or {plain.status, later.status} <= {*allowed},
        wanted=f"{what} with unknown fields to answer {plain.status.name}, like the call without them",
        got=later.outcome(),
        calls=[plain, later],
    )


@behaviour("WIR-1a", machines=1)
async def test_unknown_fields_change_no_answer(trial: Trial) -> None:
    machine, stranger = trial.machine, trial.stranger()
    async with trial.client.another(suffix=UNKNOWN_FIELDS) as later:
        for verb in Verb:
            plain = await stranger.call(verb)
            await check_same_code(
                plain,
                await stranger.call(verb, client=later),
                what=f"{verb.value} of an unknown id",
                allowed=UNKNOWN_ID_CODES,
            )
        plain = await machine.drain()
        await check_same_code(plain, await machine.drain(client=later), what="Drain at IDLE", allowed=NO_EDGE_CODES)
        plain, other = await machine.create(), await machine.create(client=later)
        # Refused, as without an edge, if the machine is IDLE because of a Drain or was so before the run.
        await check_same_code(plain, other, what="Create at IDLE", allowed=NO_EDGE_CODES)
        if plain.ok:
            await expect.same_operation(plain, other)


@behaviour("WIR-1b", machines=1, transitions=2)
async def test_unknown_fields_hinder_no_transition(trial: Trial) -> None:
    machine, metadata = trial.machine, {"key": "value"}
    async with trial.client.another(suffix=UNKNOWN_FIELDS) as later:
        call = await machine.configure(metadata=metadata, client=later)
        if not call.ok:
            # Control: the same call without unknown fields.
            await trial.bind(machine, cluster=machine.cluster, metadata=metadata)
        await expect.acked(call)
        watch = await expect.settles(machine, Verb.CONFIGURE)
        expect.fact(
            watch.machine.cluster == machine.cluster,
            wanted=f"Get of {machine.id} to show cluster {machine.cluster}",
            got=repr(watch.machine.cluster),
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
            await checked_list(trial, states, included=[machine], client=later)
        await checked_list(trial, [State.IDLE], cap=1, least=1, client=later)
    async with trial.client.another(suffix=RESERVED_FIELDS) as earlier:
        await checked_list(trial, [State.IDLE], included=[machine], client=earlier)


async def check_accepted_or_refused(
    trial: Trial, machine: Machine, *, what: str, metadata: Mapping[str, str] | None = None, blob: bytes = b"small"
) -> None:
    """Checks that Configure accepts the large request, or refuses it as too large and changes nothing."""
    before = await machine.read()
    call = await machine.configure(metadata=metadata, blob=blob)
    if call.ok:
        await trial.bring(machine, State.CONFIGURED)
        await check_shown(trial, machine, metadata or {})
        return
    if call.status in TOO_LARGE:
        await expect.unchanged(machine, before, by=f"the refused Configure with {what}")
    await trial.bind(machine, cluster=machine.cluster)  # control: a small one is accepted
    await expect.code(call, StatusCode.OK, *TOO_LARGE)
    await check_shown(trial, machine, {})


@behaviour("WIR-5a", machines=1, transitions=2)
async def test_a_blob_of_1_mib_is_taken_or_refused(trial: Trial) -> None:
    head = b"#!conformance\n"
    blob = head + trial.random.randbytes((1 << 20) - len(head))
    await check_accepted_or_refused(trial, trial.machine, what="a bootstrap blob of 1 MiB", blob=blob)


@behaviour("WIR-5b", machines=1, transitions=2)
async def test_metadata_of_64_kib_is_taken_or_refused(trial: Trial) -> None:
    metadata = {f"key-{number:02}": "v" * (1024 - len("key-00")) for number in range(64)}
    await check_accepted_or_refused(trial, trial.machine, what="metadata of 64 KiB", metadata=metadata)


@behaviour("WIR-5c", machines=1, transitions=2)
async def test_a_heavy_blob_and_metadata_together(trial: Trial) -> None:
    what, metadata = "a blob of 1 MiB and metadata of slightly more than 64 KiB", {"one": "v" * (64 * 1024 - 1) + "end"}
    await check_accepted_or_refused(
        trial, trial.machine, what=what, metadata=metadata, blob=b"#!conformance\n".ljust(1 << 20, b"\0")
    )


@behaviour("WIR-6a")
async def test_an_unknown_method_is_unimplemented(trial: Trial) -> None:
    for method in ("NoSuchMethod", "create", "CREATE", "Get2", "Lis"):
        call = trial.client.call_path(SERVICE + method, pb.MachineRef(id="x"), pb.Machine)
        await expect.code(call, StatusCode.UNIMPLEMENTED, from_http=True)


@behaviour("WIR-6b")
async def test_an_unknown_service_is_unimplemented(trial: Trial) -> None:
    for service in ("bigfleet.v9.CapacityProvider", "bigfleet.v1alpha1.NoSuchService"):
        await expect.code(
            trial.client.call_path(f"/{service}/List", pb.ListFilter(max_results=1), pb.MachineList),
            StatusCode.UNIMPLEMENTED,
            from_http=True,
        )


@behaviour("WIR-4a")
async def test_health_is_serving(trial: Trial) -> None:
    from grpc_health.v1 import health_pb2

    async def check_serving(client: Client) -> None:
        path, request = "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service="")
        call = await expect.answered(client.call_path(path, request, health_pb2.HealthCheckResponse))
        status = reflection.serving_status(call.response) if call.ok else call.outcome()
        expect.fact(status == "SERVING", wanted="SERVING for the empty service", got=status, calls=[call])

    await check_serving(trial.client)
    async with trial.client.another() as other:
        await check_serving(other)


@behaviour("WIR-4b")
async def test_reflection_tells_the_contract(trial: Trial) -> None:
    described = await reflection.fetch_descriptors(trial.client)
    if not described:
        raise Unsupported("the provider's reflection does not describe the service")
    for service, files in described.items():
        differences = reflection.differences(files)
        wanted = f"descriptors from {service} that are wire-compatible with the contract"
        expect.fact(not differences, wanted=wanted, got="; ".join(differences[:5]))
