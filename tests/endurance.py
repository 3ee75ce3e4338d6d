"""Judges the conformant providers on all stacks, and the fake behind all proxies, many times at once.

`python -m tests.endurance 10 --jobs 8` keeps eight runs of the kit busy until each case was judged ten times, and adds
a line for each run to a log, from which it resumes. Every verdict must be CONFORMANT, or the exit code is 1.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tests.provider_process import serving as providing
from tests.proxies.proxies import PROXIES, Proxy, installed_envoy
from tests.proxies.proxies import serving as serving_proxy
from tests.proxies.ready import run
from tests.stacks.stacks import STACKS, Built, built
from tests.stacks.stacks import serving as serving_stack
from tests.stacks.test_stacks import judged, problems

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class StackCase:
    """One stack at one latency."""

    stack: Built
    latency: float

    @property
    def name(self) -> str:
        """The name in the log."""
        return f"{self.stack.stack.name}-{self.latency:g}s"

    def report(self, directory: Path) -> dict[str, Any]:
        """Judges the provider once; returns the content of report.json."""
        with serving_stack(self.stack, latency=self.latency, log=directory / "provider.log") as address:
            return judged(address, directory / "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyCase:
    """One proxy, with or without TLS, at one latency."""

    proxy: Proxy
    path: str
    tls: bool
    latency: str

    @property
    def name(self) -> str:
        """The name in the log."""
        return f"{self.proxy.name}-{'tls' if self.tls else 'plain'}-{self.latency}"

    def report(self, directory: Path) -> dict[str, Any]:
        """Judges the fake behind the proxy once; returns the content of report.json."""
        with (
            providing("--latency", self.latency) as provider,
            serving_proxy(self.proxy, self.path, provider.address, directory / "proxy", tls=self.tls) as proxied,
        ):
            done = run(proxied, directory / "report")
            return done.report or {"verdict": f"exit code {done.code}: {done.err[-500:]}", "behaviours": []}


def cases(only: str) -> Iterator[StackCase | ProxyCase]:
    """Yields the cases whose name contains `only`. Builds their stacks first."""
    for stack in STACKS:
        if any(only in f"{stack.name}-{latency:g}s" for latency in (0.0, 0.2)):
            ready = built(stack)
            yield from (StackCase(stack=ready, latency=latency) for latency in (0.0, 0.2))
    for proxy in PROXIES:
        path = proxy.find() or installed_envoy()
        for tls, latency in itertools.product((False, True), ("0", "200ms")):
            yield ProxyCase(proxy=proxy, path=path, tls=tls, latency=latency)


def judge(case: StackCase | ProxyCase, log: Path) -> dict[str, Any]:
    """Judges a case once, and adds the outcome to the log."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            report = case.report(Path(directory))
        except Exception as error:
            report = {"verdict": f"{type(error).__name__}: {error}", "behaviours": []}
    outcome = {"case": case.name, "verdict": report["verdict"], "problems": problems(report)}
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(outcome) + "\n")
    return outcome


@click.command()
@click.argument("rounds", type=click.IntRange(min=1), default=10)
@click.option("--jobs", type=click.IntRange(min=1), default=8, show_default=True, help="Runs of the kit at once.")
@click.option("--only", default="", help="Only cases whose name contains this.")
@click.option("--log", type=click.Path(path_type=Path), default=Path("endurance.ndjson"), show_default=True)
def main(rounds: int, jobs: int, only: str, log: Path) -> None:
    """Judge each stack and each proxy ROUNDS times, several at once."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    done = Counter(json.loads(line)["case"] for line in lines)
    wanted = [case for case in cases(only) if only in case.name]
    missing = [case for number in range(1, rounds + 1) for case in wanted if done[case.name] < number]
    with ThreadPoolExecutor(jobs) as pool:
        for number, outcome in enumerate(pool.map(lambda case: judge(case, log), missing), 1):
            if outcome["verdict"] != "conformant":
                click.echo(f"{outcome['case']}: {outcome['verdict']}\n{outcome['problems']}")
            click.echo(f"{number} of {len(missing)} runs", err=True)
    outcomes = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    verdicts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        verdicts.setdefault(outcome["case"], Counter())[outcome["verdict"]] += 1
    for name, counted in sorted(verdicts.items()):
        click.echo(f"{name:32} " + ", ".join(f"{count} {verdict}" for verdict, count in counted.most_common()))
    sys.exit(any(outcome["verdict"] != "conformant" for outcome in outcomes))


if __name__ == "__main__":
    main()
