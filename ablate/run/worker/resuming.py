"""Checkpoints of a trial: when they are saved, and how its next attempt goes on from one."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ablate.record import AttemptFolder, TrialFolder
from ablate.run.job import Job
from ablate.run.worker.curve import TrainingCurve

if TYPE_CHECKING:
    from models.training import Checkpoint, Step, Training

STAGE_S = 60.0
"""A stage's end is saved if this many seconds of work would be lost, or as many as the interval if that is shorter."""


class TrialCheckpoints:
    """The checkpoints of an attempt, in its folder; those of earlier attempts of the trial are read, too.

    A checkpoint belongs to a trial's key, the digest of its config and of the versions of the code, so that none of
    another config is used. An attempt that was given up but still runs writes into its own folder, and removes no
    checkpoint of a later attempt.
    """

    def __init__(self, job: Job, attempt: AttemptFolder, training: Training, curve: TrainingCurve) -> None:
        """Save nothing yet.

        Args:
            job: has the trial's folder and key, and the interval.
            attempt: the attempt.
            training: its training, before the first step.
            curve: its training curve, which goes on from a checkpoint too.
        """
        from models.training import CheckpointStore

        self._job, self._attempt, self._training, self._curve = job, attempt, training, curve
        self._folder = TrialFolder(Path(job.folder))
        self._store = CheckpointStore(attempt.checkpoints, job.key, training.engine.ranks, self._ended)
        self._last = time.monotonic()
        self.facts: dict[str, str] = {}
        """Where the attempt was resumed, for the environment of a result; empty if it began at the first step."""

    def __enter__(self) -> TrialCheckpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the checkpoint that is being written, also after a failure: the next attempt needs it."""
        self._store.wait()

    def resume(self) -> None:
        """Let training and curve go on from the checkpoint with the most steps that earlier attempts have left."""
        earlier = [one.checkpoints for one in self._folder.attempts() if one.number < self._attempt.number]
        choice = self._store.resume(self._training, earlier, self._skipped)
        if choice is None:
            return
        checkpoint, values = choice
        writer = AttemptFolder(checkpoint.path.parents[1])
        points = list(values["points"])
        last = points[-1]["step"] if points else 0
        points += [point for point in writer.events() if point.get("step", 0) > last]
        if self._training.engine.ranks.rank == 0:
            for point in points:
                self._attempt.event(point)
        self._curve.restore(values["curve"], int(points[-1]["step"]) if points else 0)
        self.facts = {"resumed": f"at step {checkpoint.step} of attempt {writer.number}"}
        self._log(f"resumed at step {checkpoint.step} of attempt {writer.number}")

    def after(self, step: Step) -> None:
        """Save the position after a step, if it is time; returns before it is written."""
        if step.is_shared:  # other trials have computed these, and compute them again at no cost
            return
        stage, since_s = self._training.stage, time.monotonic() - self._last
        assert stage is not None
        is_end = stage.done == stage.steps
        every_s = self._job.checkpoint_s
        # a checkpoint counts once it is written, so the next one begins that much earlier
        is_due = since_s >= max(every_s / 2, every_s - self._store.write_s)
        is_due = is_due or (is_end and since_s >= min(every_s, STAGE_S))
        is_refused = is_due and ((self._store.is_busy and not is_end) or self._is_done())
        due, refused = self._training.engine.total(float(is_due), float(is_refused))  # the same on all ranks
        if due and not refused:
            self._last = time.monotonic()
            values: dict[str, Any] = {"curve": self._curve.state(), "points": self._attempt.events()}
            self._store.save(self._training, values)

    def _is_done(self) -> bool:
        """Whether another attempt has finished the trial, which removes all checkpoints."""
        return (self._folder.path / "result.json").exists()

    def _ended(self, step: int, problem: str | None) -> None:
        """Called in the thread that writes, when a checkpoint is written or could not be."""
        from models.training import checkpoints_in, prune

        if problem is not None:
            self._log(f"the checkpoint at step {step} could not be saved, and the training goes on: {problem}")
            return
        until = [one.checkpoints for one in self._folder.attempts() if one.number <= self._attempt.number]
        prune([one for folder in until for one in checkpoints_in([folder], self._job.key)])

    def _skipped(self, checkpoint: Checkpoint, problem: str) -> None:
        attempt = checkpoint.path.parents[1].name
        self._log(f"the checkpoint at step {checkpoint.step} of attempt {attempt} cannot be used: {problem}")

    def _log(self, line: str) -> None:
        if self._training.engine.ranks.rank == 0:
            with contextlib.suppress(OSError):  # a full disk
                self._attempt.log_line(line)
