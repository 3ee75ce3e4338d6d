"""The lanes: each judges a target in a way of its own. The options that choose one, and what runs in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from conformance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from conformance.behaviour import Plan
    from conformance.events import Event
    from conformance.report import Report
    from conformance.run_options import Options
    from conformance.scale.lane import Asking
    from conformance.settings import Settings
    from conformance.stop import Stop
    from conformance.target import Target

CONFORMANCE, SCALE = "conformance", "scale"

LANE: Final = (
    click.option(
        "--lane",
        type=click.Choice([CONFORMANCE, SCALE]),
        default=CONFORMANCE,
        show_default=True,
        help="Every behaviour by itself; or many machines at once, for a while, against an oracle.",
    ),
    click.option(
        "--soak",
        default="1m",
        show_default=True,
        metavar="D",
        help="With --lane scale: how long machines are churned: 5m, or 3000ops for so many transitions.",
    ),
    click.option(
        "--budget",
        multiple=True,
        metavar="B",
        help="With --lane scale: what you promise, list.p99=500ms. Exceeded, the exit code is 1. Repeatable.",
    ),
)

_ELSEWHERE: Final = ("select", "exclude", "jobs", "examples", "fence_scope", "fault")
"""Options that mean nothing in the scale lane, which judges all that it can, all at once, on a fair line."""


def asked_for(*, lane: str, soak: str, budget: tuple[str, ...], **given: Any) -> Asking | None:
    """What the scale lane is asked for; None for the conformance lane. Raises UsageError.

    What is written down for the one lane does not disturb the other; what is typed does.
    """
    typed = click.get_current_context().get_parameter_source
    unfit = _ELSEWHERE if lane == SCALE else ("soak", "budget")
    for name in unfit:
        if typed(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{option} and the {lane} lane",
                hint="it judges all at once: drop it" if lane == SCALE else "add --lane scale",
            )
    if lane == CONFORMANCE:
        return None
    from conformance.scale import budget as budgets
    from conformance.scale import soak as soaks
    from conformance.scale.lane import Asking

    return Asking(soak=soaks.parse(soak), budgets=budgets.parse_all(budget))


def run(
    settings: Settings,
    plan: Plan,
    target: Target,
    *,
    options: Options,
    emit: Callable[[Event], None],
    stop: Stop,
) -> Coroutine[Any, Any, Report]:
    """The run that the settings ask for: of `plan`, or of the scale lane. Raises as `engine.run` does."""
    if settings.scale is not None:
        from conformance.scale import lane

        return lane.run(settings.scale, target, options=options, ledger_at=settings.ledger_at, emit=emit, stop=stop)
    from conformance import engine

    return engine.run(plan, target, options=options, ledger_at=settings.ledger_at, emit=emit, stop=stop)
