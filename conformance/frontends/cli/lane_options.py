"""The options that choose a lane, and those that apply to one lane only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypedDict

import click
from click.core import ParameterSource

from conformance import lanes
from conformance.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.lanes.protocol import Lane, LaneOption


class ChosenLane(TypedDict):
    """The fields of Settings for the lane."""

    lane: Lane[Any]
    lane_settings: Any


def _choice() -> Callable[..., Any]:
    known = lanes.all_lanes()
    descriptions = "; ".join(f"{lane.name}: {lane.help}" for lane in known)
    return click.option(
        "--lane",
        type=click.Choice([*(lane.name for lane in known), lanes.ALL]),
        default=known[0].name,
        show_default=True,
        help=f"How to judge the target. {descriptions}; {lanes.ALL}: runs each lane in turn, against one provider, and "
        "writes a certificate.",
    )


def _option(option: LaneOption) -> Callable[..., Any]:
    owners = " or ".join(lane.name for lane in lanes.all_lanes() if option in lane.options)
    return click.option(
        f"--{option.name}",
        metavar=option.metavar,
        default=option.default,
        show_default=option.default is not None,
        multiple=option.multiple,
        help=f"With --lane {owners}: {option.help[:1].lower()}{option.help[1:]}",
    )


LANE_OPTIONS: Final = (_choice(), *map(_option, lanes.options().values()))


def lane_words(*, lane: str, **given: Any) -> tuple[str, ...]:
    """Returns the options of the chosen lane that differ from their defaults, as words of the command line."""
    words = []
    for option in lanes.named(lane).options:
        value = given[option.parameter]
        if value and value != option.default:
            values = value if option.multiple else (value,)
            words += [part for each in values for part in (f"--{option.name}", each)]
    return tuple(words)


def settings_of(lane: Lane[Any], words: Sequence[str]) -> Any:
    """Returns the lane's settings from such words. Raises UsageError."""
    known = {f"--{option.name}": option for option in lane.options}
    values: dict[str, Any] = {o.parameter: () if o.multiple else o.default for o in lane.options}
    for name, value in zip(words[::2], words[1::2], strict=True):
        if name not in known:
            raise UsageError(f"{name} is not an option of the {lane.name} lane", hint="use the kit that ran it")
        option = known[name]
        values[option.parameter] = (*values[option.parameter], value) if option.multiple else value
    return lane.configure(values)


def choose_lane(*, lane: str, **given: Any) -> ChosenLane:
    """Returns the chosen lane and its settings. Raises UsageError."""
    chosen = lanes.named(lane)
    values = {option.parameter: given[option.parameter] for option in chosen.options}
    return {"lane": chosen, "lane_settings": chosen.configure(values)}


def check_options_of(chosen: Lane[Any]) -> None:
    """Raises UsageError if an option was given that does not apply to a lane.

    That is an error on the command line only: a configuration file may have options of several lanes.
    """
    source_of = click.get_current_context().get_parameter_source
    own = {option.name for option in chosen.options}
    for name in sorted({*chosen.excluded, *(lanes.options().keys() - own)}):
        if source_of(name.replace("-", "_")) is ParameterSource.COMMANDLINE:
            owner = next((each.name for each in lanes.all_lanes() if name in {o.name for o in each.options}), None)
            raise UsageError(
                f"--{name} does not apply to the {chosen.name} lane",
                hint=f"add --lane {owner}" if owner else "remove it",
            )
