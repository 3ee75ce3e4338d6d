"""Lost answers: which calls lose theirs, over which transports, and what a retry then shows about a provider."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme
from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.core.fencing import Shard, Token
from conformance.core.lifecycle import State, Verb
from conformance.engine.dry_run import run_on_virtual_clock
from conformance.engine.faults import injected_faults
from conformance.engine.options import Options, Timeouts
from conformance.fleet.machine import Machine
from conformance.fleet.policy import Policy
from conformance.results import reader
from conformance.results.result import Status
from conformance.rpc.call import Call, CallLog, recording
from conformance.rpc.faults.injection import LostAnswers
from conformance.rpc.faults.spec import parse_faults
from conformance.rpc.in_process import in_process_target
from conformance.rpc.target import Target, Tls
from fake_provider import machine as fake
from fake_provider import server
from fake_provider.core import Core
from fake_provider.server import serving
from fake_provider.servicer import Servicer
from selftest.judge import plan_of
from tests import provider_process
from tests.runs import SHORT, connected, fleet_context, provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fake_provider.fence import Token as FakeToken
    from fake_provider.request import Request

LOST_ANSWER = parse_faults(["lost-answer"])
TOKEN = Token("shard", 3, 4)
KEY = ("Create", "m1", TOKEN)
REQUEST = pb.CreateRequest(machine_id="m1", shard_id="shard", shard_epoch=3, sequence_number=4)
ACK = pb.TransitionAck(operation_id="op-1", machine=pb.Machine(id="m1"))


def create_call(**given: Any) -> Call:
    values: dict[str, Any] = {
        "rpc": "Create",
        "request": REQUEST,
        "token": TOKEN,
        "code": grpc.StatusCode.OK,
        "details": "",
        "response": ACK,
        "answered": True,
        "started": 1.0,
        "ended": 2.0,
    }
    return Call(**values | given)


def selecting(*keys: tuple[str, str, Token]) -> LostAnswers:
    lost_answers = LostAnswers()
    for key in keys:
        lost_answers.select(*key)
    return lost_answers


# Which calls lose their answers.


def test_only_the_first_of_several_equal_requests_is_selected() -> None:
    lost_answers = selecting(KEY)
    assert [lost_answers.claim("Create", REQUEST) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("Create", pb.CreateRequest(machine_id="m1", shard_id="shard", shard_epoch=3, sequence_number=5)),
        ("Create", pb.CreateRequest(machine_id="m2", shard_id="shard", shard_epoch=3, sequence_number=4)),
        ("Drain", pb.DrainRequest(machine_id="m1", shard_id="shard", shard_epoch=3, sequence_number=4)),
        ("Get", pb.MachineRef(id="m1")),
        ("List", pb.ListFilter()),
    ],
)
def test_another_token_machine_or_rpc_is_another_call(rpc: str, request_: Any) -> None:
    assert not selecting(KEY).claim(rpc, request_)


def test_a_deselected_call_is_not_claimed() -> None:
    lost_answers = selecting(KEY)
    lost_answers.deselect(*KEY)
    lost_answers.deselect(*KEY)
    assert not lost_answers.claim("Create", REQUEST)


def test_a_lost_answer_looks_like_a_dropped_connection_and_is_revealed_once() -> None:
    lost_answers, call = LostAnswers(), create_call()
    lost = lost_answers.withhold(call)
    assert (lost.code, lost.answered, lost.response) == (grpc.StatusCode.UNAVAILABLE, False, None)
    assert lost.details == "fault injection dropped this response: 1"
    assert (lost.started, lost.ended, lost.request, lost.number) == (1.0, 2.0, REQUEST, call.number)
    assert lost_answers.counts == {"Create": 1}
    assert lost_answers.reveal(create_call()) is None
    assert [lost_answers.reveal(lost), lost_answers.reveal(lost)] == [call, None]


@pytest.mark.parametrize(
    "call",
    [
        create_call(code=grpc.StatusCode.FAILED_PRECONDITION, details="stale", response=None),
        create_call(code=grpc.StatusCode.UNAVAILABLE, response=None, answered=False),
        create_call(response=pb.TransitionAck()),
    ],
)
def test_only_acks_with_an_operation_id_are_withheld(call: Call) -> None:
    lost_answers = LostAnswers()
    assert lost_answers.withhold(call) is call
    assert lost_answers.reveal(call) is None
    assert lost_answers.counts == {}


# Over each transport.


@asynccontextmanager
async def over_tcp(core: Core) -> AsyncIterator[Target]:
    async with serving(core) as address:
        yield Target(address=address)


@asynccontextmanager
async def over_tls(core: Core) -> AsyncIterator[Target]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    tls = server.Tls(certificate=issued.cert_chain_pems[0].bytes(), key=issued.private_key_pem.bytes())
    async with serving(core, tls=tls) as address:
        yield Target(address=address, tls=Tls(ca=authority.cert_pem.bytes()), headers=(("authorization", "Bearer s"),))


@asynccontextmanager
async def in_process(core: Core) -> AsyncIterator[Target]:
    servicers: list[Servicer] = []

    def build(core: Core, **given: Any) -> Servicer:
        servicers.append(Servicer(core, **given))
        return servicers[-1]

    async with serving(core, servicer=build) as address:
        yield in_process_target(servicers[0], address)


TRANSPORTS = pytest.mark.parametrize("over", [over_tcp, over_tls, in_process])


@TRANSPORTS
def test_the_provider_carries_out_a_call_whose_answer_is_lost(over: Any) -> None:
    async def run() -> None:
        core, log, token = provider(), CallLog(), Shard("s").next()
        async with over(core) as target, connected(target) as client, injected_faults(client, LOST_ANSWER, seed=7):
            assert client.faults is not None
            assert (client.target, client.faults.proxy) == (target, None)
            client.faults.lost_answers.select("Create", "machine-0001", token)
            with recording(log):
                lost = await client.create("machine-0001", token)
            assert not lost.answered
            assert log.calls == [lost]
            assert (await client.create("machine-0001", token)).fenced
            revealed = client.faults.lost_answers.reveal(lost)
            assert revealed is not None
            assert revealed.response.machine.id == "machine-0001"
            assert core.machines["machine-0001"].state is not fake.State.SPECULATIVE
            client.stop_faults()
            assert not client.faults.loses_answers

    asyncio.run(run())


class StartsAnother(Core):
    """Starts another operation for a repeated Create."""

    def retry_of(self, verb: fake.Verb, machine: fake.Machine, request: Request) -> str | None:
        known = super().retry_of(verb, machine, request)
        return self.new_operation_id(verb, machine) if known and verb is fake.Verb.CREATE else known


class ForgetsTheToken(Core):
    """Accepts a token more than once."""

    def unfenced(self, token: FakeToken) -> bool:
        return True


async def after_a_lost_create(over: Any, core: Core, token: Token | None = None, *, again: int) -> Machine:
    async with (
        over(core) as target,
        fleet_context(target) as context,
        injected_faults(context.client, LOST_ANSWER, seed=7),
    ):
        machine = Machine("machine-0001", context, number=1)
        machine.policy = Policy(drop_responses=frozenset({Verb.CREATE}))
        call = await machine.create(token)
        assert call.ok
        assert call.answered
        await machine.drive_to(State.IDLE)
        stats = context.client.faults.stats() if context.client.faults else None
        assert stats is not None
        assert (stats.faults, stats.did) == (("lost-answer",), {})
        assert (stats.lost, stats.again) == ({"Create": 1}, {"Create": again})
        return machine


@TRANSPORTS
def test_a_create_whose_answer_is_lost_is_repeated_and_is_the_same_operation(over: Any) -> None:
    machine = asyncio.run(after_a_lost_create(over, provider(), again=2))
    assert machine.violation is None
    assert machine.live
    assert not machine.unanswered


@TRANSPORTS
def test_with_a_behaviours_own_token_the_lost_answer_counts(over: Any) -> None:
    machine = asyncio.run(after_a_lost_create(over, provider(), Token("another", 1, 1), again=1))
    assert machine.violation is None
    assert machine.live


@TRANSPORTS
def test_a_retry_with_another_operation_is_a_violation(over: Any) -> None:
    violation = asyncio.run(after_a_lost_create(over, provider(cls=StartsAnother), again=2)).violation
    assert violation is not None
    assert violation.clauses == ("OPS-2",)
    assert "the retry of Create, whose response was dropped, to have operation id" in violation.wanted
    assert [(call.rpc, call.answered) for call in violation.calls] == [("Create", False), ("Create", True)]


@TRANSPORTS
def test_a_token_that_is_accepted_twice_is_a_violation(over: Any) -> None:
    violation = asyncio.run(after_a_lost_create(over, provider(cls=ForgetsTheToken), again=1)).violation
    assert violation is not None
    assert violation.clauses == ("FEN-1", "FEN-6")
    assert "to be fenced" in violation.wanted


# Whole runs.


def test_a_run_without_a_socket_and_without_waiting_loses_the_same_answers_each_time() -> None:
    options = Options(timeouts=Timeouts(patience=SHORT), faults=LOST_ANSWER, seed=7)
    first, second = (
        run_on_virtual_clock(plan_of(["OPS-2"]), provider(48, latency=0.05), options=options) for _ in range(2)
    )
    assert not first.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
    assert first.weather is not None
    assert set(first.weather.lost) == {"Create", "Configure", "Drain", "Delete"}
    assert first.weather == second.weather


def test_a_run_over_tls_loses_answers_and_is_conformant(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    authority.cert_pem.write_to_path(ca)
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    options = ("--tls-ca", str(ca), "--header", "authorization=Bearer s", "--select", "OPS-2,FEN-6")
    with provider_process.serving("--latency", "20ms", "--tls-cert", str(cert), "--tls-key", str(key)) as served:
        done = provider_process.judge(served, *options, "--fault", "lost-answer", directory=tmp_path)
    assert done.code == 0, done.text
    injected = reader.read(tmp_path / "report.json").weather
    assert injected is not None
    assert set(injected.lost) == {"Create", "Configure", "Drain", "Delete"}
    assert all(injected.again[rpc] >= lost for rpc, lost in injected.lost.items())
