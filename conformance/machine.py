"""One machine that the kit may drive: every mutating call goes through here, and so through the ledger.

Taking is by the contract's own means. Two kits that find the same slot SPECULATIVE and Create it at once are
both answered OK with the same operation id, for a retry is keyed on the machine (OPS-2). So whoever starts a
life of a machine claims it: a Drain, which has no edge from there, with the token (1, 1) of a shard named after
the operation id. Of equal tokens only one passes (FEN-11); who is fenced has lost, and lets go.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc import StatusCode

from conformance import again, underway, unheard, way
from conformance.busy import while_busy
from conformance.claim import won
from conformance.errors import Disturbed, NoAnswer
from conformance.lifecycle import EDGES, State, Verb, state_of
from conformance.token import Shard, Token
from conformance.unheard import Unheard
from conformance.yard import Watch, mistaken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bigfleet.v1alpha1 import provider_pb2 as pb

    from conformance.again import Sender
    from conformance.call import Call
    from conformance.client import Client
    from conformance.errors import Violation
    from conformance.patience import Patience
    from conformance.yard import Yard

UNSURE = (
    *(StatusCode.UNAVAILABLE, StatusCode.UNKNOWN, StatusCode.INTERNAL),
    *(StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED),
)
"""What a lost connection looks like, and time that is up: whoever sent it, the call may have started something."""
FIRST_POLL = 0.005
POLL_SHARE = 0.047
"""The next look at a machine comes after this share of the wait so far: nobody waits 5 % longer than needed."""


class Machine:
    """A machine by its id, with the shard that drives it and what is known of it."""

    def __init__(
        self, machine_id: str, yard: Yard, *, number: int, home: State = State.SPECULATIVE, live: bool = False
    ) -> None:
        self.id = machine_id
        self.home = home
        self.state = home
        """As last seen."""
        self.shard = Shard(f"{yard.run}-m{number}")
        self.cluster = f"{yard.run}-m{number}-b0"
        """What this machine is bound to where a behaviour does not care; for as long as it is leased, the same."""
        self.touched = False
        """Whether a mutating call was ever sent."""
        self.unheard = Unheard()
        """Mutating calls that were not answered and may still arrive."""
        self.held = False
        """Whether some life of it was ours. Other kits, who lost it to us, look for other slots."""
        self.beaten = False
        """Whether somebody else claimed it first."""
        self.disowned = False
        """Whether it is somebody else's, and none of our business any more."""
        self.taken = False
        """Whether it is somebody else's, as far as one can tell, and may all the same live because we asked for it."""
        self.insists = False
        """Whether a provider that has no time now is asked again and again: on the way home."""
        self.blames = False
        """Whether a movement that could be somebody else's is held against the provider all the same."""
        self.exposed: set[Verb] = set()
        """The verbs whose next call has its answer lost, where the weather is so."""
        self.breach: Violation | None = None
        """What was wrong when a call was made again whose answer the weather had lost; the first counts."""
        self.sent = 0
        """How many mutating calls there were, each once."""
        self._number, self._bindings = number, 0
        self._yard = yard
        self._live = live or home is State.IDLE
        self._creating = 0
        self._asked = False
        """Whether a Create of ours was ever sent, however it was answered."""
        self._leaving = False
        """Whether a Delete was sent: another host is another life then, and not ours."""
        self.last_host = ""
        """The host that it had before it was last seen to be a slot."""
        self.others: set[str] = set()
        """What acks of ours have shown instead of this machine, and so may have started."""
        self._host = ""
        self._clusters = {"", self.cluster}
        """What it was ever bound to by us, or seen bound to by somebody else."""
        self._last: Verb | None = None
        """The last call of ours that was answered OK."""
        self._underway: tuple[Verb, float] | None = None
        self._claims: dict[str, asyncio.Task[bool]] = {}
        """By operation id, whether that life of the machine is ours."""
        self._looking: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()

    @property
    def live(self) -> bool:
        """Whether the machine has a host that is ours."""
        return self._live

    @property
    def costs(self) -> bool:
        """Whether it lives through us, or may: no answer says that it does not."""
        return self._live or self.unheard.create

    @property
    def patience(self) -> Patience:
        """How long its transitions may take."""
        return self._yard.patience

    def anew(self, *, live: bool) -> Machine:
        """The same machine without its past, so that a long run needs no more room than a short one."""
        other = Machine(self.id, self._yard, number=self._number, home=self.home, live=live)
        other.shard, other.state, other.touched = self.shard, self.state, self.touched
        other.unheard, other.others, other._asked = self.unheard, self.others, self._asked
        return other

    def knows(self, cluster: str) -> bool:
        """Whether a cluster is one of this run's, by its name, whichever machine it was for."""
        return cluster.startswith(self._yard.run)

    def binds(self, seen: pb.Machine) -> bool:
        """Whether `seen` is bound as `bring` binds, so that nothing shows who had it before."""
        return seen.cluster == self.cluster and not seen.shard_metadata

    def rename_binding(self) -> None:
        """Where it is bound to nothing, bind it to another cluster next time: a new lease finds a machine as new."""
        if self.state in (State.SPECULATIVE, State.IDLE):
            self._bindings += 1
            self.cluster = f"{self._yard.run}-m{self._number}-b{self._bindings}"

    # The six RPCs. A token that is not given is the next one of the machine's own shard.

    async def create(
        self, token: Token | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Create, with a fresh token unless one is given."""
        via = client or self._yard.client
        return await self._mutate(Verb.CREATE, token, via, lambda t: via.create(self.id, t, timeout=timeout))

    async def configure(
        self,
        token: Token | None = None,
        *,
        cluster: str | None = None,
        metadata: Mapping[str, str] | None = None,
        blob: bytes = b"#!conformance",
        client: Client | None = None,
        timeout: float | None = None,
    ) -> Call:
        """Configure for `cluster`, the machine's own unless one is given."""
        via, name = client or self._yard.client, self.cluster if cluster is None else cluster
        self._clusters.add(name)
        return await self._mutate(
            Verb.CONFIGURE,
            token,
            via,
            lambda t: via.configure(self.id, t, cluster=name, metadata=metadata, blob=blob, timeout=timeout),
        )

    async def drain(
        self, token: Token | None = None, *, grace: int = 0, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Drain with `grace` seconds."""
        via = client or self._yard.client
        return await self._mutate(Verb.DRAIN, token, via, lambda t: via.drain(self.id, t, grace=grace, timeout=timeout))

    async def delete(
        self, token: Token | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """Delete."""
        via = client or self._yard.client
        return await self._mutate(Verb.DELETE, token, via, lambda t: via.delete(self.id, t, timeout=timeout))

    async def call(
        self, verb: Verb, token: Token | None = None, *, client: Client | None = None, timeout: float | None = None
    ) -> Call:
        """The mutating call of `verb`, with its defaults."""
        ask: Callable[..., Awaitable[Call]] = getattr(self, verb.value.lower())
        return await ask(token, client=client, timeout=timeout)

    async def get(self) -> Call:
        """Read the machine. One Get per machine at a time: who asks meanwhile waits.

        Raises Disturbed where what it shows is somebody else's doing.
        """
        async with self._reading:
            call = await self._yard.client.get(self.id)
        if call.ok and not mistaken(call.response, self.id):
            self._saw(call.response)
        return call

    async def read(self) -> pb.Machine:
        """The machine as Get shows it. Raises NoAnswer where Get does not answer OK."""
        call = await while_busy(self.get, insists=self.insists)
        if not call.ok:
            raise NoAnswer(f"Get of {self.id} answered {call.outcome()}")
        machine: pb.Machine = call.response
        if mistaken(machine, self.id):
            raise NoAnswer(f"Get of {self.id} showed another machine, {machine.id[:60]!r}")
        return machine

    async def settle(self, *, patience: float | None = None) -> Watch:
        """Look until the machine is in a stable state, or for `patience` seconds; never raises for what it sees."""
        clock = self._yard.client.now
        started, states = clock(), list[State]()
        limit = patience or self._yard.patience.of(self.state)
        while True:
            machine = await self.read()
            state = state_of(machine.state)
            if not states or states[-1] is not state:
                states.append(state)
            waited = clock() - started
            if state.stable or waited >= limit:
                return Watch(states=tuple(states), machine=machine, seconds=waited)
            await asyncio.sleep(min(max(FIRST_POLL, POLL_SHARE * waited), max(0.0, limit - waited)))

    async def bring(self, to: State, *, at_all_costs: bool = False) -> pb.Machine:
        """Drive the machine to a stable state by the shortest way, judging nothing.

        `at_all_costs`: where a broken fence refuses even our newest token, ask without one (FEN-14).
        Raises Unprepared where it does not get there, Disturbed where somebody else has it.
        """
        return await way.bring(self, to, at_all_costs=at_all_costs)

    def disown(self) -> None:
        """Somebody else has the machine: forget it, and let a sweep leave it alone."""
        self.taken |= self._asked
        self._live, self.disowned, self.held = False, True, False
        self._yard.meter.gone(self.id, self._yard.client.now())
        self._yard.ledger.lost(self.id)

    async def arrived(self) -> bool:
        """Whether the machine, where it lives, may live because of a call that was not heard out.

        What somebody else has bound is not asked: who asks drains.
        """
        shown = await self.read()
        if state_of(shown.state) is State.SPECULATIVE:
            return True
        free = not shown.cluster and state_of(shown.state) is not State.CONFIGURED
        return (free or self.knows(shown.cluster)) and await unheard.came_through(self)

    async def sift(self) -> None:
        """Raises Disturbed where the machine lives, and neither through us nor through what was not heard out."""
        if not self._live and not await self.arrived():
            self.disown()
            raise Disturbed(f"somebody else has {self.id}: none of our calls came through")

    async def fence_off(self) -> None:
        """Make sure that the calls that were not heard out can start nothing any more. What they did start is ours.

        Raises NoAnswer where the provider still does not answer, Disturbed where somebody else has the machine.
        """
        await self.sift()
        await self.read()  # who does not answer is not asked shard by shard
        await unheard.fence_off(self)
        self._live = state_of((await self.read()).state) is not State.SPECULATIVE
        self.unheard.clear()

    async def _mutate(self, verb: Verb, token: Token | None, via: Client, send: Sender) -> Call:
        own, token = token is None, token or self.shard.next()
        return await self._yard.client.see_through(self._carry_out(verb, token, via, send, own=own))

    async def _carry_out(self, verb: Verb, token: Token, via: Client, send: Sender, *, own: bool) -> Call:
        yard, sent = self._yard, False
        fresh = verb is Verb.CREATE and not self._live
        if fresh:
            yard.meter.reserve(self.id)
            if not self._creating:
                self._looking = underway.begin(self._look_again(token))
            self._creating += 1
        try:
            await yard.ledger.intend(self.id, verb, token, home=self.home, seen=self.state)
            self.touched = True
            if fresh and self._looking is not None:
                await underway.outcome(self._looking)
            elif self.home is State.SPECULATIVE and not (self._live or self._creating):
                await self.read()  # a slot that somebody has taken, maybe just now
            if self.disowned and self.state is not State.SPECULATIVE:
                # Whoever is blamed for what it shows: what is not ours is not to be driven.
                raise Disturbed(f"{self.id} is {self.state.name}, and not by us")
            self._leaving |= verb is Verb.DELETE and self._live and self.state is State.IDLE
            self.sent, sent = self.sent + 1, True
            self._asked |= fresh
            call, breach = await again.ask(self, verb, token, send, via=via, own=own, alone=via is yard.client)
            self.breach = self.breach or breach
        except BaseException:
            yard.meter.answered(verb, self.id, "", yard.client.now(), price=0.0)
            self._creating -= fresh
            if sent:
                self._not_heard(verb, token)
            raise
        operation = (call.operation_id or str(token)) if call.ok else ""  # what has no name has its token's
        new = yard.meter.answered(verb, self.id, operation, call.ended, price=call.price)
        if not call.answered or call.code in UNSURE or (call.put_off and not call.ok):
            self._not_heard(verb, token)
        if new and self._underway is None:
            self._underway = (verb, call.ended)
        self._last = verb if call.ok else self._last
        if call.ok and call.response.machine.id == self.id:
            self._leaving |= verb is Verb.DELETE and self._live  # an instant one is over before anybody has looked
            self._host = call.response.machine.host.ref or ("" if fresh else self._host)
        elif call.ok and call.response.machine.id:
            self.others.add(call.response.machine.id)
        try:
            if fresh and operation:
                await self._claim(operation)
                self.disowned = False
                if self.id not in yard.ledger.open:  # given up while this call was under way, and ours after all
                    await yard.ledger.intend(self.id, verb, token, home=self.home, seen=State.SPECULATIVE)
        finally:
            self._creating -= fresh
        return call

    def _not_heard(self, verb: Verb, token: Token) -> None:
        self.unheard.add(verb, token)
        if verb is Verb.CREATE:
            self._yard.meter.doubt(self.id)

    async def renew(self, verb: Verb) -> Token:
        """The token to ask with once more, written down as every other is."""
        token = self.shard.next()
        await self._yard.ledger.intend(self.id, verb, token, home=self.home, seen=self.state)
        return token

    async def _look_again(self, token: Token) -> None:
        """See whether the slot still is one, once the intent to Create is on disk: others may be faster than disks."""
        await self._yard.ledger.intend(self.id, Verb.CREATE, token, home=self.home, seen=self.state)
        if self.home is not State.SPECULATIVE or self.unheard.create:
            return
        if state_of((await self.read()).state) is not State.SPECULATIVE:
            self.disown()

    async def _claim(self, operation_id: str) -> None:
        """Make this life of the machine ours. Raises Disturbed where somebody else was first."""
        if operation_id not in self._claims:
            if self._live:
                return
            claim = won(self._yard.client, self.id, operation_id, shard=self.shard.id)
            self._claims[operation_id] = underway.begin(claim)
        self._live, self._leaving = True, False
        if not await underway.outcome(self._claims[operation_id]):
            self.beaten = True
            self.disown()
            raise Disturbed(f"somebody else created {self.id} at the same moment")
        self.held, self.taken, self.unheard.create = True, False, False

    def _saw(self, machine: pb.Machine) -> None:
        state, host = state_of(machine.state), machine.host.ref
        if self._taken_by_another(state, machine):
            self.disown()
            if not self.blames:
                raise Disturbed(f"{self.id} is {state.name}, and not by us")
        self.state = state
        if self._live and not (machine.cluster in self._clusters or self.knows(machine.cluster)):
            self._clusters.add(machine.cluster)
            if self.home is State.IDLE and self._last is not Verb.CONFIGURE:
                self.disown()  # no life of it was ever claimed; one that was is ours all the same, and goes home
            if not self.blames:
                raise Disturbed(f"somebody else has bound {self.id} to {machine.cluster!r}")
        if state.stable:
            if self._underway and EDGES[self._underway[0]].target is state:
                self._yard.meter.took(self._underway[0], self._yard.client.now() - self._underway[1])
            self._underway = None
            if state is not State.SPECULATIVE or not (self._creating or self.unheard):
                # A Create that is still to arrive is not done with because the slot is still one.
                self._yard.ledger.seen(self.id, state, host=host)
            if state is State.SPECULATIVE:
                self.last_host = self._host or self.last_host
                self._leaving = False
                if self._live and not self._creating:
                    self._live = False
                    self._yard.meter.gone(self.id, self._yard.client.now())
            self._host = host

    def _taken_by_another(self, state: State, machine: pb.Machine) -> bool:
        """Whether a slot that we hold no life of has come to life, or a life that we gave back is another one."""
        if self._creating or self.knows(machine.cluster):
            return False
        if not self._live:
            return not self.unheard.create and state not in (State.SPECULATIVE, State.UNSPECIFIED)
        gone = state is State.CREATING or bool(self._host and machine.host.ref not in ("", self._host))
        return self._leaving and gone
