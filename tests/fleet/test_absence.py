"""Tests that an id which does not exist is not a machine left behind, and neither is one whose calls had no edge."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from conformance.core.lifecycle import State
from conformance.engine.dry_run import run_on_virtual_clock
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.machine import EDGES, Verb
from fake_provider.servicer import Servicer
from tests.runs import judged, options_from, proof, provider

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.testkit.trial import Trial
    from fake_provider.machine import Machine as TheirMachine
    from fake_provider.request import Ack, Request

UNKNOWN_IDS = 5


async def calls_unknown_ids(trial: Trial) -> None:
    for _ in range(UNKNOWN_IDS):
        machine = trial.stranger()
        await machine.drain()
        await machine.create()


class TryAgain(Core):
    """Answers UNAVAILABLE or another code for an unknown id, also to a Get."""

    code = Code.UNAVAILABLE

    def find(self, machine_id: str) -> TheirMachine:
        if machine_id not in self.machines:
            raise Rejected(self.code, "somewhere else, perhaps")
        return super().find(machine_id)


@pytest.mark.parametrize("code", [Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED, Code.INTERNAL, Code.ABORTED])
def test_an_unknown_id_is_no_machine_whatever_get_answers(code: Code, tmp_path: Path) -> None:
    core, ledger = provider(2, cls=TryAgain), tmp_path / "ledger.ndjson"
    core.code = code  # type: ignore[attr-defined]
    report = asyncio.run(judged([proof(calls_unknown_ids)], core, ledger=ledger))
    assert (report.home.left, report.home.taken) == ((), ())
    assert not ledger.exists() or '"open": []' in ledger.read_text(encoding="utf-8")


class Silent(Servicer):
    """Never answers a call for an unknown id."""

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        def found() -> Any:
            try:
                return work()
            except Rejected as rejected:
                if rejected.code is Code.NOT_FOUND:
                    return None
                raise

        answer = await super().answer(context, found)
        if answer is None:
            await asyncio.sleep(60)
        return answer


def test_an_unknown_id_is_no_machine_if_its_calls_are_not_answered() -> None:
    report = asyncio.run(judged([proof(calls_unknown_ids)], provider(2), serve={"servicer": Silent}, rpc_timeout=0.5))
    assert (report.home.left, report.home.taken) == ((), ())


class Dies(Servicer):
    """Answers INTERNAL to every call once an unknown id was called."""

    dead = False

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        def checked() -> Any:
            if self.dead:
                raise Rejected(Code.INTERNAL, "dying")
            return work()

        return await super().answer(context, checked)

    async def Create(self, request: pb.CreateRequest, context: Any) -> pb.TransitionAck:  # noqa: N802
        try:
            return await super().Create(request, context)
        finally:
            self.dead = True


async def calls_one_unknown_id(trial: Trial) -> None:
    await trial.stranger().create()


def test_an_unknown_id_whose_calls_were_refused_is_no_machine_if_nothing_is_answered_any_more() -> None:
    report = asyncio.run(judged([proof(calls_one_unknown_id)], provider(2), serve={"servicer": Dies}))
    assert (report.home.left, report.home.taken) == ((), ())


class MakesAnyMachine(Core):
    """Creates a machine for an unknown id, and answers NOT_FOUND to a Get of it."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        if verb is Verb.CREATE and request.machine_id not in self.machines:
            some = next(iter(self.machines.values()))
            self.put(replace(some, id=request.machine_id))
        return super().serve(verb, request, now)

    def shown_in_get(self, machine: TheirMachine) -> TheirMachine:
        if machine.id.startswith("cpc"):
            raise Rejected(Code.NOT_FOUND, "no such machine")
        return machine


def test_an_unknown_id_that_list_shows_is_left_behind() -> None:
    report = asyncio.run(judged([proof(calls_unknown_ids)], provider(2, cls=MakesAnyMachine)))
    assert len(report.home.left) == UNKNOWN_IDS


class RefusesAtTheDoor(Core):
    """Answers UNAVAILABLE to a call that has no edge, before it looks at the token."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        machine = self.machines.get(request.machine_id)
        if machine is not None and not machine.moving and machine.state is not EDGES[verb].source:
            raise Rejected(Code.UNAVAILABLE, "not from here")
        return super().serve(verb, request, now)


class Refuses(Core):
    """Answers UNAVAILABLE to a call that has no edge."""

    def no_edge(self, verb: Verb, machine: TheirMachine) -> Rejected:
        return Rejected(Code.UNAVAILABLE, "not from here")


async def calls_without_edge(trial: Trial) -> None:
    await trial.machine.drain()
    await trial.machine.configure()
    await trial.machine.delete()


@pytest.mark.parametrize("cls", [Refuses, RefusesAtTheDoor])
def test_a_slot_that_refuses_calls_without_an_edge_is_not_left_behind(cls: type[Core]) -> None:
    plan = (proof(calls_without_edge, machines=1, start=State.SPECULATIVE),)
    report = run_on_virtual_clock(plan, provider(2, cls=cls), options=options_from(seed=0))
    assert (report.home.left, report.home.taken) == ((), ())
