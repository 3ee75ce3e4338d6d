"""Checks before a run whether a plan fits the target: what does not apply, and how many machines there must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.core.errors import TargetError
from conformance.core.lifecycle import State
from conformance.core.text import quantity
from conformance.testkit.behaviour import with_own_machines

if TYPE_CHECKING:
    from collections.abc import Collection

    from conformance.fleet.needs import Needs
    from conformance.results.target_info import TargetInfo
    from conformance.testkit.behaviour import Behaviour, Plan

SKIP_REASONS: Final = {
    "delete": "the provider has no Delete, which is optional (LIF-8)",
    "revisions": "the provider gives no revisions, which are optional (LST-5)",
    "create": "no machine is SPECULATIVE, so Create cannot be called",
    "reflection": "the provider serves no reflection, which is optional (WIR-4)",
    "tls": "the target is not reached over TLS",
    "client-certificate": "no --tls-cert given: client authentication was not checked",
    "restarts": "not observed: the kit cannot stop and start the provider; give --provider-cmd, --replica-cmd, or "
    "--start-cmd with --stop-cmd and --kill-cmd",
    "next-version": "not observed: there is no newer version to start; give --next-cmd",
    "replicas": "not observed: the provider has one replica only; give --replica-cmd",
    "backend": "not observed: the backend cannot be asked for its hosts; give --hosts-cmd",
}
MEANS: Final = ("restarts", "next-version", "replicas", "backend")
"""The capabilities that a run has by its options, and not by its target."""


def means(
    *, restarts: bool = False, next_version: bool = False, replicas: bool = False, backend: bool = False
) -> tuple[str, ...]:
    """Returns those of MEANS that a run has.

    It may restart the provider, start a newer version of it, restart its replicas alone, ask its backend.
    """
    given = {"restarts": restarts, "next-version": next_version, "replicas": replicas, "backend": backend}
    return tuple(name for name in MEANS if given[name])


def missing_capability(behaviour: Behaviour, found: TargetInfo, means: Collection[str] = ()) -> str | None:
    """Returns the first needed capability, a key of SKIP_REASONS, that the target legally lacks; None if it has all.

    `means` are those of MEANS that the run has.
    """
    needs = ["restarts"] if behaviour.needs.restarts else []
    needs += ["next-version"] if behaviour.needs.upgrades else []
    needs += behaviour.entry.needs
    if State.SPECULATIVE in behaviour.needs.starts:
        needs.append("create")
    return next((need for need in needs if not (need in means if need in MEANS else found.has(need))), None)


def check_size(
    plan: Plan,
    found: TargetInfo,
    *,
    slots: int,
    use_idle: bool,
    max_machines: int | None,
    means: Collection[str] = (),
) -> None:
    """Raises TargetError if a behaviour needs more machines than there are, before anything is touched."""
    usable = min(slots, max_machines or slots)
    short = [b for b in plan if b.needs.machines > usable and missing_capability(b, found, means) is None]
    if not short:
        return
    most = max(b.needs.machines for b in short)
    have = f"{len(found.speculative)} SPECULATIVE" + (f" and {len(found.idle)} free IDLE" if use_idle else "")
    have += "".join(f", {number} {why}" for why, number in found.unusable.items())
    limit = f", --max-machines {max_machines}" if max_machines else ""
    raise TargetError(
        f"too few machines: up to {most} needed by {quantity(len(short), 'behaviour')},"
        f" found {have}{limit}; nothing was touched",
        hint=_fix(plan, short, found, most, use_idle=use_idle),
    )


def _fix(plan: Plan, short: list[Behaviour], found: TargetInfo, most: int, *, use_idle: bool) -> str:
    """Returns what the user can do about too few machines."""
    fixes = []
    if found.idle and not use_idle:
        fixes.append(f"--use-idle lets the kit drive the {len(found.idle)} IDLE ones")
    if len(short) < len(plan):
        fixes.append(f"--exclude {','.join(b.id for b in short)} runs the others")
    return " · ".join(fixes) or f"give the provider at least {most} SPECULATIVE machines"


def check_slots(plan: Plan, found: TargetInfo, *, slots: int) -> str | None:
    """Returns a warning if a provider without Delete has too few slots to judge every Create; None otherwise."""
    if found.delete or not found.speculative:
        return None
    creators = [b for b in with_own_machines(plan) if b.needs.creates and missing_capability(b, found) is None]
    spent = sum(b.needs.machines for b in creators)
    if spent + max((b.needs.machines for b in plan), default=0) <= slots:
        return None
    return (
        f"the provider cannot Delete, so each slot can be created only once: {len(creators)} behaviours need {spent} of"
        f" {slots} SPECULATIVE machines, and behaviours without a slot will not be judged"
    )


def start_order(needs: Needs) -> tuple[bool, bool, bool, int, int]:
    """Returns the key by which behaviours start, smallest first.

    First the behaviours that create a machine, which others can use afterwards; then those that create a machine a
    second time, before other behaviours use the machines; then those without transitions, which soon release theirs;
    then the heaviest. The weight is multiplied by the machines: later, several are hardly ever free at the same time.
    """
    creator = needs.creates and State.SPECULATIVE in needs.starts
    return not creator, not needs.creates, needs.transitions > 0, -needs.weight * needs.machines, -needs.machines


def pool_size(plan: Plan, *, slots: int, jobs: int | None, max_machines: int | None) -> int:
    """Returns how many machines are alive at once: the fewest with which the wall time is near the longest chain.

    At most `max_machines`. If there are few slots, half of them are left to other clients.
    """
    widest = max((b.needs.machines for b in plan), default=0)
    work = sum(b.needs.weight * b.needs.machines for b in with_own_machines(plan))
    longest = max((b.needs.chain for b in plan), default=0) or 1
    # Two thirds of the plain quotient: each machine costs a Create, and the wall time may exceed the chain by half.
    wanted = -(-work * 2 // (longest * 3)) if jobs is None else widest * jobs
    fair = max(widest, slots // 2)
    most = max(widest, min(wanted, fair))
    # A behaviour that needs more than the limit does not apply to this target: `check_size` raises for any other.
    return min(most, max_machines or most)
