"""Judges specimens: which of them show what a behaviour needs, and why the others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.core.errors import NotObserved, Unsupported
from conformance.lanes.faults.specimens import Effect
from conformance.rpc.call import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from conformance.lanes.faults.specimens import Failures, Specimen

NO_TRIGGER = "no trigger of the provider has an effect, so failure was not judged"


def recall(specimen: Specimen) -> None:
    """Adds the calls of the specimen to the evidence of the behaviour."""
    for call in specimen.calls:
        record(call)


def why_not_failed(specimen: Specimen) -> str:
    """Returns why the specimen is not evidence of a failure; empty if it is."""
    trigger = specimen.trigger
    match specimen.effect:
        case Effect.UNKNOWN:
            return specimen.problem
        case Effect.NONE:
            return f"{trigger.text} has no effect: the {trigger.verb.value} succeeded, so the provider has no such hook"
        case Effect.REFUSED:
            answer = specimen.ack.outcome() if specimen.ack is not None else "nothing"
            return f"{trigger.text} was refused ({answer}), so no transition has failed"
        case Effect.GIVEN_UP:
            return f"{trigger.text}: the Configure was given up, and no machine is FAILED"
        case _:
            return ""


def judge_each(chosen: Sequence[Specimen], check: Callable[[Specimen], bool | None]) -> None:
    """Judges each specimen with `check`, which raises Violation, or returns False if it says nothing.

    Raises Unsupported or NotObserved if none of them says anything.
    """
    judged = False
    for specimen in chosen:
        before = len(specimen.calls)
        if specimen.effect is Effect.UNKNOWN or not before:
            continue
        recall(specimen)
        judged |= check(specimen) is not False
    if not judged:
        nothing_to_judge(chosen)


def judge_failed(found: Failures, chosen: Iterable[Specimen], check: Callable[[Specimen], bool | None]) -> None:
    """Judges with `check` each of the specimens that ended in FAILED; says why if no specimen has."""
    failed = [specimen for specimen in chosen if specimen.failed]
    if failed:
        judge_each(failed, check)
    elif any(found.failed()):
        nothing_to_judge(list(chosen) or found.specimens)
    else:
        nothing_to_judge(found.specimens, NO_TRIGGER)


def nothing_to_judge(chosen: Sequence[Specimen], why: str = "") -> None:
    """Raises NotObserved if the user named the trigger, or if something went wrong; otherwise Unsupported."""
    reasons = [(specimen, why_not_failed(specimen)) for specimen in chosen]
    demanded = [text for each, text in reasons if each.trigger.given and each.effect is not Effect.GIVEN_UP]
    unclear = [each.problem for each in chosen if each.problem and each.machine]
    for text in (*demanded, *unclear):
        if text:
            raise NotObserved(f"not observed: {text}")
    shown = "; ".join(dict.fromkeys(text for _, text in reasons if text))
    raise Unsupported(why or shown or "the provider has no such trigger (--fault-trigger)")
