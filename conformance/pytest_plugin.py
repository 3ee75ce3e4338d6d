"""The plugin: pytest collects the behaviours, and the engine runs them, all in one loop.

`conformance-run` uses it hermetically; `pytest --pyargs conformance.suite --target host:port` goes the same way.
Installed as an entry point it is loaded in everybody's pytest, so it imports next to nothing until it is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from conformance.loop import Loop

GROUP = "conformance: judge a capacity provider (pytest --pyargs conformance.suite --target host:port)"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two options: where the provider is, and whatever else `conformance-run` takes."""
    group = parser.getgroup("conformance", GROUP)
    group.addoption("--target", metavar="HOST:PORT", help="the provider to judge; the suite's behaviours need it")
    group.addoption(
        "--conformance",
        metavar="ARGS",
        default="",
        help="options of conformance-run, in one word: --conformance='--jobs 4 --use-idle'",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take over the loop where a target is named, unless conformance-run has done so already."""
    if config.option.target or config.option.conformance:
        _take_over(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, None, None]:
    """Behaviours that were collected without a target: the environment or the configuration may name one.

    Where neither does they cannot run: say so at once, not behaviour by behaviour.
    """
    yield
    if config.pluginmanager.has_plugin("conformance-loop") or config.option.collectonly:
        return
    if any(hasattr(getattr(item, "obj", None), "__conformance_behaviour__") for item in items):
        _take_over(config).pytest_collection_modifyitems(config, items)


def _take_over(config: pytest.Config) -> Loop:
    """Register the loop that runs what the options, the environment and the configuration say."""
    import shlex

    from conformance.errors import UsageError
    from conformance.loop import Loop
    from conformance.run_command import NO_TARGET, parse_run

    if getattr(config.option, "numprocesses", None) or getattr(config.option, "tx", None):
        raise pytest.UsageError("the behaviours run together already, and share one ledger: drop -n (xdist)")
    try:
        arguments = shlex.split(config.option.conformance)
        if config.option.target:
            arguments += ["--target", config.option.target]
        settings = parse_run(arguments)
        if settings.scale is not None:
            raise UsageError("the scale lane has no tests", hint="it is conformance-run --lane scale")
        loop = Loop(settings)
    except ValueError as error:
        raise pytest.UsageError(f"--conformance={config.option.conformance}: {error}") from error
    except UsageError as error:
        if error.message == NO_TARGET:
            needed = "the behaviours need a provider: add --target host:port, or --conformance=--fake"
            raise pytest.UsageError(needed) from error
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(loop, "conformance-loop")
    return loop


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> Generator[None, Any, Any]:
    """Verdict, bill, time and home-coming, below what pytest says."""
    result = yield
    loop: Loop | None = config.pluginmanager.get_plugin("conformance-loop")
    if loop is not None and (loop.report is not None or loop.error is not None):
        from conformance.reporters import terminal

        terminalreporter.section("conformance")
        for line in terminal.closing(loop.report) if loop.report is not None else ():
            terminalreporter.write_line(line)
        if loop.error is not None:
            terminalreporter.write_line(f"error: {loop.error}")
    return result
