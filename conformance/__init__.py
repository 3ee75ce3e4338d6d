"""Judges gRPC capacity providers by their contract.

For people who start their provider inside their own tests::

    report = conformance.run("127.0.0.1:9000", select="FEN")
    assert report.verdict == "conformant", conformance.explain(report)

Everything else here is the kit's own business, and importing this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.core.errors import ConformanceError, TargetError, UsageError
    from conformance.frontends.api import explain, run, run_async
    from conformance.results.report import Report
    from conformance.results.result import Result, Status, Verdict

__all__ = [
    "ConformanceError",
    "Report",
    "Result",
    "Status",
    "TargetError",
    "UsageError",
    "Verdict",
    "explain",
    "run",
    "run_async",
]

_HOMES = {
    "frontends.api": ("explain", "run", "run_async"),
    "core.errors": ("ConformanceError", "TargetError", "UsageError"),
    "results.report": ("Report",),
    "results.result": ("Result", "Status", "Verdict"),
}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for: our plugin is loaded in everybody's pytest."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"conformance.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
