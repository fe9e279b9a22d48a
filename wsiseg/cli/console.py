"""What every command shares: the console, progress bars, summaries, and the way to fail."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import NoReturn

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from wsiseg.outcome import Outcome

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def setup_logging(*, verbose: bool, debug: bool) -> None:
    """Warnings always, information with ``--verbose``, tracebacks with ``--debug``, all on stderr."""
    logger = logging.getLogger("wsiseg")
    logger.setLevel(logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING)
    logger.handlers = [RichHandler(console=stderr, show_path=False, show_time=verbose)]


_WIDE = 110
"""Columns of a terminal that has room for all of a bar and a note behind it."""


class _Note(ProgressColumn):
    """The note of a bar, cut short where there is no room; a column of text would shorten all others too."""

    def render(self, task: Task) -> Text:
        """What the column shows."""
        return Text(str(task.fields.get("note", "")), no_wrap=True, overflow="ellipsis")


class ConsoleProgress:
    """Draws ``wsiseg.progress.Progress`` as a bar on stderr."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, note="", visible=False)

    def start(self, description: str, total: int | None) -> None:
        """Begin a new bar; the one before stays, finished."""
        self._bars.stop_task(self._task)
        self._task = self._bars.add_task(description, total=total, note="")

    def advance(self, units: int = 1, note: str | None = None) -> None:
        """Move the bar."""
        if note is None:
            self._bars.advance(self._task, units)
        else:
            self._bars.update(self._task, advance=units, note=note)


@contextmanager
def progress_bars() -> Iterator[ConsoleProgress]:
    """A place on stderr for bars, quiet with ``--quiet``; plain and sparse where stderr is no terminal."""
    root = click.get_current_context().find_root()
    wide = stderr.width >= _WIDE
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28 if wide else 8),
        MofNCompleteColumn(),
        *([TimeElapsedColumn()] if wide else []),
        TimeRemainingColumn(),
        _Note(),
    ]
    quiet = bool(root.obj and root.obj.get("quiet"))
    with RichProgress(*columns, console=stderr, disable=quiet, refresh_per_second=4) as bars:
        yield ConsoleProgress(bars)


def print_outcomes(outcomes: Sequence[Outcome], report: Path | None = None) -> None:
    """One row a slide: status, counts, seconds, and the reason where it did not go well."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("slide", "status", "result", "seconds"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="fold")
    colours = {"ok": "green", "failed": "red", "skipped": "yellow"}
    for outcome in outcomes:
        counts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in outcome.counts.items())
        table.add_row(
            escape(PurePath(outcome.slide).name),
            f"[{colours[outcome.status]}]{outcome.status}[/]",
            escape(outcome.reason or counts),
            f"{outcome.seconds:.1f}",
        )
    stdout.print(table)
    if report is not None:
        stdout.print(f"report: {report}", soft_wrap=True, markup=False)


def exit_for(outcomes: Sequence[Outcome]) -> None:
    """Leave with exit code 1 when a slide failed, each named on stderr with its reason."""
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failed:
        reason = outcome.reason or "failed"
        # Most reasons name the slide themselves; twice would not be clearer.
        named = PurePath(outcome.slide).name in reason
        text = reason if named else f"{outcome.slide}: {reason}"
        stderr.print(f"wsiseg: {text}", style="red", soft_wrap=True, markup=False)
    if failed:
        sys.exit(1)


def fail(message: str, exit_code: int) -> NoReturn:
    """Print one line on stderr and leave."""
    stderr.print(f"wsiseg: {message}", style="red", soft_wrap=True, markup=False)
    sys.exit(exit_code)


_GOES_ON = "wsiseg.goes_on"

_INTERRUPTED = 130
"""What shells make of a command that Ctrl-C has ended: 128 and the number of the signal."""


def can_go_on(how: str = "the same command goes on where it stopped") -> None:
    """From here on, say this to who interrupts the command."""
    click.get_current_context().meta[_GOES_ON] = how


def leave_interrupted(context: click.Context) -> NoReturn:
    """Say how an interrupted command is gone on with, where it can be, and leave."""
    how = context.meta.get(_GOES_ON)
    text = f"stopped; {how}" if how else "stopped"
    stderr.print(f"wsiseg: {text}", style="yellow", soft_wrap=True, markup=False)
    context.exit(_INTERRUPTED)
