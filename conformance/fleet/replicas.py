"""Several replicas of one fleet behind one address: one provider, whose members the kit may also restart alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import StillRunning, TargetError
from conformance.fleet.balancer import Balancer
from conformance.fleet.serving import ServingCheck
from conformance.rpc.proxy import dial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.fleet.provider import Provider
    from conformance.rpc.target import Target

LOOK_EVERY_S: Final = 0.05
STANDBY_S: Final = 2.0
"""The time after which a started replica that only accepts connections counts as a stand-by."""


class Replicas:
    """Replicas on the same state, behind a balancer of the kit at the target's address."""

    def __init__(self, members: Sequence[Provider], target: Target, *, start_timeout: float) -> None:
        self.members = tuple(members)
        self._target, self._start_timeout = target, start_timeout
        self._checks = [ServingCheck(self.target_of(number)) for number in range(len(self.members))]
        self.balancer = Balancer(target.address, [each.address for each in self.members], ready=self._is_ready)

    def target_of(self, number: int) -> Target:
        """Returns the target that reaches one replica, without the balancer."""
        return self._target.behind(self.members[number].address)

    @property
    def address(self) -> str:
        """The address of the balancer."""
        return self._target.address

    @property
    def running(self) -> bool:
        """True while all replicas run."""
        return all(each.running for each in self.members)

    @property
    def death(self) -> str:
        """The way in which the first of them ended by itself, with its last output; empty otherwise."""
        return next((each.death for each in self.members if each.death), "")

    @property
    def can_upgrade(self) -> bool:
        """True if the replicas have a newer version, and the next start would still be one of the older one."""
        return all(each.can_upgrade for each in self.members)

    def upgrade(self) -> None:
        """Makes every later start of a replica one of the newer version."""
        for each in self.members:
            each.upgrade()

    async def start(self, *, wait: bool = True) -> None:
        """Starts the replicas that do not run. With `wait` returns when one of them serves. Raises TargetError."""
        try:
            await self.balancer.open()
        except OSError as error:
            raise TargetError(f"the balancer cannot listen on {self.address}: {error.strerror}") from None
        for each in self.members:
            await each.start(wait=False)
        if wait:
            await self._until(lambda: any(self.balancer.ready), "no replica serves")

    async def start_member(self, number: int) -> None:
        """Starts one replica, and returns when it serves, or waits as a stand-by. Raises TargetError."""
        await self.members[number].start(wait=False)
        began = asyncio.get_running_loop().time()
        accepts = False

        async def look() -> bool:
            nonlocal accepts
            accepts = accepts or await self._accepts(number)
            late = asyncio.get_running_loop().time() - began > STANDBY_S
            others = any(ready for other, ready in enumerate(self.balancer.ready) if other != number)
            return await self.balancer.look(number) or (late and accepts and others)

        try:
            async with asyncio.timeout(self._start_timeout):
                while not await look():
                    if death := self.members[number].death:
                        raise TargetError(death)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise TargetError(f"replica {number + 1} does not serve within {self._start_timeout:g} s") from None

    async def kill(self) -> None:
        """Ends all replicas at once."""
        await asyncio.gather(*(each.kill() for each in self.members))

    async def stop(self) -> float:
        """Asks all replicas to stop; returns the seconds of the slowest. Raises StillRunning, and TargetError."""
        took = await asyncio.gather(*(each.stop() for each in self.members), return_exceptions=True)
        errors = [each for each in took if isinstance(each, BaseException)]
        for error in sorted(errors, key=lambda error: isinstance(error, StillRunning)):
            raise error
        return max(each for each in took if isinstance(each, float))

    async def close(self) -> None:
        """Ends all replicas and the balancer for good."""
        await self.balancer.close()
        await asyncio.gather(*(each.close() for each in self.members))

    async def _is_ready(self, number: int) -> bool:
        return self.members[number].running and await self._checks[number].serves()

    async def _accepts(self, number: int) -> bool:
        try:
            _, writer = await dial(self.members[number].address)
        except OSError:
            return False
        writer.close()
        return True

    async def _until(self, holds: Callable[[], bool], problem: str) -> None:
        try:
            async with asyncio.timeout(self._start_timeout):
                while not holds():
                    if all(each.death for each in self.members):
                        raise TargetError(self.death)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise TargetError(
                f"{problem} within {self._start_timeout:g} s", hint="--start-timeout sets a longer limit"
            ) from None
