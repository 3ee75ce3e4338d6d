"""Variants: odd but conformant providers, in which no behaviour may fail or warn, and none may be undecided.

Each does something that the contract leaves open, and that a real provider somewhere does. Where that is something
which it should not do, the warnings of just this are no news.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from bigfleet.v1alpha1 import provider_pb2 as pb

from conformance.patience import Patience
from conformance.result import Status
from conformance.run_options import Options
from fake_provider.core import Core
from fake_provider.errors import Code, Rejected
from fake_provider.faults import Faults
from fake_provider.fence import Scope
from fake_provider.fleet import fleet
from fake_provider.latency import Latency
from fake_provider.request import Listing
from fake_provider.servicer import Servicer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.report import Report
    from conformance.result import Result
    from fake_provider.fence import Token
    from fake_provider.machine import Machine, Operation, Verb
    from fake_provider.request import Ack, Configure, Filter, Request
    from fake_provider.store import MarkKey

T = TypeVar("T", bound=type)

CALM = Patience(20.0, 20.0, 20.0, 20.0)
"""A conformant provider settles; on a busy machine it may take its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One conformant oddity. `options` go to the core's constructor, `serving` to the server's."""

    name: str
    story: str
    core: type[Core] = Core
    servicer: type[Servicer] = Servicer
    latency: str = "30ms"
    machines: int = 24
    idle: int = 0
    use_idle: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    serving: dict[str, Any] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    """What a MAY leaves open and this one has not: the behaviours that say so, and judge nothing."""
    warns: tuple[str, ...] = ()
    """Who may warn of it, and need not each time: it does what a SHOULD says that it should not."""
    faulty: int = 0
    """So many slots more are labelled so that their Create fails, as the contract says how (§9)."""

    def provider(self) -> Core:
        """A new provider of this kind."""
        machines = fleet(self.machines, idle=self.idle, faulty=self.faulty)
        return self.core(machines, latency=Latency.parse(self.latency), **self.options)

    def wrong(self, report: Report) -> list[Result]:
        """What was found that nobody may find: all but what a SHOULD warns this one of."""
        found = report.with_status(Status.FAILED, Status.WARNED, Status.ERROR)
        return [r for r in found if r.status is not Status.WARNED or r.id not in self.warns]

    def run_options(self, seed: int) -> Options:
        """How the kit is run against it."""
        return Options(patience=CALM, rpc_timeout=20.0, seed=seed, use_idle=self.use_idle, luck=random.Random(seed))


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant(name="Reference", story="The bundled fake as it is."),
        Variant(
            name="MarkPerMachine", story="Keeps one mark per shard and machine.", options={"scope": Scope.SHARD_MACHINE}
        ),
        Variant(name="NoDelete", story="Cannot give a host back.", machines=64, options={"deletes": False}),
        Variant(name="NoRevisions", story="Gives no revisions.", options={"revisions": False}),
        Variant(
            name="BareMetal",
            story="A pool of machines that are always there: all IDLE, no Delete.",
            machines=8,
            idle=8,
            use_idle=True,
            options={"deletes": False},
        ),
        Variant(name="Instant", story="Every transition is over before its ack.", latency="0"),
        Variant(name="Slow", story="Transitions take a third of a second.", latency="300ms"),
        Variant(name="Uneven", story="No two transitions take the same time.", latency="0..150ms"),
        Variant(
            name="AtTargetIsRetry",
            story="Drain of an IDLE machine and Delete of a SPECULATIVE one are answered as retries.",
            options={"drain_of_idle": "retry", "delete_of_speculative": "retry"},
        ),
        Variant(name="SlowRpcs", story="Every RPC takes 50 ms.", serving={"rpc_delay": 0.05}),
        Variant(name="HalfIdle", story="Half of the fleet is IDLE when the kit comes.", idle=12),
        Variant(name="FourMachines", story="Has four machines and no more.", machines=4),
        Variant(name="NoHealth", story="Serves no health service.", serving={"health": False}),
        Variant(name="NoReflection", story="Serves no reflection.", serving={"reflection": False}),
        Variant(
            name="FaultySlots",
            story="Some slots are there to fail, and say so by their label.",
            faulty=6,
            options={"faults": Faults()},
        ),
    )
}


def variant(**options: Any) -> Callable[[T], T]:
    """Register a subclass of Core or Servicer as a conformant variant."""

    def register(cls: T) -> T:
        seat: dict[str, Any] = {"core": cls} if issubclass(cls, Core) else {"servicer": cls}
        story = inspect.cleandoc(cls.__doc__ or "")
        VARIANTS[cls.__name__] = Variant(name=cls.__name__, story=story, **seat, **options)
        return cls

    return register


@variant()
class OpaqueCursors(Core):
    """Gives cursors that are random bytes, and remembers what they meant."""

    def encode_cursor(self, number: int) -> bytes:
        given: dict[bytes, int] = self.__dict__.setdefault("given", {})
        cursor = self.rng.randbytes(self.rng.randint(8, 40))
        given[cursor] = number
        return cursor

    def decode_cursor(self, cursor: bytes) -> int | None:
        given: dict[bytes, int] = self.__dict__.setdefault("given", {})
        return given.get(cursor)


@variant()
class RestlessRevision(Core):
    """Gives another revision on every List, whether or not something changed."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.inventory.revision += 1
        return super().list_machines(wanted, now)


@variant()
class RandomOrder(Core):
    """Lists machines in another order each time."""

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        listing = super().list_machines(wanted, now)
        shuffled = list(listing.machines)
        self.rng.shuffle(shuffled)
        return Listing(machines=shuffled, revision=listing.revision)


@variant()
class WildOperationIds(Core):
    """Gives operation ids of any form: long, short, with spaces, in any script."""

    def new_operation_id(self, verb: Verb, machine: Machine) -> str:
        serial = super().new_operation_id(verb, machine)
        return self.rng.choice(["", "操作/", "\u0000 ", "é" * 700, "…🦊 "]) + serial


@variant()
class AnyCode(Core):
    """Refuses a call that has no edge with whatever code comes to mind, FAILED_PRECONDITION excepted."""

    def no_edge(self, verb: Verb, machine: Machine) -> Rejected:
        codes = [code for code in Code if code is not Code.FAILED_PRECONDITION]
        return Rejected(self.rng.choice(codes), "not from here")


@variant(lacks=("FEN-14a",))
class TokenDemanded(Core):
    """Refuses calls without a token."""

    def unfenced(self, token: Token) -> bool:
        if token.absent:
            raise Rejected(Code.INVALID_ARGUMENT, "a token is needed")
        return False


@variant()
class UnicodeIds(Core):
    """Calls its machines by names with spaces, slashes and letters of many scripts."""

    def __init__(self, machines: Sequence[Machine], **options: Any) -> None:
        super().__init__([replace(m, id=f"zürich/ラック 7/{m.id}~é") for m in machines], **options)


@variant()
class RestlessFleet(Core):
    """Labels, prices and machines that nobody drives change by themselves, all the time."""

    def advance(self, now: float) -> None:
        super().advance(now)
        rng = self.__dict__.setdefault("weather", random.Random(7))
        machine = rng.choice(list(self.machines.values()))
        self.put(replace(machine, price_per_hour=rng.random(), labels={"weather": str(rng.random())}))
        self.commit()


@variant()
class SmallMetadata(Core):
    """Takes no more metadata than it has to: 64 keys and 16 KiB."""

    def validate_metadata(self, request: Configure) -> None:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in request.metadata.items())
        if len(request.metadata) > 64 or size > 16 * 1024:
            raise Rejected(Code.INVALID_ARGUMENT, "too much metadata")


@variant()
class SmallBlobs(Core):
    """Takes blobs of up to 16 KiB, and says RESOURCE_EXHAUSTED above."""

    def validate_blob(self, request: Configure) -> None:
        if len(request.blob) > 16 * 1024:
            raise Rejected(Code.RESOURCE_EXHAUSTED, "the blob is too large")


@variant()
class NewerThanTheKit(Servicer):
    """Answers with fields that the kit has never heard of."""

    def build(self, machine: Machine) -> pb.Machine:
        built = super().build(machine)
        built.MergeFromString(b"\xfa\x7f\x05later")  # field 2047, a string
        return built


@variant()
class NegativeCapIsNone(Core):
    """Takes a negative cap for no cap."""

    def validate_filter(self, wanted: Filter) -> None:
        pass

    def cap(self, machines: Sequence[Machine], limit: int) -> Sequence[Machine]:
        return super().cap(machines, max(limit, 0))


@variant()
class ValidatesAtTheDoor(Core):
    """Looks at what is asked before it looks at the token: what makes no sense is no call."""

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        self.validate(verb, request)
        return super().serve(verb, request, now)


@variant(warns=("LST-9a", "LST-10a", "LST-10b"))
class ListLags(Core):
    """Answers each List from another replica, of which the slowest is half a second behind."""

    at = 0.0

    def advance(self, now: float) -> None:
        self.at = now
        super().advance(now)

    def commit(self) -> None:
        super().commit()
        past: list[tuple[float, int, list[Machine]]] = self.__dict__.setdefault("past", [])
        if not past or past[-1][1] != self.inventory.revision:
            past.append((self.at, self.inventory.revision, list(self.machines.values())))

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.advance(now)
        self.validate_filter(wanted)
        then = now - self.rng.choice([0.0, 0.1, 0.5])
        past: list[tuple[float, int, list[Machine]]] = self.__dict__["past"]
        _, revision, machines = next((each for each in reversed(past) if each[0] <= then), past[0])
        since = self.since(wanted.since)
        found = [each for each in machines if self.changed(each, since) and self.matches(each, wanted)]
        kept = self.cap(found, wanted.max_results)
        last = kept[-1].revision if len(kept) < len(found) else max(since, revision)
        return Listing(machines=kept, revision=self.encode_cursor(last))


@variant()
class WholeDeltas(RestlessFleet):
    """Has a price that has moved at each look, and tells the whole fleet to whoever asks what has changed."""

    whole = False

    def list_machines(self, wanted: Filter, now: float) -> Listing:
        self.whole = not wanted.max_results  # a page tells what it must, as nobody would come to an end otherwise
        return super().list_machines(wanted, now)

    def oldest_first(self, since: int) -> Sequence[Machine]:
        return super().oldest_first(0 if self.whole else since)

    def changed(self, machine: Machine, since: int) -> bool:
        return since < (self.inventory.revision if self.whole else machine.revision)


@variant()
class TellsTheTime(Servicer):
    """Answers with a field of tomorrow, in which the machine was heard of last, and now and then with an empty host."""

    def machine(self, machine: Machine) -> pb.Machine:
        built = pb.Machine()
        built.CopyFrom(super().machine(machine))
        heard = b"\xf9\x7f" + self.core.rng.randbytes(8)  # field 2047, of eight bytes
        built.MergeFromString(heard)
        if machine.host:
            built.host.MergeFromString(heard)
        elif self.core.rng.random() < 0.5:
            built.host.SetInParent()
        return built


@variant(latency="200ms")
class AckWaits(Servicer):
    """Answers a call when its transition is over, which takes no second."""

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        ack = await super().answer(context, work)
        if not isinstance(ack, pb.TransitionAck):
            return ack
        while (machine := self.core.machines[ack.machine.id]).moving:
            if machine.operation is None or machine.operation.id != ack.operation_id:
                return ack
            await asyncio.sleep(0.01)
        return pb.TransitionAck(operation_id=ack.operation_id, machine=self.machine(machine))


@variant()
class ShedsLoad(Servicer):
    """Has no time for every 40th call, whichever it is, and says so before it looks at it."""

    every = 40
    asked = 0

    async def answer(self, context: Any, work: Callable[[], Any]) -> Any:
        self.asked += 1
        return await super().answer(context, work if self.asked % self.every else self.turn_away)

    def turn_away(self) -> None:
        raise Rejected(Code.RESOURCE_EXHAUSTED if self.asked % (2 * self.every) else Code.UNAVAILABLE, "not now")


@variant()
class ShedsLoadLate(Core):
    """Is out of time at every 250th call that would change something, and its fence has let that pass by then."""

    asked = 0

    def raise_mark(self, verb: Verb, key: MarkKey, token: Token) -> None:
        super().raise_mark(verb, key, token)
        self.asked += 1
        if self.asked % 250 == 0:
            raise Rejected(Code.UNAVAILABLE, "not now")


@variant(machines=8, idle=8, use_idle=True, options={"deletes": False})
class IdleAnyCode(AnyCode):
    """Refuses to Create what was there from the start, each time with another code."""


@variant(latency="0")
class AnswersFromMemory(Core):
    """Is quick, answers a retry word for word as the first time, and so also a Configure for another cluster."""

    def same_target(self, operation: Operation, request: Request) -> bool:
        return True

    def serve(self, verb: Verb, request: Request, now: float) -> Ack:
        given: dict[str, Ack] = self.__dict__.setdefault("given", {})
        ack = super().serve(verb, request, now)
        return given.setdefault(ack.operation_id, ack)
