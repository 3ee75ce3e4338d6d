"""The options that commands share, as decorators, and the target that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from conformance.target import Target


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
        multiple=True,
        metavar="K=V",
        help="A header for every call. Repeatable; never shown.",
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
)

RUN = (
    click.option("--fake", is_flag=True, help="Judge the embedded fake provider instead of a target."),
    click.option(
        "--select",
        multiple=True,
        metavar="WHAT",
        help="Only these: ids, clauses, areas, globs (FEN-*), or `failed` with --baseline. Commas or repeated.",
    ),
    click.option("--exclude", multiple=True, metavar="WHAT", help="Not these; the same forms."),
    click.option("--baseline", type=click.Path(path_type=Path), help="An earlier report.json, for --select failed."),
    click.option(
        "--jobs", type=click.IntRange(1), metavar="N", help="At most so many behaviours at once. [default: all]"
    ),
    click.option("--max-machines", type=click.IntRange(1), metavar="N", help="At most so many machines alive at once."),
    click.option("--max-creates", type=click.IntRange(0), metavar="N", help="Start at most so many machines in all."),
    click.option(
        "--use-idle", is_flag=True, help="Also drive machines found IDLE and unbound: for pools without Delete."
    ),
    click.option(
        "--fence-scope",
        type=click.Choice(["shard", "shard-machine"]),
        help="Demand this scope of the high-water mark (FEN-13).",
    ),
    click.option(
        "--require", multiple=True, metavar="WHAT", help="Fail where the target lacks it: delete, revisions, …"
    ),
    click.option("--fail-fast", is_flag=True, help="Stop after the first failure."),
    click.option("--strict", is_flag=True, help="A broken SHOULD counts like a broken MUST."),
    click.option("--seed", type=int, metavar="N", help="Draw the same cases as an earlier run. [default: random]"),
    click.option(
        "--examples",
        type=click.IntRange(1),
        default=25,
        show_default=True,
        metavar="N",
        help="Cases per property, at most.",
    ),
    click.option("--timeout", metavar="D", help="End the whole run after this long; what is left is not judged."),
    click.option(
        "--keep", is_flag=True, help="Leave machines as they are at the end, for debugging; sweep them later."
    ),
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
    """The options that say where the target is and how it is dialled."""
    return _all(TARGET, command)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a run: what is judged, how hard, at what price, and what is written of it."""
    return _all(RUN, command)


def _all(options: Sequence[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def target_from(**given: Any) -> Target:
    """The target that the options name. Raises UsageError."""
    from conformance.target import Target, load_tls, parse_address, parse_header

    return Target(
        address=parse_address(given["target"]),
        tls=load_tls(
            ca=given["tls_ca"], cert=given["tls_cert"], key=given["tls_key"], server_name=given["server_name"]
        ),
        headers=tuple(parse_header(text) for text in given["header"]),
    )
