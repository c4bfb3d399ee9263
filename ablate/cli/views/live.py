"""The live view of a sweep: trials done, running, waiting and failed; progress of the running ones; the time left.

On a terminal this is a table that redraws itself, elsewhere one line per event without colours. It goes to stderr:
stdout is for results.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablate.cli.views.out import clock_time, short_number
from ablate.record import Failure
from ablate.run import Board, Job, Progress, Running

MOST_ROWS = 30
"""Most running trials in the table: more do not fit on a terminal."""


def draw(board: Board, study: str) -> RenderableType:
    """The board as text, a progress bar and a table."""
    left, runs = board.seconds_left(), board.runs()
    counts = Text.assemble(
        (study, "bold"),
        "  ",
        (f"{board.num_done} done", "green"),
        " / ",
        (f"{len(board.running)} running", "cyan"),
        " / ",
        f"{board.num_waiting} waiting",
        " / ",
        (f"{board.num_failed} failed", "bold red" if board.num_failed else ""),
        f"   {clock_time(board.clock() - board.began)} elapsed",
        f", about {clock_time(left)} left" if left is not None else "",
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("running", "at", "step"):
        table.add_column(name, no_wrap=True)
    for name in ("loss", "samples/s", "tokens/s", "time"):
        table.add_column(name, justify="right")
    for run in runs[:MOST_ROWS]:
        table.add_row(*_cells(run), clock_time(board.clock() - run.since))
    if len(runs) > MOST_ROWS:
        table.add_row(f"and {len(runs) - MOST_ROWS} more", style="dim")
    bar = ProgressBar(total=max(1, board.total), completed=board.ended(), width=60)
    return Group(
        counts,
        Padding(bar, 0),  # a bar alone does not end its line
        table,
        Text(board.waits_for(), style="dim"),
    )


def _cells(run: Running) -> tuple[str, ...]:
    """A running trial's row, without its time."""
    p = run.progress
    return (
        run.job.label,
        f"{p.phase}: {p.detail}" if p.detail else p.phase,
        f"{p.step}/{p.steps}" if p.steps else "",
        f"{p.loss:.3f}" if p.loss is not None else "",
        f"{p.samples_per_s:.0f}" if p.samples_per_s else "",
        short_number(p.tokens_per_s) if p.tokens_per_s else "",
    )


class View:
    """Shows a board while a sweep runs. Its events are those of `Board`."""

    def __init__(self, board: Board, study: str, console: Console) -> None:
        self._board, self._study, self._console = board, study, console
        self._live = Live(
            get_renderable=lambda: draw(board, study), console=console, refresh_per_second=4, transient=True
        )
        self._phases: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # the terminal was closed
            self._live.stop()

    def say(self, line: str) -> None:
        """Print one line about an event, above the live table if there is one."""
        counts = f"[{self._board.num_done}/{self._board.total}]"
        self._print(f"{counts} {line}")

    def _print(self, line: str) -> None:
        try:
            self._console.print(Text(line), soft_wrap=True)
        except OSError:  # the terminal was closed: the sweep goes on
            self._console.quiet = True

    def started(self, job: Job) -> None:
        """A worker has started the job."""
        self._board.started(job)
        self._phases.pop(job.key, None)
        if not self._console.is_terminal:
            self.say(f"{job.label} started")

    def progressed(self, job: Job, progress: Progress) -> None:
        """The job has reached a point; elsewhere than on a terminal only a new phase is printed."""
        self._board.progressed(job, progress)
        if not self._console.is_terminal and progress.phase != self._phases.get(job.key):
            self._phases[job.key] = progress.phase
            if progress.phase in ("training", "testing"):
                self.say(f"{job.label} {progress.phase}")

    def finished(self, job: Job, summary: str) -> None:
        """The job is done; `summary` is its score."""
        duration = clock_time(self._board.finished(job))
        left = self._board.seconds_left()
        remaining = f", about {clock_time(left)} left" if left and self._board.num_waiting else ""
        self.say(f"{job.label} done in {duration}: {summary}{remaining}")

    def attempt_failed(self, job: Job, failure: Failure, *, retried: bool) -> None:
        """An attempt failed, for good or to be retried."""
        self._board.attempt_failed(job, retried=retried)
        node = f" on {failure.node}" if failure.node else ""
        again = "it is retried" if retried else "not retried"
        self.say(f"{job.label} failed ({failure.kind}{node}): {failure.message}; {again}")

    def note(self, message: str) -> None:
        """Something that people should know, such as a node that is left out."""
        self._print(f"note: {message}")

    def stopped(self, message: str) -> None:
        """No more trials start."""
        self._board.stop()
        self._print(message)
