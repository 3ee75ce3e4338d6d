"""`python -m selftest.pairs [N [SEED]]`: two defects in one provider must be named as two causes.

Each pair is a provider with the defects of two mutants that break different clauses. A mutant is named if a behaviour
that may find it is reported as a cause; the two mutants need two different causes. A pair counts only if both defects
show: the one may hide the other, for example if it fences every call.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import selftest.mutants  # noqa: F401  # registers them
from conformance.core.catalogue import clause_of
from conformance.results import fingerprint
from conformance.results.causes import causes
from fake_provider.core import Core
from fake_provider.servicer import Servicer
from selftest.judge import NEEDS_SOCKET, judge_mutant_in_virtual_time
from selftest.mutant import MUTANTS, Mutant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from conformance.results.result import Result

DEFAULT_LATENCY = "40ms"
MIN_NAMED = 0.95
"""The required share of the pairs that show both defects for which both are named; 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of the whole suite on one pair."""

    pair: tuple[str, str]
    shown: bool
    """True if both defects show: for each, a behaviour that must find it fails as with this mutant alone."""
    named: bool
    causes: tuple[str, ...]


def combined(one: Mutant, other: Mutant) -> Mutant | None:
    """Returns a provider with both defects; None if they replace the same method or need different fakes."""
    if one.clause == other.clause or any(m.alone or m.tcp or _needs_socket(m) for m in (one, other)):
        return None
    latencies = {one.latency, other.latency} - {DEFAULT_LATENCY}
    if len(latencies) > 1 or {*one.options} & {*other.options}:
        return None
    core, servicer = _joined(one.core, other.core, Core), _joined(one.servicer, other.servicer, Servicer)
    if core is None or servicer is None:
        return None
    return replace(
        one,
        name=f"{one.name}+{other.name}",
        found_by=(*one.found_by, *other.found_by),
        core=core,
        servicer=servicer,
        latency=next(iter(latencies), DEFAULT_LATENCY),
        machines=max(one.machines, other.machines),
        options={**one.options, **other.options},
    )


def _needs_socket(mutant: Mutant) -> bool:
    patterns = tuple(pattern.rstrip("*") for pattern in NEEDS_SOCKET)
    return any(name.startswith(patterns) for name in mutant.found_by)


def _joined(one: type[Any], other: type[Any], base: type[Any]) -> type[Any] | None:
    """Returns a class with the changes of both; None if both replace an attribute of the same name."""
    if one is base or other is base:
        return other if one is base else one
    if _changes(one, base) & _changes(other, base):
        return None
    return type(f"{one.__name__}And{other.__name__}", (one, other), {})


def _changes(cls: type[Any], base: type[Any]) -> set[str]:
    own = {"__module__", "__doc__", "__qualname__", "__firstlineno__", "__static_attributes__", "__parameters__"}
    return {name for each in cls.__mro__ if each not in base.__mro__ for name in vars(each)} - own


def draw(count: int, seed: int) -> Iterator[tuple[Mutant, Mutant]]:
    """Yields `count` different pairs that can be combined: the same for the same seed."""
    rng, mutants, drawn = random.Random(seed), sorted(MUTANTS.values(), key=lambda m: m.name), set[str]()
    while len(drawn) < count:
        one, other = rng.sample(mutants, 2)
        provider = combined(one, other)
        if provider is not None and provider.name not in drawn:
            drawn.add(provider.name)
            yield one, other


def judge_pair(one: Mutant, other: Mutant, *, select: Sequence[str] = (), seed: int = 0) -> Outcome:
    """Returns the outcome of the suite, or of the selected behaviours, on a pair that can be combined."""
    provider = combined(one, other)
    assert provider is not None
    results = _results(provider, select, seed)
    alone = {mutant.name: _results(mutant, mutant.found_by, seed) for mutant in (one, other)}
    return outcome(one, other, results, alone=alone)


def _results(provider: Mutant, select: Sequence[str], seed: int) -> Sequence[Result]:
    return judge_mutant_in_virtual_time(provider, select=select, skip=NEEDS_SOCKET, seed=seed).results


def outcome(one: Mutant, other: Mutant, results: Sequence[Result], *, alone: Mapping[str, Sequence[Result]]) -> Outcome:
    """Returns whether both mutants are named by different causes; `alone` are the results of each by its name."""
    roots = [cause.root.id for cause in causes(results)]
    first, second = ({root for root in roots if may_name(root, mutant)} for mutant in (one, other))
    return Outcome(
        pair=(one.name, other.name),
        shown=all(shows(results, alone[mutant.name], mutant) for mutant in (one, other)),
        named=bool(first and second) and len(first | second) > 1,
        causes=tuple(roots),
    )


def may_name(root: str, mutant: Mutant) -> bool:
    """Returns whether a behaviour names a mutant where it is reported as a cause."""
    return clause_of(root) == mutant.clause or root in (*mutant.found_by, *mutant.also)


def shows(results: Sequence[Result], alone: Sequence[Result], mutant: Mutant) -> bool:
    """Returns whether a behaviour that must find the mutant fails in the same way as with the mutant alone.

    The other defect may hide it: a call that is refused for another reason shows nothing about the metadata that it
    would have stored.
    """
    finders = set(mutant.found_by)
    ways = {_way(result) for result in alone if result.wanted and result.id in finders}
    return any(result.wanted and result.id in finders and _way(result) in ways for result in results)


def _way(result: Result) -> tuple[str, ...]:
    return result.id, *fingerprint.normalized(result)


def main(arguments: list[str]) -> int:
    """Judges pairs with the whole suite, prints those that are not named, and returns 1 if they are too many."""
    count, seed = map(int, [*arguments, *("200", "1")[len(arguments) :]])
    with multiprocessing.get_context("spawn").Pool(maxtasksperchild=8) as pool:
        outcomes = pool.starmap(judge_pair, draw(count, seed), chunksize=1)
    shown = [each for each in outcomes if each.shown]
    for each in shown:
        if not each.named:
            print(f"{' and '.join(each.pair)}: causes {', '.join(each.causes)}")
    share = sum(each.named for each in shown) / max(1, len(shown))
    print(f"{count} pairs with seed {seed}: {len(shown)} show both defects; both are named in {share:.1%} of these")
    return 0 if share >= MIN_NAMED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
