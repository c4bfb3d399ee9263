"""One trial on a worker: run it, and record its result or its failure.

`run_trial` is a generator: the executor (Ray, or a loop in this process) decides how often to read the progress, and
may stop between two steps. Torch is imported inside functions, so that planning never loads it.
"""

from __future__ import annotations

import contextlib
import platform
import shutil
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.environment import describe
from ablate.record import AttemptFolder, Failure, RecordError, Result, TrialFolder
from ablate.run.job import Job, Progress
from ablate.run.start import Start
from ablate.run.worker.causes import failure_class
from ablate.run.worker.video_lmm import device_type, run_video_lmm

if TYPE_CHECKING:
    from models.training import Ranks


def run_trial(job: Job, attempt: AttemptFolder, ranks: Ranks | None = None) -> Iterator[Progress]:
    """Run one attempt of a trial and record it; the last progress is `done` or `failed`, never an exception.

    Results depend only on the job's config: every random draw comes from its seed. With several processes each runs
    this function; the first one records the result, and the first that fails its failure.

    Args:
        job: the trial.
        attempt: the attempt's folder, the same for all processes.
        ranks: this process among those of the trial, if their group is open; else it is opened here, as torchrun's
            environment says, and closed after the end was recorded.
    """
    start = Start()
    with contextlib.ExitStack() as group:
        try:
            folder = TrialFolder(Path(job.folder))
            if folder.result() is not None:
                folder.remove_checkpoints()
            else:
                from models import training

                ranks = ranks or group.enter_context(training.ranks(device_type(job)))
                yield from _run(job, attempt, ranks, start)
        except Exception as error:  # noqa: BLE001 - any error of a trial is recorded, and the sweep continues
            failure = _failure(error, attempt.number, start, ranks)
            with contextlib.suppress(OSError):  # a full disk; who reads the progress learns of the failure
                _record(attempt, failure)
            yield Progress(phase="failed", detail=failure.message)
            return
    yield Progress(phase="done")


def _run(job: Job, attempt: AttemptFolder, ranks: Ranks, start: Start) -> Iterator[Progress]:
    """Run the attempt; the first process records the result."""
    outcome = yield from run_video_lmm(job, attempt, ranks)
    if ranks.rank:
        return
    result = Result(
        key=job.key,
        attempt=attempt.number,
        scores=outcome.scores,
        seconds=start.seconds,
        started_at=start.at,
        ended_at=time.time(),
        environment=describe() | outcome.environment | {"threads": str(job.threads_of_process)},
        counts=outcome.counts,
    )
    folder = TrialFolder(Path(job.folder))
    try:
        folder.finish(result)
    except FileExistsError:  # an attempt that was given up but went on was first
        shutil.rmtree(attempt.weights, ignore_errors=True)
    folder.remove_checkpoints()


def _record(attempt: AttemptFolder, failure: Failure) -> None:
    """Record a failure, unless another process has failed before: it is the cause.

    A broken connection to a process that has failed is of class `code`, so any other class takes its place.
    """
    with contextlib.suppress(RecordError):
        earlier = attempt.failure()
        if earlier is not None and (earlier.kind != "code" or failure.kind == "code"):
            return
    attempt.log_line(f"failed ({failure.kind}): {failure.message}")
    attempt.fail(failure)


def _failure(error: Exception, attempt: int, start: Start, ranks: Ranks | None) -> Failure:
    """The record of an error, made while it is handled."""
    which = f"process {ranks.rank} of {ranks.size}: " if ranks is not None and ranks.size > 1 else ""
    return Failure(
        attempt=attempt,
        kind=failure_class(error),
        message=which + (str(error) or type(error).__name__),
        traceback=traceback.format_exc(),
        seconds=start.seconds,
        ended_at=time.time(),
        node=platform.node(),
        environment=describe(),
    )
