"""Execution of jobs on Ray Tune.

Tune only executes: it assigns resources, and starts and stops workers. `Queue` and the trial folders determine which
jobs there are, which are retried and which are done; Tune's restore, console and loggers are off.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.errors import first_line
from ablate.record import TrialFolder
from ablate.run.executors.cluster import Cluster, ray_connection
from ablate.run.job import Job, Progress
from ablate.run.queue import Listener, Queue, end_attempt
from ablate.run.worker import run_trial

REPORT_EVERY_S = 1.0
"""Maximum time between two reports of a worker, in seconds."""


def run_on_ray(
    jobs: list[Job], listener: Listener, cluster: Cluster, check: Callable[[list[dict[str, float]]], None]
) -> None:
    """Run jobs on Ray Tune, as many at once as their resources allow.

    Args:
        jobs: in the order in which they start.
        listener: receives the events.
        cluster: the cluster to use.
        check: called with the resources of each node before anything starts; may raise.

    Raises:
        UsageError: the address is invalid, or nothing listens there.
        AblateError: Ray does not start or connect.
    """
    with ray_connection(cluster) as nodes:
        check(nodes)
        _tune(Queue(jobs), listener)


def _tune(queue: Queue, listener: Listener) -> None:
    """Run Tune until no job waits and none runs."""
    from ray import tune

    with tempfile.TemporaryDirectory(prefix="ablate-tune-") as scratch:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it reports failed trials, as the view does
        tune.Tuner(
            tune.with_resources(_worker_class(), _resources),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(queue), num_samples=-1, reuse_actors=True, trial_dirname_creator=str
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[_callback(queue, listener)],
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()


def _resources(config: dict[str, Any]) -> Any:
    """The resources of the job in a trial's config, as Tune's placement group factory."""
    from ray import tune

    job = Job(**config["job"])
    return tune.PlacementGroupFactory([{"CPU": job.cpus, "GPU": job.gpus}])


class _NotPickled:
    """Base class of objects that Tune must not pickle for its restore, which is not used."""

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()


# The classes below are defined in functions because importing ray takes seconds.


def _searcher(queue: Queue) -> Any:
    """A Tune searcher that suggests the next waiting job whenever there are resources for one."""
    from ray.tune.search import Searcher

    class QueueSearcher(_NotPickled, Searcher):  # type: ignore[misc]
        def suggest(self, trial_id: str) -> Any:
            job = queue.take()
            if job is None:
                return Searcher.FINISHED if queue.empty else None
            return {"job": asdict(job)}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Nothing to do: the callback, which has the job, ends the attempt."""

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save: the state is in the trial folders."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore."""

    return QueueSearcher()


def _callback(queue: Queue, listener: Listener) -> Any:
    """A Tune callback that passes events to the listener and ends attempts in the queue."""
    from ray import tune

    class ListenerCallback(_NotPickled, tune.Callback):  # type: ignore[misc]
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            listener.started(Job(**trial.config["job"]))

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
            listener.progressed(Job(**trial.config["job"]), Progress(**result["progress"]))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            job = Job(**trial.config["job"])
            end_attempt(queue, listener, job, succeeded=trial.last_result["progress"]["phase"] == "done")

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            job = Job(**trial.config["job"])
            if TrialFolder(Path(job.folder)).result() is None:
                listener.killed(job, first_line(trial.get_error()))
            end_attempt(queue, listener, job, succeeded=False)

    return ListenerCallback()


def _worker_class() -> Any:
    """The Tune trainable: an actor that runs one job after another and reports every second."""
    from ray import tune

    class Worker(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._progress = run_trial(Job(**config["job"]))
            self._phase = ""

        def step(self) -> dict[str, Any]:
            """Run for `REPORT_EVERY_S`, or until the next phase."""
            until = time.monotonic() + REPORT_EVERY_S
            while True:
                progress = next(self._progress)
                has_ended = progress.phase in ("done", "failed")
                if has_ended or progress.phase != self._phase or time.monotonic() > until:
                    self._phase = progress.phase
                    return {"progress": asdict(progress), "done": has_ended}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            """Take the next job in the same process: importing torch again would cost seconds."""
            self.setup(new_config)
            return True

    return Worker
