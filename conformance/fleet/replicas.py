"""Several replicas of one fleet behind one address: one provider, whose members the kit may also restart alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from conformance.core.errors import StillRunning, TargetError
from conformance.fleet.balancer import Balancer, Readiness
from conformance.fleet.serving import ServingCheck
from conformance.rpc.proxy import dial

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from conformance.fleet.provider import Provider
    from conformance.rpc.target import Target

LOOK_EVERY_S: Final = 0.05
STANDBY_S: Final = 2.0
"""The time after which a started replica that only accepts connections counts as a stand-by."""
NOTICE_S: Final = 5.0
"""The time that a balancer of the user gets to notice that a replica has started."""


class Replicas:
    """Replicas on the same state, behind a balancer at the target's address: the kit's, or the user's own."""

    def __init__(
        self, members: Sequence[Provider], target: Target, *, start_timeout: float, balanced: bool = False
    ) -> None:
        """`balanced`: a balancer of the user is in front of them."""
        self.members = tuple(members)
        self._target, self._start_timeout = target, start_timeout
        self._checks = [ServingCheck(self.target_of(number)) for number in range(len(self.members))]
        self._readiness = Readiness(len(self.members), ready=self._is_ready)
        addresses = [each.address for each in self.members]
        self._balancer = None if balanced else Balancer(target.address, addresses, self._readiness)

    def target_of(self, number: int) -> Target:
        """Returns the target that reaches one replica, without the balancer."""
        return self._target.behind(self.members[number].address)

    @property
    def address(self) -> str:
        """The address of the balancer."""
        return self._target.address

    @property
    def serving(self) -> int:
        """The number of the replica that got the newest connection, or, behind a balancer of the user, one that serves.

        -1 if no replica does.
        """
        if self._balancer is not None:
            return self._balancer.newest
        return next((number for number, ready in enumerate(self._readiness.ready) if ready), -1)

    async def look(self, number: int) -> bool:
        """Looks whether a replica serves."""
        return await self._readiness.look(number)

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
        self._readiness.open()
        if self._balancer is not None:
            try:
                await self._balancer.open()
            except OSError as error:
                raise TargetError(f"the balancer cannot listen on {self.address}: {error.strerror}") from None
        for each in self.members:
            await each.start(wait=False)
        if not wait:
            return
        await self._until(self._any_serves, "no replica serves")
        if self._balancer is None:
            await self._until(ServingCheck(self._target).serves, f"the balancer at {self.address} does not serve")

    async def start_member(self, number: int) -> None:
        """Starts one replica, and returns when it serves, or waits as a stand-by. Raises TargetError."""
        await self.members[number].start(wait=False)
        began = asyncio.get_running_loop().time()
        accepts = False

        async def look() -> bool:
            nonlocal accepts
            accepts = accepts or await self._accepts(number)
            late = asyncio.get_running_loop().time() - began > STANDBY_S
            others = any(ready for other, ready in enumerate(self._readiness.ready) if other != number)
            return await self.look(number) or (late and accepts and others)

        try:
            async with asyncio.timeout(self._start_timeout):
                while not await look():
                    if death := self.members[number].death:
                        raise TargetError(death)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise TargetError(f"replica {number + 1} does not serve within {self._start_timeout:g} s") from None
        if self._balancer is None:
            await asyncio.sleep(NOTICE_S)

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
        """Ends all replicas and the kit's balancer for good."""
        if self._balancer is not None:
            await self._balancer.close()
        await self._readiness.close()
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

    async def _any_serves(self) -> bool:
        return any(self._readiness.ready)

    async def _until(self, holds: Callable[[], Awaitable[bool]], problem: str) -> None:
        try:
            async with asyncio.timeout(self._start_timeout):
                while not await holds():
                    if all(each.death for each in self.members):
                        raise TargetError(self.death)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            raise TargetError(
                f"{problem} within {self._start_timeout:g} s", hint="--start-timeout sets a longer limit"
            ) from None
