"""Shows a run in progress: a progress bar on a terminal, one line per behaviour elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live as Display
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from conformance.core.text import printable
from conformance.reporters import terminal
from conformance.results import events
from conformance.results.result import Status, Verdict
from conformance.rpc.call import one_line

if TYPE_CHECKING:
    from rich.console import Console

    from conformance.results.lane_figures import LaneProgress
    from conformance.results.report import Report
    from conformance.results.result import Result

STYLES = {
    Status.PASSED: "green",
    Status.FAILED: "bold red",
    Status.WARNED: "yellow",
    Status.SKIPPED: "dim",
    Status.ERROR: "magenta",
}
VERDICTS = {
    Verdict.CONFORMANT: "bold green",
    Verdict.NON_CONFORMANT: "bold red",
    Verdict.INCONCLUSIVE: "bold magenta",
}
LINE_INTERVAL_S = 10.0
"""Seconds between two lines of a lane's progress if the output is not a terminal."""


def lane_view(progress: LaneProgress) -> Group:
    """Returns a lane's progress: its line, with its table below."""
    table = Table(box=None)
    for number, heading in enumerate(progress.table.columns):
        table.add_column(heading, justify="right" if number else "left")
    for row in progress.table.rows:
        table.add_row(*row)
    return Group(Text(progress.line), table)


class Live:
    """Listens to the events of a run and shows them on `console`."""

    def __init__(self, console: Console, *, quiet: bool = False, verbose: bool = False, part: bool = False) -> None:
        """Prepares the view; `part`: the run is one of several, whose certificate names target and profiles."""
        self._console, self._quiet, self._verbose, self._part = console, quiet, verbose, part
        self._progress: Bar | None = None
        self._lane_view: Display | None = None
        self._next_line = 0.0
        """The time of the next progress line of a lane, in seconds on the run's clock."""
        self._running: set[str] = set()
        self._finished: set[str] = set()

    def __call__(self, event: events.Event) -> None:
        """Shows one event."""
        match event:
            case events.RunStarted():
                if not self._quiet:
                    self._print(*terminal.opening(event, part=self._part), "")
                    self._start_bar(len(event.behaviours))
            case events.BehaviourStarted():
                self._running.add(event.id)
                self._show_running()
            case events.BehaviourFinished():
                self._running.discard(event.result.id)
                self._show_result(event.result)
                self._finished.add(event.result.id)
            case events.Noted():
                if not self._quiet:
                    self._print(f"note       {event.text}")
            case events.Progressed():
                self._show_progress(event.progress)
            case events.RunFinished():
                self.end()
                self._summary(event.report)

    def end(self) -> None:
        """Removes the progress bar, also after an interrupted run."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        if self._lane_view is not None:
            self._lane_view.stop()
            self._lane_view = None

    def _show_progress(self, progress: LaneProgress) -> None:
        """Updates the figures on a terminal; elsewhere prints a line every `LINE_INTERVAL_S` seconds."""
        if self._console.is_terminal and not self._verbose:
            if self._lane_view is None:
                self.end()
                self._lane_view = Display(console=self._console, transient=True, auto_refresh=False)
                self._lane_view.start()
            self._lane_view.update(lane_view(progress), refresh=True)
        elif not self._quiet and progress.at >= self._next_line:
            self._next_line = progress.at + LINE_INTERVAL_S
            self._print(progress.line)

    def _start_bar(self, total: int) -> None:
        if not self._console.is_terminal or self._verbose:
            return
        self._progress = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=self._console,
            transient=True,
        )
        self._progress.add_task("", total=total)
        self._progress.start()

    def _show_result(self, result: Result) -> None:
        if self._progress is not None:
            if result.id not in self._finished:
                self._progress.advance(self._progress.task_ids[0])
            self._show_running()
            if result.status is Status.FAILED:
                self._print_result(result)
        elif not self._quiet:
            self._print_result(result)
        if self._verbose:
            self._print(*(f"    {call.started:9.3f}s  {one_line(call)}" for call in result.calls))

    def _show_running(self) -> None:
        if self._progress is not None:
            running = sorted(self._running)
            more = f" +{len(running) - 6}" if len(running) > 6 else ""
            self._progress.update(self._progress.task_ids[0], description=" ".join(running[:6]) + more)

    def _print_result(self, result: Result) -> None:
        line = terminal.result_line(result)
        text = Text(line)
        text.stylize(STYLES[result.status], 0, 8)
        self._console.print(text, soft_wrap=True)

    def _summary(self, report: Report) -> None:
        if not self._quiet:
            self._print("")
        for line in terminal.findings(report):
            text = Text(line)
            word = line.split(" ", 1)[0]
            if word in ("FAILED", "WARNED"):
                text.stylize(STYLES[Status(word.lower())])
            self._console.print(text, soft_wrap=True)
        lines = terminal.closing(report, part=self._part)
        verdict = Text(lines[0])
        verdict.stylize(VERDICTS[report.verdict], 11, 11 + len(report.verdict.value))
        self._console.print(verdict, soft_wrap=True)
        for line in lines[1:]:
            self._console.print(Text(line, style="bold red" if line.startswith("WAIVER") else ""), soft_wrap=True)

    def _print(self, *lines: str) -> None:
        for line in lines:
            self._console.print(Text(printable(line)), soft_wrap=True)
