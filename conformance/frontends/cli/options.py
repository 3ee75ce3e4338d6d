"""The options that commands share, as decorators, and the sources of their values.

Precedence: the option, its environment variable, the configuration file, the default.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource
from click.types import StringParamType

from conformance.core.errors import UsageError
from conformance.frontends.cli import completion, config_file
from conformance.frontends.cli.baseline_options import BASELINE_OPTIONS
from conformance.frontends.cli.lane_options import LANE_OPTIONS
from conformance.frontends.cli.provider_options import PROVIDER_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.frontends.cli.config_file import Configuration
    from conformance.rpc.target import Target

ENVIRONMENT: Final = {"auto_envvar_prefix": "CONFORMANCE"}
"""The `context_settings` that give every option a variable: --max-machines, CONFORMANCE_MAX_MACHINES."""

_FILE: Final = "conformance.frontends.cli.config_file"
_NO_FILE: Final = "conformance.no_configuration"
_BY_PRECEDENCE: Final = (
    ParameterSource.DEFAULT,
    ParameterSource.DEFAULT_MAP,
    ParameterSource.ENVIRONMENT,
    ParameterSource.COMMANDLINE,
)


class Line(StringParamType):
    """Text that may contain spaces: an environment variable has one value per line."""

    envvar_list_splitter = "\n"


def _no_config(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    context.meta[_NO_FILE] = given
    _check_not_both(context)


def _config(context: click.Context, parameter: click.Parameter, given: Path | None) -> None:
    """Makes the values of the file the defaults of the command's options."""
    _check_not_both(context)
    if context.resilient_parsing or context.meta.get(_NO_FILE):
        return
    path = given or config_file.find(Path.cwd())
    if path is not None:
        options = configurable()
        file = context.meta[_FILE] = config_file.read(path, options)
        context.default_map = {str(options[name].name): value for name, value in file.values.items()}


def _check_not_both(context: click.Context) -> None:
    if all(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("config", "no_config")):
        raise UsageError("--config and --no-config exclude each other", hint="remove one of them")


TARGET = (
    click.option(
        "--target",
        metavar="HOST:PORT",
        envvar=["CONFORMANCE_TARGET", "BIGFLEET_PROVIDER_TARGET"],
        show_envvar=True,
        help="Address of the provider: host:port, [ipv6]:port or unix:/path.",
    ),
    click.option(
        "--header",
        type=Line(),
        multiple=True,
        metavar="K=V",
        help="Send this header with every call, for example authorization='Bearer …'. Repeatable. Its value appears in "
        "no output; set it in CONFORMANCE_HEADER to hide it from `ps` too.",
    ),
    click.option(
        "--tls-ca",
        type=click.Path(path_type=Path),
        help="Connect with TLS and trust the CA certificates in this PEM file.",
    ),
    click.option(
        "--tls-cert",
        type=click.Path(path_type=Path),
        help="Authenticate with the client certificate in this PEM file; requires --tls-key.",
    ),
    click.option(
        "--tls-key", type=click.Path(path_type=Path), help="PEM file with the unencrypted private key of --tls-cert."
    ),
    click.option(
        "--server-name",
        metavar="NAME",
        help="Expect this name in the provider's certificate, if it differs from the host in --target.",
    ),
    click.option(
        "--patience",
        default="5m",
        show_default=True,
        metavar="P",
        help="How long to wait for a transition: a duration such as 5m for all of them, or one for each verb, such as "
        "create=20m,drain=1h.",
    ),
    click.option(
        "--rpc-timeout",
        default="30s",
        show_default=True,
        metavar="D",
        help="Deadline of each RPC.",
    ),
    click.option(
        "--connect-timeout",
        default="10s",
        show_default=True,
        metavar="D",
        help="How long to wait for the first connection to the target.",
    ),
    click.option(
        "--max-answer",
        default="64MiB",
        show_default=True,
        metavar="SIZE",
        help="Maximum size of a response; larger ones are rejected. Each machine of a List counts as at least 256 "
        "bytes.",
    ),
)

CONFIG = (
    click.option(
        "--no-config",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_no_config,
        help="Ignore configuration files.",
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_config,
        metavar="FILE",
        help="Read options from this file.  [default: conformance.toml or pyproject.toml here or in a parent "
        "directory, up to the root of the repository]",
    ),
)

SELECTION = (
    click.option("--fake", is_flag=True, help="Judge the embedded fake provider instead of a target."),
    click.option(
        "--select",
        multiple=True,
        shell_complete=completion.patterns,
        metavar="WHAT",
        help="Judge only these behaviours: ids (FEN-3a), clauses (FEN-3), areas (FEN) or globs ('FEN-*'); or `failed` "
        "for the failures of --baseline. Separated by commas, or repeated.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        shell_complete=completion.patterns,
        metavar="WHAT",
        help="Do not judge these behaviours; the same patterns as for --select.",
    ),
)
JUDGEMENT = (
    click.option("--strict/--no-strict", help="Treat a broken SHOULD like a broken MUST."),
    click.option(
        "--require",
        multiple=True,
        shell_complete=completion.capabilities,
        metavar="WHAT",
        help="Fail if the target lacks this capability, such as delete or revisions, instead of skipping the "
        "behaviours that need it. Separated by commas, or repeated.",
    ),
    click.option(
        "--fence-scope",
        type=click.Choice(["shard", "shard-machine"]),
        help="Fail unless the target keeps its high-water marks in this scope (FEN-13).",
    ),
    click.option(
        "--seed",
        type=int,
        metavar="N",
        help="Seed of all random choices: the same seed generates the same cases again. [default: random]",
    ),
    click.option(
        "--examples",
        type=click.IntRange(1),
        default=25,
        show_default=True,
        metavar="N",
        help="Maximum number of generated cases for each behaviour that is a property.",
    ),
    click.option(
        "--hold",
        metavar="D",
        help="Keep machines, marks, operation ids and cursors at rest for at least this time before they are checked "
        "at the end, such as 10s. [default: what the run takes anyway]",
    ),
    click.option(
        "--fault",
        multiple=True,
        shell_complete=completion.faults,
        metavar="FAULT",
        help="Inject a fault into the kit's connections to the target. Repeatable. lost-answer: carry out a call and "
        "drop its response. delay=20ms or delay=5ms..50ms: delay all data in both directions. throttle=64kB: limit the "
        "bytes per second. reset=5s: reset each connection after about this time. half-open=5s: the provider's end of "
        "a connection disappears after about this time. blackhole=2s: repeatedly pass no data for this time.",
    ),
)
LIMITS = (
    click.option(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="Maximum number of behaviours to run concurrently. [default: no limit]",
    ),
    click.option(
        "--max-machines",
        type=click.IntRange(1),
        metavar="N",
        help="Maximum number of machines that exist at the same time.",
    ),
    click.option(
        "--max-creates",
        type=click.IntRange(0),
        metavar="N",
        help="Maximum number of machines to start during the whole run.",
    ),
    click.option(
        "--use-idle/--no-use-idle",
        help="Also use machines that are IDLE and unbound when the run starts, for providers without Delete.",
    ),
    click.option("--fail-fast/--no-fail-fast", help="Stop after the first failure."),
    click.option(
        "--timeout", metavar="D", help="Stop the run after this time; the remaining behaviours are not judged."
    ),
    click.option(
        "--keep/--no-keep",
        help="Do not clean up machines at the end, for debugging; `conformance sweep` does it later.",
    ),
)
OUTPUT = (
    click.option(
        "--report-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Write report.html, report.json, report.md, junit.xml, badge.json, events.ndjson and ledger.ndjson to "
        "this directory.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Print only failures and the summary."),
    click.option("-v", "--verbose", is_flag=True, help="Print every call of every behaviour."),
    click.option(
        "--color/--no-color", default=None, help="Force or disable colours. [default: depends on the terminal]"
    ),
)
RUN = (*SELECTION, *PROVIDER_OPTIONS, *LANE_OPTIONS, *JUDGEMENT, *BASELINE_OPTIONS, *LIMITS, *OUTPUT)

SECTIONS: Final = {
    "Target": TARGET,
    "Configuration": CONFIG,
    "Selection": SELECTION,
    "Provider process": PROVIDER_OPTIONS,
    "Lanes": LANE_OPTIONS,
    "Judgement": JUDGEMENT,
    "Known failures": BASELINE_OPTIONS,
    "Limits and clean-up": LIMITS,
    "Output": OUTPUT,
}
"""The sections of the shared options in `--help`."""


class SectionedCommand(click.Command):
    """A command whose `--help` shows the shared options in sections, after its own options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options."""
        headings = {option.name: heading for heading, group in SECTIONS.items() for option in _options_of(group)}
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Options", *SECTIONS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections[headings.get(parameter.name, "Options")].append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for the target, its connection and the configuration file."""
    return _add((*TARGET, *CONFIG), command)


def provider_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options for a provider that the kit may start, stop and kill. A run has them already."""
    return _add(PROVIDER_OPTIONS, command)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a run: selection, judgement, limits and output."""
    return _add(RUN, command)


def _add(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def _options_of(group: Sequence[Callable[..., Any]]) -> list[click.Option]:
    command = click.Command("run")
    for option in group:
        option(command)
    return [option for option in command.params if isinstance(option, click.Option)]


@cache
def configurable() -> Mapping[str, click.Option]:
    """Returns the options that a configuration file may set, by their long names: `max-machines`."""
    return {long_name(option): option for option in _options_of((*TARGET, *RUN))}


def long_name(option: click.Option) -> str:
    """Returns the long name without dashes: `max-machines`."""
    return max(option.opts, key=len).removeprefix("--")


def configuration_of(context: click.Context) -> Configuration | None:
    """Returns the configuration file that the context's command has read, if any."""
    found: Configuration | None = context.meta.get(_FILE)
    return found


def more_explicit(context: click.Context, one: str, other: str) -> str | None:
    """Returns which of two parameters comes from the source with higher precedence; None if the source is the same."""
    ranks = [
        _BY_PRECEDENCE.index(context.get_parameter_source(name) or ParameterSource.DEFAULT) for name in (one, other)
    ]
    return None if ranks[0] == ranks[1] else one if ranks[0] > ranks[1] else other


def target_from(**given: Any) -> Target:
    """Returns the target that the options describe. Raises UsageError."""
    from conformance.core.sizes import parse_size
    from conformance.rpc.target import Target, load_tls, parse_address, parse_header

    return Target(
        address=parse_address(given["target"]),
        tls=load_tls(
            ca=given["tls_ca"], cert=given["tls_cert"], key=given["tls_key"], server_name=given["server_name"]
        ),
        headers=tuple(parse_header(text) for text in given["header"]),
        max_answer=parse_size(given["max_answer"]),
    )
