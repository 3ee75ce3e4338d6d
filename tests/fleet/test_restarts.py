"""Restarts of a provider: one thing at a time, told to the client and the model, and done to the end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.core.errors import TargetError
from conformance.fleet.model.restarts import Ending
from conformance.fleet.restarts import Restarts
from conformance.rpc.outages import Outages


class Recorder:
    """A provider, a client and a model that record what is done to them, in order."""

    def __init__(self, *, starts: bool = True) -> None:
        self.done: list[str] = []
        self.running = True
        self.outages = Outages()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self._starts, self._now = starts, 0.0

    def now(self) -> float:
        self._now += 1.0
        return self._now

    async def start(self, *, wait: bool = True) -> None:
        if not self._starts:
            raise TargetError("it does not start")
        self.running = True
        self.done.append("start" if wait else "begin")

    async def kill(self) -> None:
        await self.may_end.wait()
        self.running = False
        self.done.append("kill")

    async def stop(self) -> float:
        self.running = False
        self.done.append("stop")
        return 1.5

    async def reconnect(self) -> None:
        self.done.append("reconnect")

    def restarted(self, at: float, ending: Ending) -> None:
        self.done.append("restarted" if ending is Ending.KILL else f"restarted after an {ending}")

    can_upgrade = True

    def upgrade(self) -> None:
        self.done.append("upgrade")

    def recovered(self) -> None:
        self.done.append("recovered")


def restarts_of(recorder: Any) -> Restarts:
    return Restarts(recorder, recorder, recorder)


def test_a_kill_and_a_start_are_told_to_all() -> None:
    recorder = Recorder()

    async def go() -> None:
        restarts = restarts_of(recorder)
        outages = []
        await restarts.kill()
        outages.append(recorder.outages.under_way)
        await restarts.start(recovered=False)  # it may not have its state back
        outages.append(recorder.outages.under_way)
        restarts.recovered()
        outages.append(recorder.outages.under_way)
        assert outages == [True, True, False]
        assert await restarts.stop() == 1.5
        await restarts.start()
        assert restarts.count == 2

    asyncio.run(go())
    first = ["kill", "restarted", "start", "reconnect", "recovered"]
    assert recorder.done == [*first, "stop", "restarted after an orderly stop", "start", "reconnect", "recovered"]


def test_a_kill_goes_on_if_its_caller_is_cancelled_and_the_next_start_waits_for_it() -> None:
    recorder = Recorder()

    async def go() -> None:
        restarts = restarts_of(recorder)
        recorder.may_end.clear()
        task = asyncio.ensure_future(restarts.kill())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        start = asyncio.ensure_future(restarts.start())
        await asyncio.sleep(0)
        recorder.may_end.set()
        await start

    asyncio.run(go())
    assert recorder.done[:3] == ["kill", "restarted", "start"]


def test_an_upgrade_is_a_stop_after_which_the_newer_version_starts() -> None:
    recorder = Recorder()

    async def go() -> float:
        restarts = restarts_of(recorder)
        assert restarts.can_upgrade
        seconds = await restarts.stop_for_upgrade()
        await restarts.start()
        return seconds

    assert asyncio.run(go()) == 1.5
    told = "restarted after an orderly stop of the older version"
    assert recorder.done == ["stop", told, "upgrade", "start", "reconnect", "recovered"]


@pytest.mark.parametrize("starts", [True, False])
def test_a_provider_that_was_left_down_is_started(starts: bool) -> None:
    recorder = Recorder(starts=starts)

    async def go() -> bool:
        restarts = restarts_of(recorder)
        await restarts.kill()
        return await restarts.ensure_serving()

    assert asyncio.run(go()) is starts


def test_a_provider_that_serves_is_left_alone() -> None:
    recorder = Recorder()
    assert asyncio.run(restarts_of(recorder).ensure_serving())
    assert recorder.done == ["recovered"]


def test_an_inventory_that_changes_without_a_restart_is_elastic() -> None:
    restarts = restarts_of(SimpleNamespace())
    restarts.note_inventory(frozenset({"m1"}), restarted=False)
    restarts.note_inventory(frozenset({"m1", "m2"}), restarted=True)
    assert not restarts.elastic
    restarts.note_inventory(frozenset({"m1"}), restarted=False)
    assert restarts.elastic
