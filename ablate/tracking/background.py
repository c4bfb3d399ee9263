"""Mirrors a study to MLflow in a thread of its own, so that a slow, hanging or absent server delays no sweep.

The thread opens the store, writes what earlier sweeps could not write, and then each trial that changes. It reads the
trial folders itself: the sweep only names the trials, and a trial that changes often is written as often as the server
allows. An error is noted and the write repeated: after other trials, and after a pause if the store does not work.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ablate.paths import StudyPaths
from ablate.record import About, StudyFacts
from ablate.tracking.encode import SweepSummary
from ablate.tracking.location import absolute_uri, without_password
from ablate.tracking.problems import is_refusal, problem_of_write
from ablate.tracking.tasks import Kind, Task, Tasks

if TYPE_CHECKING:
    from ablate.tracking.mirror import Mirror

FLUSH_S = 2.0
"""Minimum time between writes of one trial's training curve, in seconds."""
FIRST_PAUSE_S = 2.0
"""Pause after the store did not work, in seconds; each further one is twice as long."""
LONGEST_PAUSE_S = 60.0
LAST_TRIES = 2
"""Number of failures of the store in a row after which the rest is given up, once the sweep has ended."""


@dataclass(frozen=True, kw_only=True)
class MirrorReport:
    """What a sweep's mirror has not written."""

    uri: str
    """MLflow's tracking URI, without a password."""
    missed: int
    """Trials whose latest state is not in MLflow."""
    problem: str | None
    """Why, and the fix; None if everything is written."""


class BackgroundMirror:
    """The mirror of a sweep, which learns which trials have changed, and reads their folders itself.

    No method raises or waits for MLflow; `close` waits for a limited time.
    """

    def __init__(self, paths: StudyPaths, uri: str | None, study_facts: StudyFacts) -> None:
        """Start the thread.

        Args:
            paths: the study; the caller has its lock.
            uri: MLflow's tracking URI; by default `paths.store_uri()`.
            study_facts: facts about the whole study.

        Raises:
            UsageError: MLflow has no such URIs.
        """
        self._paths, self._facts = paths, study_facts
        self._uri = absolute_uri(uri)
        self._tasks = Tasks(FLUSH_S)
        self._failures_in_a_row = 0
        self._problem: str | None = None  # why the store did not work the last time
        threading.Thread(target=self._run, name="mlflow-mirror", daemon=True).start()

    # --- called by the sweep --------------------------------------------------------------------

    def adopt(self, about: About) -> None:
        """Add the axes of this sweep to the run of a trial that another sweep ran."""
        self._tasks.add(Task(kind="axes", key=about.key, write=partial(_adopt, about)))

    def changed(self, key: str, *, is_running: bool) -> None:
        """The folder of a trial has changed: it started, has new points of its curve, or ended.

        Args:
            key: the trial.
            is_running: whether an attempt is running; otherwise its latest attempt has ended.
        """
        self._tasks.add(_trial_task("running" if is_running else "ended", key))

    def summarise(self, summary: SweepSummary) -> None:
        """Write the summary of the sweep."""
        self._tasks.add(Task(kind="summary", key=summary.sweep, write=lambda mirror: mirror.write_summary(summary)))

    def close(self, wait_s: float) -> MirrorReport:
        """Write what is left, for at most `wait_s` seconds; a call that hangs after that ends with the process."""
        self._tasks.close(wait_s)
        unfinished, uri = self._tasks.unfinished(), without_password(self._uri)
        missed = len({task.key for task in unfinished if task.kind in ("running", "ended")})
        if not unfinished and self._problem is None:
            return MirrorReport(uri=uri, missed=0, problem=None)
        refusals = self._tasks.refusals()
        if self._problem is None and refusals:
            further = f", and {len(refusals) - 1} more" if len(refusals) > 1 else ""
            reason = f"{refusals[0]}{further}"
        else:
            reason = self._problem or f"MLflow at {uri} did not take everything within {wait_s:g} s"
        again = "; run the sweep again to write its summary" if any(t.kind == "summary" for t in unfinished) else ""
        fix = f"the folders contain everything, and `ablate sync {self._paths.name}` writes what is missing{again}"
        return MirrorReport(uri=uri, missed=missed, problem=f"{reason}; {fix}")

    # --- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            mirror = self._open()
            while mirror is not None and (task := self._tasks.take()) is not None:
                if not self._write(mirror, task):
                    break
        except BaseException as error:  # noqa: BLE001 - a thread's exception would be lost
            self._problem = f"the mirror to MLflow ended: {problem_of_write(self._uri, error)}"
        finally:
            self._tasks.end()

    def _open(self) -> Mirror | None:
        """The mirror, once the store works; None if it never did. Adds the trials that earlier sweeps ran."""
        while not self._tasks.is_abandoned:
            try:
                from ablate.tracking.mirror import Mirror  # imports mlflow, which takes seconds

                mirror = Mirror.open(self._paths, self._uri, self._facts)
                for key in mirror.trial_keys():
                    if key not in mirror.deleted:
                        self._tasks.add_earlier(_trial_task("ended", key))
            except Exception as error:  # noqa: BLE001 - mlflow, sqlalchemy and requests raise unrelated types
                if not self._tolerates(error):
                    return None
            else:
                self._failures_in_a_row, self._problem = 0, None
                return mirror
        return None

    def _write(self, mirror: Mirror, task: Task) -> bool:
        """Do a task, or put it back; returns whether to go on."""
        try:
            try:
                task.write(mirror)
            except Exception as error:
                if not is_refusal(error):
                    raise
                mirror.check()
                self._tasks.refuse(task, f"{task.key}: {problem_of_write(self._uri, error)}")
                return True
        except Exception as error:  # noqa: BLE001 - as above
            self._tasks.postpone(task)
            return self._tolerates(error)
        self._tasks.done(task)
        self._failures_in_a_row, self._problem = 0, None
        return True

    def _tolerates(self, error: Exception) -> bool:
        """Note that the store does not work, and pause; returns whether to try again."""
        self._failures_in_a_row += 1
        self._problem = problem_of_write(self._uri, error)
        is_closing = self._tasks.is_closing
        if is_closing and self._failures_in_a_row >= LAST_TRIES:
            return False
        self._tasks.pause(min(FIRST_PAUSE_S * 2 ** (self._failures_in_a_row - 1), LONGEST_PAUSE_S))
        if self._tasks.is_closing and not is_closing:
            self._failures_in_a_row = 0  # the last tries begin
        return True


def _trial_task(kind: Kind, key: str) -> Task:
    return Task(kind=kind, key=key, write=partial(_show_running if kind == "running" else _show_ended, key))


def _show_running(key: str, mirror: Mirror) -> None:
    mirror.show_running(key)


def _show_ended(key: str, mirror: Mirror) -> None:
    record = mirror.record(key)
    if record is not None:
        mirror.require_not_deleted(key)
        mirror.write(record)


def _adopt(about: About, mirror: Mirror) -> None:
    record = mirror.record(about.key)
    if record is not None:  # an earlier sweep may not have written it
        mirror.write(record)
    mirror.adopt(about)
