"""One trial on a worker, a page to be read from top to bottom: prepare, build, train, evaluate, record.

`run_trial` is a generator: whoever drives it (Ray, or a loop in this process) decides how often to look, and
may stop between two steps. Torch is imported inside, so that planning never loads it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from ablate.environment import describe
from ablate.record import Failure, TrialFolder
from ablate.run.job import Job, Progress
from ablate.run.worker.video_lmm import _failure_class, _run


def run_trial(job: Job) -> Iterator[Progress]:
    """Run one trial and record it in its folder; ends with `done` or `failed`, never with an exception.

    The numbers depend on the job's config alone: every random draw comes from its seed.
    """
    folder = TrialFolder(Path(job.folder))
    if folder.result() is not None:
        yield Progress(phase="done")
        return
    attempt, started = folder.begin(), time.time()
    try:
        result = yield from _run(job, folder, attempt, started)
        folder.finish(result)
    except Exception as error:  # noqa: BLE001 - whatever a trial dies of is recorded, and the sweep goes on
        message = str(error) or type(error).__name__
        folder.fail(
            Failure(
                attempt=attempt,
                kind=_failure_class(error),
                message=message,
                traceback=traceback.format_exc(),
                seconds=time.time() - started,
                ended_at=time.time(),
                environment=describe(),
            )
        )
        yield Progress(phase="failed", detail=message)
    else:
        yield Progress(phase="done")
