"""The options that commands share, as decorators, and where their values come from.

An option goes before its environment variable, that before the configuration file, that before the default.
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

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from conformance.frontends.cli.config_file import Configuration
    from conformance.rpc.target import Target

ENVIRONMENT: Final = {"auto_envvar_prefix": "CONFORMANCE"}
"""The `context_settings` of commands whose every option has its variable: --max-machines, CONFORMANCE_MAX_MACHINES."""

_FILE: Final = "conformance.frontends.cli.config_file"
_NO_FILE: Final = "conformance.no_configuration"
_STRENGTH: Final = (
    ParameterSource.DEFAULT,
    ParameterSource.DEFAULT_MAP,
    ParameterSource.ENVIRONMENT,
    ParameterSource.COMMANDLINE,
)


class Line(StringParamType):
    """Text with blanks in it: several in one variable stand on a line each."""

    envvar_list_splitter = "\n"


def _no_config(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    context.meta[_NO_FILE] = given
    _one_mind(context)


def _config(context: click.Context, parameter: click.Parameter, given: Path | None) -> None:
    """Let the file's values be the defaults of whatever this command takes."""
    _one_mind(context)
    if context.resilient_parsing or context.meta.get(_NO_FILE):
        return
    path = given or config_file.find(Path.cwd())
    if path is not None:
        options = configurable()
        file = context.meta[_FILE] = config_file.read(path, options)
        context.default_map = {str(options[name].name): value for name, value in file.values.items()}


def _one_mind(context: click.Context) -> None:
    if all(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("config", "no_config")):
        raise UsageError("both --config and --no-config", hint="say one of them")


TARGET = (
    click.option(
        "--target",
        metavar="HOST:PORT",
        envvar=["CONFORMANCE_TARGET", "BIGFLEET_PROVIDER_TARGET"],
        show_envvar=True,
        help="The provider's endpoint: host:port, [ipv6]:port or unix:/path.",
    ),
    click.option(
        "--header",
        type=Line(),
        multiple=True,
        metavar="K=V",
        help="A header for every call. Repeatable; never shown. CONFORMANCE_HEADER keeps it out of `ps`.",
    ),
    click.option(
        "--tls-ca",
        type=click.Path(path_type=Path),
        help="PEM of the CA that signed the provider: use TLS.",
    ),
    click.option(
        "--tls-cert",
        type=click.Path(path_type=Path),
        help="PEM of our client certificate.",
    ),
    click.option("--tls-key", type=click.Path(path_type=Path), help="PEM of its unencrypted key."),
    click.option(
        "--server-name",
        metavar="NAME",
        help="The name that the provider's certificate is checked for.",
    ),
    click.option(
        "--patience",
        default="5m",
        show_default=True,
        metavar="P",
        help="How long a transition may take: 5m, or create=20m,drain=1h.",
    ),
    click.option(
        "--rpc-timeout",
        default="30s",
        show_default=True,
        metavar="D",
        help="The deadline of one RPC.",
    ),
    click.option(
        "--connect-timeout",
        default="10s",
        show_default=True,
        metavar="D",
        help="How long to wait for the first connection.",
    ),
    click.option(
        "--max-answer",
        default="64MiB",
        show_default=True,
        metavar="SIZE",
        help="The largest answer that is taken in. Each machine of a List counts for 256 bytes or more.",
    ),
)

CONFIG = (
    click.option(
        "--no-config", is_flag=True, is_eager=True, expose_value=False, callback=_no_config, help="Read no such file."
    ),
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_config,
        metavar="FILE",
        help="Options from here.  [default: conformance.toml or pyproject.toml, as far up as the repository goes]",
    ),
)

RUN = (
    click.option("--fake", is_flag=True, help="Judge the embedded fake provider instead of a target."),
    click.option(
        "--select",
        multiple=True,
        shell_complete=completion.patterns,
        metavar="WHAT",
        help="Only these: ids, clauses, areas, globs (FEN-*), or `failed` with --baseline. Commas or repeated.",
    ),
    click.option(
        "--exclude",
        multiple=True,
        shell_complete=completion.patterns,
        metavar="WHAT",
        help="Not these; the same forms.",
    ),
    *LANE_OPTIONS,
    *BASELINE_OPTIONS,
    click.option(
        "--jobs", type=click.IntRange(1), metavar="N", help="At most so many behaviours at once. [default: all]"
    ),
    click.option("--max-machines", type=click.IntRange(1), metavar="N", help="At most so many machines alive at once."),
    click.option("--max-creates", type=click.IntRange(0), metavar="N", help="Start at most so many machines in all."),
    click.option(
        "--use-idle/--no-use-idle", help="Also drive machines found IDLE and unbound: for pools without Delete."
    ),
    click.option(
        "--fence-scope",
        type=click.Choice(["shard", "shard-machine"]),
        help="Demand this scope of the high-water mark (FEN-13).",
    ),
    click.option(
        "--require",
        multiple=True,
        shell_complete=completion.capabilities,
        metavar="WHAT",
        help="Fail where the target lacks it: delete, revisions, …",
    ),
    click.option("--fail-fast/--no-fail-fast", help="Stop after the first failure."),
    click.option("--strict/--no-strict", help="A broken SHOULD counts like a broken MUST."),
    click.option("--seed", type=int, metavar="N", help="Draw the same cases as an earlier run. [default: random]"),
    click.option(
        "--examples",
        type=click.IntRange(1),
        default=25,
        show_default=True,
        metavar="N",
        help="Cases per property, at most.",
    ),
    click.option(
        "--fault",
        multiple=True,
        shell_complete=completion.faults,
        metavar="WEATHER",
        help="Put weather of our own between kit and target; repeatable. lost-answer: of a call that was done, the "
        "answer is lost. delay=20ms or 5ms..50ms, each way. throttle=64kB per second. reset=5s, half-open=5s: so long "
        "lives a connection, about. blackhole=2s: so long nothing passes, again and again.",
    ),
    click.option("--timeout", metavar="D", help="End the whole run after this long; what is left is not judged."),
    click.option("--keep/--no-keep", help="Leave machines as they are at the end, for debugging; sweep them later."),
    click.option(
        "--report-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Write report.json, report.md, junit.xml, badge.json, events.ndjson and ledger.ndjson here.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Only failures and the closing lines."),
    click.option("-v", "--verbose", is_flag=True, help="Every call of every behaviour."),
    click.option("--color/--no-color", default=None, help="Colours. [default: as the terminal is]"),
)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where the target is, how it is dialled, and which file says so too."""
    return _all((*TARGET, *CONFIG), command)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a run: what is judged, how hard, at what price, and what is written of it."""
    return _all(RUN, command)


def _all(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


@cache
def configurable() -> Mapping[str, click.Option]:
    """What a file may say: the options of a run by their long names, `max-machines`."""
    command = click.Command("run")
    for option in (*TARGET, *RUN):
        option(command)
    options = [option for option in command.params if isinstance(option, click.Option)]
    return {long_name(option): option for option in options}


def long_name(option: click.Option) -> str:
    """`max-machines`."""
    return max(option.opts, key=len).removeprefix("--")


def configuration_of(context: click.Context) -> Configuration | None:
    """The file that the context's command took values from, where there was one."""
    found: Configuration | None = context.meta.get(_FILE)
    return found


def stronger(context: click.Context, one: str, other: str) -> str | None:
    """Which of two parameters was asked for more expressly; None where both were in the same way."""
    ranks = [_STRENGTH.index(context.get_parameter_source(name) or ParameterSource.DEFAULT) for name in (one, other)]
    return None if ranks[0] == ranks[1] else one if ranks[0] > ranks[1] else other


def target_from(**given: Any) -> Target:
    """The target that the options name. Raises UsageError."""
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
