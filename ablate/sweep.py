"""Run a plan: launch what is missing, mirror each trial to MLflow, say what came out."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ablate.errors import AblateError, UsageError
from ablate.job import Job, Progress
from ablate.launch import Listener
from ablate.live import View
from ablate.mirror import SweepSummary
from ablate.plan import Plan, about, job_of, make_plan, sweep_name
from ablate.record import Failure, FailureClass, TrialFolder, facts, folder_of, remember, sole_driver
from ablate.study import load_table, rankings
from ablate.tracking import Tracker, sync

if TYPE_CHECKING:
    import pandas as pd

Executor = Callable[[list[Job], Listener], None]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a sweep ended."""

    plan: Plan
    """As it stands afterwards."""
    lost: dict[str, str]
    """Label -> message of each trial that failed for good."""
    interrupted: bool
    rankings: list[pd.DataFrame]
    """Designs ranked at each scale; empty while nothing has finished."""
    store: str
    """MLflow's tracking URI."""
    problem: str | None
    """Why something could not be written to MLflow."""

    @property
    def exit_code(self) -> int:
        """0 all done, 1 something failed, 130 interrupted."""
        return 130 if self.interrupted else int(bool(self.lost))


class Conductor:
    """Hears what the executor does (`launch.Listener`); keeps folders, MLflow and the view in step."""

    def __init__(self, plan: Plan, tracker: Tracker, view: View) -> None:
        self._about = {p.trial.key: about(plan, p.trial) for p in plan.to_run}
        self._metric, self._tracker, self.view = plan.metric, tracker, view
        self._mirrored: dict[str, int] = {}
        self._running: dict[str, tuple[Job, float]] = {}
        self.lost: dict[str, str] = {}

    def started(self, job: Job) -> None:
        """A worker has taken the job."""
        self._running[job.key] = (job, time.time())
        self._mirrored[job.key] = 0
        self._tracker.start(self._about[job.key])
        self.view.started(job)

    def progressed(self, job: Job, progress: Progress) -> None:
        """The job is at this point."""
        self.view.progressed(job, progress)
        if progress.phase in ("training", "testing"):
            self._mirror_curve(job)

    def finished(self, job: Job) -> None:
        """The job's folder holds a result."""
        self._running.pop(job.key, None)
        self._mirror_curve(job)
        record = _folder(job).read()
        if record is None or record.result is None:
            raise AblateError(f"a worker finished {job.label}, but {job.folder} shows no result; runs/ must be shared")
        self._tracker.finish(record)
        scores = {f"{s.benchmark}/{s.category}": s.score for s in record.result.scores if s.modality == "video"}
        score = scores.get(self._metric)
        self.view.finished(job, f"{self._metric} {score:.1f}" if score is not None else f"no score {self._metric}")

    def killed(self, job: Job, message: str) -> None:
        """The job's process ended without a word; `failed` follows."""
        self._record_end(job, "killed", f"the trial's process died ({message})")

    def failed(self, job: Job, *, retried: bool) -> None:
        """An attempt failed; the folder says why."""
        if not _folder(job).failures():
            self._record_end(job, "killed", "the trial failed and left no record; is the disk full, is runs/ shared?")
        self._running.pop(job.key, None)
        failure = _folder(job).failures()[-1]
        self._tracker.fail(job.key, failure)
        self.view.attempt_failed(job, failure.message, retried=retried)
        if not retried:
            self.lost[job.label] = failure.message

    def interrupt(self) -> None:
        """The sweep stops: what was running is noted as cut off, and runs again next time."""
        for job, _ in list(self._running.values()):
            record = _folder(job).read()
            if record is not None and record.result is not None:
                self._tracker.finish(record)
                continue
            self._record_end(job, "interrupted", "the sweep was interrupted")
            self._tracker.fail(job.key, _folder(job).failures()[-1])

    def _record_end(self, job: Job, kind: FailureClass, message: str) -> None:
        folder, began = _folder(job), self._running.get(job.key, (job, time.time()))[1]
        folder.fail(
            Failure(
                attempt=len(folder.failures()),
                kind=kind,
                message=message,
                traceback="",
                seconds=time.time() - began,
                ended_at=time.time(),
            )
        )

    def _mirror_curve(self, job: Job) -> None:
        events = _folder(job).events()
        fresh = events[self._mirrored.get(job.key, 0) :]
        self._mirrored[job.key] = len(events)
        if fresh:
            self._tracker.events(job.key, fresh)


def run_sweep(plan: Plan, execute: Executor, view_of: Callable[[Plan], View], uri: str | None) -> Outcome:
    """Run what is missing of a plan and keep MLflow in step. `^C` and SIGTERM stop it cleanly.

    Args:
        plan: what is declared; what is done is looked up again once the study is ours.
        execute: runs jobs and tells a listener.
        view_of: makes the view of a plan.
        uri: MLflow's tracking URI; `paths.store_uri()` where left out.

    Raises:
        AblateError: another sweep runs in the study, or the store cannot be used.
    """
    began, interrupted = time.time(), False
    with sole_driver(plan.paths):
        plan = make_plan(plan.spec)
        known = replace(facts(plan.paths), metric=plan.metric, samples=plan.spec.samples)
        sync(plan.paths, uri)  # what an earlier driver finished but did not mirror
        tracker = Tracker.open(plan.paths, uri, known)
        remember(plan.paths, known)
        for planned in plan.planned:
            if not planned.to_run:
                tracker.adopt(about(plan, planned.trial))
        for planned in plan.to_run:
            folder_of(plan.paths, planned.trial.key).describe(about(plan, planned.trial))
        conductor = Conductor(plan, tracker, view_of(plan))
        try:
            if plan.to_run:
                with _terminable(), conductor.view:
                    execute([job_of(plan, planned) for planned in plan.to_run], conductor)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            conductor.interrupt()  # nothing runs any more, however it ended
            tracker.close()
        after = make_plan(plan.spec)
        ranked, problem = [], None
        try:
            ranked = rankings(load_table(plan.spec.study), plan.metric) if after.count("done") else []
        except UsageError as error:  # the trials are done whatever the table says
            problem = str(error)
        _summarise(after, tracker, ranked, began)
    return Outcome(
        plan=after,
        lost=conductor.lost,
        interrupted=interrupted,
        rankings=ranked,
        store=tracker.uri,
        problem=problem or tracker.problem,
    )


def _summarise(plan: Plan, tracker: Tracker, ranked: list[pd.DataFrame], began: float) -> None:
    """Leave the spec, the counts, the ranking and its figure in the sweep's own run."""
    import pandas as pd

    from analysis.figures import ranking_figure

    tracker.sweep_summary(
        SweepSummary(
            sweep=sweep_name(plan.spec),
            spec=f"{plan.spec.source.text}\n# ran with seeds {plan.spec.seeds} and scales {plan.spec.labels}\n",
            counts={name: value for name, value in plan.to_json().items() if isinstance(value, int)},
            started_at=began,
            ranking=pd.concat(ranked) if ranked else None,
            figures={"ranking": ranking_figure(pd.concat(ranked), plan.metric)} if ranked else {},
        )
    )


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the sweep as `^C` does."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _folder(job: Job) -> TrialFolder:
    return TrialFolder(Path(job.folder))
