"""Execute jobs, on Ray Tune or in this process. The only importer of Ray.

Tune is the executor, not the memory: it hands out resources and starts and kills workers. Which jobs there
are, which are retried and what came out is known from `Queue` and the trial folders; Tune's restore, console
and loggers stay off.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.record import TrialFolder
from ablate.run.executors.cluster import Cluster, _ray
from ablate.run.job import Job, Progress
from ablate.run.queue import Listener, Queue, _settle
from ablate.run.worker import run_trial

REPORT_EVERY_S = 1.0


def run_on_ray(
    jobs: list[Job], listener: Listener, cluster: Cluster, check: Callable[[list[dict[str, float]]], None]
) -> None:
    """Run jobs on Ray Tune, as many at once as their resources allow.

    Args:
        jobs: in the order in which they should start.
        listener: is told what happens.
        cluster: where.
        check: is given the resources of each node before anything starts, and may refuse.
    """
    with _ray(cluster) as nodes:
        check(nodes)
        _tune(Queue(jobs), listener)


def _tune(queue: Queue, listener: Listener) -> None:
    """Feed Tune from the queue until nothing waits and nothing runs."""
    from ray import tune
    from ray.tune.search import Searcher

    class Unpickled:
        """Tune pickles what it is given for its restore, which is not used: leave these out."""

        def __reduce__(self) -> tuple[type[object], tuple[()]]:
            return object, ()

    class Feed(Unpickled, Searcher):  # type: ignore[misc]
        """Hands Tune the next waiting job whenever it has room for one."""

        def suggest(self, trial_id: str) -> Any:
            job = queue.take()
            if job is None:
                return Searcher.FINISHED if queue.empty else None
            return {"job": asdict(job)}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Settled in `Ears`, which knows the job."""

        def save(self, checkpoint_path: str) -> None:
            """Nothing to save: the folders are the memory."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing to restore."""

    class Ears(Unpickled, tune.Callback):  # type: ignore[misc]
        """Passes on to the listener what Tune sees."""

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            listener.started(Job(**trial.config["job"]))

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
            listener.progressed(Job(**trial.config["job"]), Progress(**result["progress"]))

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            job = Job(**trial.config["job"])
            _settle(queue, listener, job, succeeded=trial.last_result["progress"]["phase"] == "done")

        def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            job = Job(**trial.config["job"])
            if TrialFolder(Path(job.folder)).result() is None:
                listener.killed(job, _first_line(trial.get_error()))
            _settle(queue, listener, job, succeeded=False)

    def resources(config: dict[str, Any]) -> Any:
        job = Job(**config["job"])
        return tune.PlacementGroupFactory([{"CPU": job.cpus, "GPU": job.gpus}])

    with tempfile.TemporaryDirectory(prefix="ablate-tune-") as scratch:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it reports failed trials, which we do
        tune.Tuner(
            tune.with_resources(_worker_class(), resources),
            tune_config=tune.TuneConfig(
                search_alg=Feed(), num_samples=-1, reuse_actors=True, trial_dirname_creator=str
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=scratch,
                verbose=0,
                callbacks=[Ears()],
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()


def _worker_class() -> Any:
    """The Tune trainable: an actor that runs one job after another and reports every second."""
    from ray import tune

    class Worker(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._progress = run_trial(Job(**config["job"]))
            self._phase = ""

        def step(self) -> dict[str, Any]:
            """Go on for a second, or to the next phase."""
            until = time.monotonic() + REPORT_EVERY_S
            while True:
                progress = next(self._progress)
                ended = progress.phase in ("done", "failed")
                if ended or progress.phase != self._phase or time.monotonic() > until:
                    self._phase = progress.phase
                    return {"progress": asdict(progress), "done": ended}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            """Take the next job in the same process: importing torch again would cost seconds."""
            self.setup(new_config)
            return True

    return Worker


def _first_line(error: object) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "the trial's process died"
