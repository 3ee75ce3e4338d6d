"""Judges gRPC capacity providers by their contract.

For users who start their provider inside their own tests::

    report = conformance.run("127.0.0.1:9000", select="FEN")
    assert report.verdict == "conformant", conformance.explain(report)

Only the names in `__all__` are public. Each is imported on first use.
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

_MODULES = {
    "frontends.api": ("explain", "run", "run_async"),
    "core.errors": ("ConformanceError", "TargetError", "UsageError"),
    "results.report": ("Report",),
    "results.result": ("Result", "Status", "Verdict"),
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first use: every pytest of the environment loads our plugin, and with it this module."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"conformance.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
