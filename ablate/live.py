"""The live view of a sweep: who is done, running, waiting, failed; what each running trial is at; the time left.

On a terminal a table that redraws itself; elsewhere one line an event, without colours. Goes to stderr, so that
stdout stays for results.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ablate.job import Job, Progress

PHASE_SHARE = {"preparing": 0.02, "training": 0.92, "testing": 1.0}
"""Part of a trial that is over at the end of each phase, roughly; only the time left is estimated with it."""


@dataclass
class Running:
    """A trial that a worker has."""

    job: Job
    since: float
    progress: Progress = field(default_factory=lambda: Progress(phase="preparing"))

    def fraction(self) -> float:
        """Rough share of the trial that is over."""
        p = self.progress
        part = p.step / p.steps if p.steps else 0.0
        starts = {"preparing": 0.0, "training": PHASE_SHARE["preparing"], "testing": PHASE_SHARE["training"]}
        start = starts.get(p.phase, 1.0)
        return start + part * (PHASE_SHARE.get(p.phase, 1.0) - start)


class Board:
    """What the view shows, kept apart from how; fed with events.

    The view draws from a thread of its own, so everything that is iterated over is copied first.
    """

    def __init__(self, jobs: list[Job], clock: Callable[[], float] = time.monotonic) -> None:
        self.jobs = {job.key: job for job in jobs}
        self.running: dict[str, Running] = {}
        self.done: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self._most_at_once = 1
        self.clock = clock
        self.began = clock()

    def started(self, job: Job) -> None:
        """A worker has taken the job."""
        self.running[job.key] = Running(job, self.clock())
        self._most_at_once = max(self._most_at_once, len(self.running))

    def progressed(self, job: Job, progress: Progress) -> None:
        """The job is at this point."""
        self.running.setdefault(job.key, Running(job, self.clock())).progress = progress

    def finished(self, job: Job) -> None:
        """The job is done."""
        self.done[job.key] = self.clock() - self.running.pop(job.key, Running(job, self.clock())).since

    def attempt_failed(self, job: Job, message: str, *, retried: bool) -> None:
        """An attempt failed, for good or to be tried again."""
        self.running.pop(job.key, None)
        if not retried:
            self.failed[job.key] = message

    @property
    def waiting(self) -> list[Job]:
        """Jobs that nobody has taken yet, or that wait to be tried again."""
        settled = self.done.keys() | self.failed.keys() | self.running.keys()
        return [job for key, job in self.jobs.items() if key not in settled]

    def seconds_left(self) -> float | None:
        """Estimate from the trials that are done and the progress of those that run; None before any is known."""
        known: dict[str, list[float]] = {}
        for key, seconds in list(self.done.items()):
            known.setdefault(_scale(self.jobs[key]), []).append(seconds)
        now = self.clock()
        for run in list(self.running.values()):
            if run.fraction() > 0.1:
                known.setdefault(_scale(run.job), []).append((now - run.since) / run.fraction())
        if not known:
            return None
        mean = {scale: sum(times) / len(times) for scale, times in known.items()}
        typical = sum(mean.values()) / len(mean)
        left = [mean.get(_scale(job), typical) for job in self.waiting]
        left += [mean.get(_scale(r.job), typical) * (1 - r.fraction()) for r in list(self.running.values())]
        return sum(left) / self._most_at_once if left else 0.0

    def waits_for(self) -> str:
        """What keeps the waiting trials from running."""
        if not self.waiting:
            return ""
        first = self.waiting[0]
        busy_cpus = sum(r.job.cpus for r in list(self.running.values()))
        busy_gpus = sum(r.job.gpus for r in list(self.running.values()))
        wants = f"{first.cpus:g} CPU" + (f" + {first.gpus:g} GPU" if first.gpus else "")
        if not self.running:
            return f"next: {first.label} waits for a worker to start ({wants})"
        held = f"{busy_cpus:g} CPU" + (f" + {busy_gpus:g} GPU" if busy_gpus else "")
        return f"next: {first.label} waits for {wants}; running trials hold {held}"


def _scale(job: Job) -> str:
    return str(job.config["scale"])


def clock_time(seconds: float) -> str:
    """`2:05` or `1:02:05`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def draw(board: Board, study: str) -> RenderableType:
    """The board as a terminal sees it."""
    left = board.seconds_left()
    counts = Text.assemble(
        (study, "bold"),
        "  ",
        (f"{len(board.done)} done", "green"),
        " / ",
        (f"{len(board.running)} running", "cyan"),
        " / ",
        f"{len(board.waiting)} waiting",
        " / ",
        (f"{len(board.failed)} failed", "bold red" if board.failed else ""),
        f"   {clock_time(board.clock() - board.began)} gone",
        f", about {clock_time(left)} left" if left is not None else "",
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("running", "at", "step"):
        table.add_column(name, no_wrap=True)
    for name in ("loss", "samples/s", "time"):
        table.add_column(name, justify="right")
    for run in list(board.running.values()):
        p = run.progress
        table.add_row(
            run.job.label,
            f"{p.phase}: {p.detail}" if p.detail else p.phase,
            f"{p.step}/{p.steps}" if p.steps else "",
            f"{p.loss:.3f}" if p.loss is not None else "",
            f"{p.samples_per_s:.0f}" if p.samples_per_s else "",
            clock_time(board.clock() - run.since),
        )
    ended = len(board.done) + len(board.failed) + sum(r.fraction() for r in list(board.running.values()))
    bar = ProgressBar(total=max(1, len(board.jobs)), completed=ended, width=60)
    return Group(
        counts,
        Padding(bar, 0),  # a bar alone does not end its line
        table,
        Text(board.waits_for(), style="dim"),
    )


class View:
    """Shows a board while a sweep runs."""

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
        self._live.stop()

    def say(self, line: str) -> None:
        """One line of what happened, above the live table or on its own."""
        counts = f"[{len(self._board.done)}/{len(self._board.jobs)}]"
        self._console.print(Text(f"{counts} {line}"), soft_wrap=True)

    def started(self, job: Job) -> None:
        """See `Board`."""
        self._board.started(job)
        if not self._console.is_terminal:
            self.say(f"{job.label} started")

    def progressed(self, job: Job, progress: Progress) -> None:
        """See `Board`."""
        self._board.progressed(job, progress)
        if not self._console.is_terminal and progress.phase != self._phases.get(job.key):
            self._phases[job.key] = progress.phase
            if progress.phase in ("training", "testing"):
                self.say(f"{job.label} {progress.phase}")

    def finished(self, job: Job, summary: str) -> None:
        """See `Board`."""
        self._board.finished(job)
        took = clock_time(self._board.done[job.key])
        left = self._board.seconds_left()
        ahead = f", about {clock_time(left)} left" if left and self._board.waiting else ""
        self.say(f"{job.label} done in {took}: {summary}{ahead}")

    def attempt_failed(self, job: Job, message: str, *, retried: bool) -> None:
        """See `Board`."""
        self._board.attempt_failed(job, message, retried=retried)
        self.say(f"{job.label} failed: {message}" + ("; trying once more" if retried else ""))
