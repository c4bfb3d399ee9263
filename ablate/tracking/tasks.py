"""What a background mirror has still to write: a set of trials, not a list of events, so that it cannot grow.

It has at most one entry a trial and kind, however often the trial changes and however long the server is away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ablate.tracking.mirror import Mirror

Kind = Literal["running", "ended", "axes", "summary"]
"""Running and ended trials, axes of a trial that another sweep ran, the summary of the sweep."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing to write."""

    kind: Kind
    key: str
    """The trial; the sweep for a summary."""
    write: Callable[[Mirror], object]

    @property
    def name(self) -> tuple[str, str]:
        """Tasks of the same name replace each other: of a trial, only its latest state is written."""
        return ("trial" if self.kind in ("running", "ended") else self.kind, self.key)


class Tasks:
    """The tasks of a background mirror: the sweep's thread adds them, the mirror's thread takes them."""

    def __init__(self, interval_s: float) -> None:
        """Without any task.

        Args:
            interval_s: minimum time between two tasks `running` of one trial.
        """
        self._interval_s = interval_s
        self._changed = threading.Condition()
        self._due: dict[tuple[str, str], Task] = {}
        self._current: Task | None = None
        self._refused: dict[tuple[str, str], tuple[Task, str]] = {}
        self._running: set[str] = set()
        self._written_at: dict[str, float] = {}
        self._is_closing = self._is_abandoned = self._has_ended = False

    # --- the sweep's thread ---------------------------------------------------------------------

    def add(self, task: Task) -> None:
        """Add a task, in the place of one of the same name but another kind; one of the same kind stays unchanged."""
        with self._changed:
            if task.kind == "running":
                self._running.add(task.key)
            elif task.kind == "ended":
                self._running.discard(task.key)
            previous = self._due.get(task.name)
            if previous is None or previous.kind != task.kind:
                self._due.pop(task.name, None)  # to the end of the queue
                self._due[task.name] = task
                self._refused.pop(task.name, None)
                self._changed.notify_all()

    def close(self, wait_s: float) -> None:
        """Take no more tasks; wait until the mirror's thread has ended, for at most `wait_s` seconds."""
        with self._changed:
            self._is_closing = True
            for task, _ in self._refused.values():  # once more: a folder may be readable by now
                self._due.setdefault(task.name, task)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._has_ended, timeout=wait_s)
            self._is_abandoned = True

    def unfinished(self) -> list[Task]:
        """The tasks that are not done."""
        with self._changed:
            tasks = {task.name: task for task, _ in self._refused.values()} | self._due
            return list((tasks if self._current is None else tasks | {self._current.name: self._current}).values())

    def refusals(self) -> list[str]:
        """Why tasks were refused."""
        with self._changed:
            return [problem for _, problem in self._refused.values()]

    # --- the mirror's thread --------------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        """Whether the sweep has ended."""
        return self._is_closing

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody waits any more; nothing may be written then."""
        return self._is_abandoned

    def add_earlier(self, task: Task) -> None:
        """Add a task of a trial that this sweep has not changed, unless it does so now."""
        with self._changed:
            if task.key not in self._running:
                self._due.setdefault(task.name, task)

    def take(self) -> Task | None:
        """Wait for the next task; None if there is none, and will be none.

        Trials that have ended come before new points of training curves.
        """
        with self._changed:
            while not self._is_abandoned:
                task, wait_s = self._next()
                if task is not None:
                    self._current = self._due.pop(task.name)
                    return task
                if self._is_closing and not self._due:
                    return None
                self._changed.wait(wait_s)
            return None

    def _next(self) -> tuple[Task | None, float | None]:
        """The task to do now, or the seconds until one is due; None if there is none."""
        first_wait_s: float | None = None
        now = time.monotonic()
        for task in self._due.values():
            if task.kind != "running":
                return task, None
        for task in self._due.values():
            wait_s = self._written_at.get(task.key, -self._interval_s) + self._interval_s - now
            if wait_s <= 0 or self._is_closing:
                return task, None
            first_wait_s = wait_s if first_wait_s is None else min(wait_s, first_wait_s)
        return None, first_wait_s

    def done(self, task: Task) -> None:
        """A task that was taken is done."""
        with self._changed:
            self._current = None
            self._refused.pop(task.name, None)
            if task.kind == "running":
                self._written_at[task.key] = time.monotonic()

    def refuse(self, task: Task, problem: str) -> None:
        """A task that was taken cannot be done; others can."""
        with self._changed:
            self._current = None
            self._refused[task.name] = (task, problem)

    def postpone(self, task: Task) -> None:
        """A task that was taken is to be tried again, after all others."""
        with self._changed:
            self._current = None
            self._due.setdefault(task.name, task)

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the sweep ends."""
        with self._changed:
            was_closing = self._is_closing
            self._changed.wait_for(lambda: self._is_abandoned or self._is_closing != was_closing, timeout=seconds)

    def end(self) -> None:
        """The mirror's thread ends."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
