"""Tune's questions and events, answered by `Placement`: which trial comes next, which is withdrawn, how one ended."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.record import Failure
from ablate.run.executors.placement import Placement
from ablate.run.job import Job, Progress, job_from


def job_of(config: dict[str, Any]) -> Job:
    """The job in a trial's config, where it is JSON: Tune copies and flattens configs with each report."""
    return job_from(json.loads(config["job"]))


class _NotPickled:
    """Base class of objects that Tune must not pickle for its restore, which is not used."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()


# The classes below are defined in functions because importing ray takes seconds.


def searcher(placement: Placement) -> Any:
    """A Tune searcher that suggests the next waiting job, as long as few wait for resources."""
    from ray.tune.search import Searcher

    class QueueSearcher(_NotPickled, Searcher):  # type: ignore[misc]
        def suggest(self, trial_id: str) -> Any:
            next_job = placement.take()
            if next_job is None:
                return Searcher.FINISHED if placement.queue.empty else None
            job, excluded, report_s = next_job
            return {"job": json.dumps(asdict(job)), "excluded": list(excluded), "report_s": report_s}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Nothing to do: the callback, which has the job, ends the attempt."""

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save: the state is in the trial folders."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore."""

    return QueueSearcher()


def scheduler(placement: Placement) -> Any:
    """A Tune scheduler that takes back trials that wait in vain; all others start in the order of the queue."""
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import FIFOScheduler

    class QueueScheduler(_NotPickled, FIFOScheduler):  # type: ignore[misc]
        def choose_trial_to_run(self, tune_controller: Any) -> None:
            """No trial before the others: Tune starts them in order, without a walk over all trials at each step."""
            if not placement.refresh() and not placement.queue.is_stopped:
                return
            for trial in [one for one in tune_controller.get_live_trials() if one.status == Trial.PENDING]:
                if placement.must_withdraw(job_of(trial.config), tuple(trial.config["excluded"])):
                    tune_controller.stop_trial(trial)

    return QueueScheduler()


def callback(placement: Placement) -> Any:
    """A Tune callback that passes events on."""
    from ray import tune

    class EventCallback(_NotPickled, tune.Callback):  # type: ignore[misc]
        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
            job = job_of(trial.config)
            if result["placed"] is not None:
                placement.placed(job, result, trial.temporary_state.ray_actor)
            elif result["progress"] is not None:
                placement.progressed(job, Progress(**result["progress"]))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            result, job = trial.last_result or {}, job_of(trial.config)
            if not result.get("ended"):  # it was taken back, or its node was refused
                return placement.withdrawn(job)
            failure = result["failure"]
            return placement.ended(job, Failure(**failure) if failure else None)

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            placement.lost(job_of(trial.config), _error(trial))

    return EventCallback()


def _error(trial: Any) -> BaseException | None:
    """The error that ended a trial's actor. Tune writes it to a file of the driver, and looks for it elsewhere."""
    from ray import cloudpickle

    try:
        error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (OSError, TypeError):  # an error of Tune itself is written as text alone
        path = trial.error_file
        text = Path(path).read_text(encoding="utf-8", errors="replace") if path and Path(path).is_file() else ""
        return RuntimeError(text.strip().splitlines()[-1]) if text.strip() else None
    return error if isinstance(error, BaseException) else None
