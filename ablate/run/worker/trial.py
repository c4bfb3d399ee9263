"""One trial on a worker: run it, and record its result or its failure.

`run_trial` is a generator: the executor (Ray, or a loop in this process) decides how often to read the progress, and
may stop between two steps. Torch is imported inside functions, so that planning never loads it.
"""

from __future__ import annotations

import contextlib
import platform
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from ablate.environment import describe
from ablate.record import AttemptFolder, Failure, Result, TrialFolder
from ablate.run.job import Job, Progress
from ablate.run.start import Start
from ablate.run.worker.causes import failure_class
from ablate.run.worker.video_lmm import run_video_lmm


def run_trial(job: Job, attempt: AttemptFolder) -> Iterator[Progress]:
    """Run one attempt of a trial and record it; the last progress is `done` or `failed`, never an exception.

    Results depend only on the job's config: every random draw comes from its seed.
    """
    folder, start = TrialFolder(Path(job.folder)), Start()
    try:
        if folder.result() is not None:
            folder.remove_checkpoints()
            yield Progress(phase="done")
            return
        outcome = yield from run_video_lmm(job, attempt)
        result = Result(
            key=job.key,
            attempt=attempt.number,
            scores=outcome.scores,
            seconds=start.seconds,
            started_at=start.at,
            ended_at=time.time(),
            environment=describe() | outcome.environment | {"threads": str(job.threads)},
            counts=outcome.counts,
        )
        with contextlib.suppress(FileExistsError):  # an attempt that was given up but went on was first
            folder.finish(result)
        folder.remove_checkpoints()
    except Exception as error:  # noqa: BLE001 - any error of a trial is recorded, and the sweep continues
        failure = _failure(error, attempt.number, start)
        with contextlib.suppress(OSError):  # a full disk; who reads the progress learns of the failure
            attempt.log_line(f"failed ({failure.kind}): {failure.message}")
            attempt.fail(failure)
        yield Progress(phase="failed", detail=failure.message)
    else:
        yield Progress(phase="done")


def _failure(error: Exception, attempt: int, start: Start) -> Failure:
    """The record of an error, made while it is handled."""
    return Failure(
        attempt=attempt,
        kind=failure_class(error),
        message=str(error) or type(error).__name__,
        traceback=traceback.format_exc(),
        seconds=start.seconds,
        ended_at=time.time(),
        node=platform.node(),
        environment=describe(),
    )
