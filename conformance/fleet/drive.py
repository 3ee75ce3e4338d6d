"""Drives a machine to a stable state, one edge at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from conformance.core.errors import Disturbed, Unprepared
from conformance.core.fencing import Token
from conformance.core.lifecycle import EDGES, State, Verb, next_verb, state_of
from conformance.fleet.unanswered import TOKEN_REFUSED
from conformance.rpc.backoff import retry_while_overloaded

if TYPE_CHECKING:
    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.core.fencing import Shard, TokenSource
    from conformance.fleet.context import SettleResult
    from conformance.fleet.machine_record import MachineRecord
    from conformance.fleet.model import FleetModel
    from conformance.fleet.policy import Policy
    from conformance.rpc.call import Call

MAX_STEPS: Final = 8
"""Maximum number of edges that are taken."""
MAX_GIVEN_UP: Final = 2
"""Maximum number of Configures that the provider may give up on the way (FLT-1): no machine is lost by that."""


class Drivable(Protocol):
    """A machine, as a drive needs it."""

    @property
    def id(self) -> str:
        """The machine's id."""

    @property
    def edge_shard(self) -> Shard:
        """The shard that takes the edges."""

    @property
    def policy(self) -> Policy:
        """The policy of the machine's calls."""

    @property
    def model(self) -> FleetModel:
        """The model of the run's fleet."""

    @property
    def record(self) -> MachineRecord:
        """The known facts about the machine."""

    async def settle(self) -> SettleResult:
        """Reads until the machine is in a stable state."""

    async def read(self) -> pb.Machine:
        """Returns the machine as Get shows it."""

    async def call(self, verb: Verb, token: TokenSource | None = None) -> Call:
        """Sends the mutating call of `verb`."""

    async def assert_ownership(self) -> None:
        """Raises Disturbed if the machine lives and is another client's."""

    def disown(self) -> None:
        """Records that another client owns the machine."""

    def named_by_run(self, cluster: str) -> bool:
        """Returns whether the name of a cluster is one of this run."""

    def may_have_been_dropped(self, call: Call) -> bool:
        """Returns whether fault injection may have dropped the response."""


class Drive:
    """One drive of a machine to the state `to`. Judges nothing, but tells the model. Created and used once."""

    def __init__(self, machine: Drivable, to: State, *, allow_tokenless: bool) -> None:
        self._machine, self._to, self._allow_tokenless = machine, to, allow_tokenless
        self._given_up = 0

    async def run(self) -> pb.Machine:
        """Takes the shortest path. Raises Unprepared if the machine does not get there, Disturbed if it is not ours."""
        machine, to = self._machine, self._to
        for _ in range(MAX_STEPS):
            result = await machine.settle()
            await self._check_may_drive(result)
            if result.state is to and await self._has_reached():
                return result.machine
            if not result.state.stable:
                raise Unprepared(f"{machine.id} is still {result.state.name} after {result.seconds:.1f} s")
            verb = next_verb(result.state, to)
            if verb is None:
                raise Unprepared(
                    f"{machine.id} is {result.state.name}, and no transition leads from there to {to.name}"
                )
            await self._take_edge(verb)
        raise Unprepared(f"{machine.id} did not reach {to.name} after {MAX_STEPS} transitions")

    async def _check_may_drive(self, result: SettleResult) -> None:
        """Raises Disturbed if another client owns the machine."""
        machine = self._machine
        if result.state is State.IDLE and machine.record.unanswered and not machine.record.live:
            # There was no claim after the unanswered Create. A retry shows who owns the machine.
            await machine.assert_ownership()
            await machine.call(Verb.CREATE)
        if result.state is State.CONFIGURED and not (
            machine.record.live or machine.named_by_run(result.machine.cluster)
        ):
            machine.disown()
            raise Disturbed(f"another client has bound {machine.id}")

    async def _has_reached(self) -> bool:
        """Returns whether the machine has reached the state. One reading is enough, except for SPECULATIVE.

        A machine that was driven must show SPECULATIVE twice before the kit assumes that it no longer costs money: a
        provider whose reads flicker gives no reliable state.
        """
        machine = self._machine
        once = self._to is not State.SPECULATIVE or not machine.record.calls.touched
        return once or state_of((await machine.read()).state) is self._to

    async def _take_edge(self, verb: Verb) -> None:
        machine, source, given_up = self._machine, self._machine.record.seen.state, self._machine.record.calls.given_up
        call = await retry_while_overloaded(
            lambda: machine.call(verb, machine.edge_shard), insists=machine.policy.insists
        )
        if call.answered and call.code in TOKEN_REFUSED:  # the model of the fleet judges that
            call = await retry_while_overloaded(lambda: machine.call(verb), insists=machine.policy.insists)
        # The provider may never answer such a call, and each machine on which it is tried may cost money.
        hangs = not (call.answered or call.cut_off or machine.may_have_been_dropped(call))
        if not hangs and call.fenced and self._allow_tokenless:
            call = await machine.call(verb, Token("", 0, 0))
        if hangs or not call.ok:
            if machine.model.is_refusal(verb, call):
                again = await machine.call(verb)
                await machine.read()  # it may be FAILED by now, which explains the refusals
                machine.model.refused(verb, call, again)
            raise Unprepared(f"{verb.value} of {machine.id}, {source.name}, answered {call.outcome()}")
        result = await machine.settle()
        machine.model.waited(verb, call, result.machine, result.seconds)
        if result.state is EDGES[verb].target:
            return
        self._given_up += machine.record.calls.given_up > given_up
        if machine.record.calls.given_up == given_up or self._given_up > MAX_GIVEN_UP:
            why = result.machine.last_error or "no error"
            raise Unprepared(f"{machine.id} is {result.state.name} after {verb.value}: {why}")
