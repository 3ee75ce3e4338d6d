"""The pytest plugin: `pytest --pyargs conformance.suite --target host:port` judges a provider.

pytest collects the behaviours, and the engine runs them in one event loop. The plugin is installed as an entry point
and therefore loaded by every pytest of its environment, so it imports almost nothing until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from conformance.frontends.pytest_loop import PytestLoop

GROUP = "conformance: judge a capacity provider (pytest --pyargs conformance.suite --target host:port)"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds two options: the provider's address, and all other options of `conformance-run` in one string."""
    group = parser.getgroup("conformance", GROUP)
    group.addoption("--target", metavar="HOST:PORT", help="the provider that the behaviours of the suite judge")
    group.addoption(
        "--conformance",
        metavar="ARGS",
        default="",
        help="further options of conformance-run in one string, for example --conformance='--jobs 4 --use-idle'",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers a run if a target is given. conformance-run registers its own."""
    if config.option.target or config.option.conformance:
        _register_run(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Registers a run if behaviours were collected without a target: environment or configuration may name one.

    Raises pytest.UsageError if neither does: one error for all behaviours.
    """
    yield
    if config.pluginmanager.has_plugin("conformance-loop") or config.option.collectonly:
        return
    if any(hasattr(getattr(item, "obj", None), "__conformance_behaviour__") for item in items):
        _register_run(config).pytest_collection_modifyitems(config, items)


def _register_run(config: pytest.Config) -> PytestLoop:
    """Registers the run that options, environment and configuration describe."""
    import shlex

    from conformance.core.errors import UsageError
    from conformance.frontends.cli.commands.run import parse_run
    from conformance.frontends.cli.one_run import NO_TARGET
    from conformance.frontends.pytest_loop import PytestLoop
    from conformance.frontends.runner import RunController

    if getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None):
        raise pytest.UsageError("behaviours already run concurrently and share one ledger: remove -n (pytest-xdist)")
    try:
        arguments = shlex.split(config.option.conformance)
        if config.option.target:
            arguments += ["--target", config.option.target]
        settings = parse_run(arguments)
        lane = settings.lane
        if not lane.needs_plan:
            raise UsageError(f"the {lane.name} lane has no tests", hint=f"use conformance-run --lane {lane.name}")
        loop = PytestLoop(RunController(settings))
    except ValueError as error:
        raise pytest.UsageError(f"--conformance={config.option.conformance}: {error}") from error
    except UsageError as error:
        if error.message == NO_TARGET:
            problem = "behaviours need a provider: add --target host:port, or --conformance=--fake"
            raise pytest.UsageError(problem) from error
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(loop, "conformance-loop")
    return loop


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Generator[None, Any, Any]:
    """Writes the closing lines of the report below pytest's own summary."""
    result = yield
    loop: PytestLoop | None = config.pluginmanager.get_plugin("conformance-loop")
    run = loop.controller if loop is not None else None
    if run is not None and (run.report is not None or run.error is not None):
        from conformance.reporters import terminal

        terminalreporter.section("conformance")
        for line in terminal.closing(run.report) if run.report is not None else ():
            terminalreporter.write_line(line)
        if run.error is not None:
            terminalreporter.write_line(f"error: {run.error}")
    return result
