"""Whether a plan fits a target: what does not apply, what there are too few machines for, how broad to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.behaviour import apart
from conformance.errors import TargetError
from conformance.lifecycle import State

if TYPE_CHECKING:
    from conformance.behaviour import Behaviour, Plan
    from conformance.found import Found
    from conformance.needs import Needs

LACKS: Final = {
    "delete": "the provider has no Delete, which is optional (LIF-8)",
    "revisions": "the provider gives no revisions, which are optional (LST-5)",
    "create": "no machine is SPECULATIVE: there is nothing to Create",
    "health": "the provider serves no health service",
    "reflection": "the provider serves no reflection, which is optional (WIR-4)",
    "tls": "the target is not reached over TLS",
    "client-certificate": "the run shows no client certificate, so nothing says that the provider asks for one",
}


def missing(behaviour: Behaviour, found: Found) -> str | None:
    """The capability that the behaviour needs and the target legally lacks; a key of LACKS."""
    needs = list(behaviour.entry.needs)
    if State.SPECULATIVE in behaviour.needs.starts:
        needs.append("create")
    return next((need for need in needs if not found.has(need)), None)


def check_size(plan: Plan, found: Found, *, slots: int, use_idle: bool, max_machines: int | None) -> None:
    """Raise TargetError where some behaviour needs more machines than there are: before anything is touched."""
    usable = min(slots, max_machines or slots)
    short = [b for b in plan if b.needs.machines > usable and missing(b, found) is None]
    if not short:
        return
    most = max(b.needs.machines for b in short)
    have = f"{len(found.speculative)} SPECULATIVE" + (f" and {len(found.idle)} free IDLE" if use_idle else "")
    have += "".join(f", {number} {why}" for why, number in found.unusable.items())
    limit = f", --max-machines {max_machines}" if max_machines else ""
    raise TargetError(
        f"too few machines: {len(short)} behaviours need up to {most}, found {have}{limit}; nothing was touched",
        hint=_mend(plan, short, found, most, use_idle=use_idle),
    )


def _mend(plan: Plan, short: list[Behaviour], found: Found, most: int, *, use_idle: bool) -> str:
    mends = []
    if found.idle and not use_idle:
        mends.append(f"--use-idle lets the kit drive the {len(found.idle)} IDLE ones")
    if len(short) < len(plan):
        mends.append(f"--exclude {','.join(b.id for b in short)} runs the others")
    return " · ".join(mends) or f"give the provider at least {most} SPECULATIVE machines"


def check_slots(plan: Plan, found: Found, *, slots: int) -> str | None:
    """What to say beforehand where a provider without Delete has too few slots to judge every Create; None else."""
    if found.delete or not found.speculative:
        return None
    creators = [b for b in apart(plan) if b.needs.creates and missing(b, found) is None]
    spent = sum(b.needs.machines for b in creators)
    if spent + max((b.needs.machines for b in plan), default=0) <= slots:
        return None
    return (
        f"the provider cannot Delete, so a slot can be created once: {len(creators)} behaviours use up {spent} of"
        f" {slots} SPECULATIVE machines, and what is left without will not be judged"
    )


def precedence(needs: Needs) -> tuple[bool, bool, bool, int, int]:
    """What starts first, smallest first.

    Whoever creates a machine that is warm afterwards; then who judges a second life, before the others come to rest
    on one; then who wants no transition, and is over before anybody has
    missed the machine; then the heaviest. Who wants several machines counts for as many: later, they would hardly
    ever be free together.
    """
    creator = needs.creates and State.SPECULATIVE in needs.starts
    return not creator, not needs.creates, needs.transitions > 0, -needs.weight * needs.machines, -needs.machines


def breadth(plan: Plan, *, slots: int, jobs: int | None, max_machines: int | None) -> int:
    """How many machines live at once: as few as let the wall time come near the longest chain.

    Never over a limit; and where there are few slots, half of them are left to somebody else.
    """
    widest = max((b.needs.machines for b in plan), default=0)
    work = sum(b.needs.weight * b.needs.machines for b in apart(plan))
    longest = max((b.needs.chain for b in plan), default=0) or 1
    # Fewer than the bare division: each machine costs a Create, and the wall time may be half the longest chain more.
    wanted = -(-work * 2 // (longest * 3)) if jobs is None else widest * jobs
    fair = max(widest, slots // 2)
    most = max(widest, min(wanted, fair))
    # What would need more than the limit lacks something else as well, and is not judged.
    return min(most, max_machines or most)
