"""Execute jobs, on Ray Tune or in this process. The only importer of Ray.

Tune is the executor, not the memory: it hands out resources and starts and kills workers. Which jobs there
are, which are retried and what came out is known from `Queue` and the trial folders; Tune's restore, console
and loggers stay off.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ablate.errors import AblateError, UsageError
from ablate.job import Job, Progress
from ablate.record import TrialFolder
from ablate.trial import run_trial

ATTEMPTS = 2  # a trial that fails is tried once more: machines fail more often than code that worked before
REPORT_EVERY_S = 1.0


class Listener(Protocol):
    """Told by an executor what happens, in the driver's process, one call at a time."""

    def started(self, job: Job) -> None:
        """A worker has taken the job."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """The job is at this point."""

    def finished(self, job: Job) -> None:
        """The job's folder holds a result."""

    def failed(self, job: Job, *, retried: bool) -> None:
        """The attempt failed; its folder says why, unless its process was killed."""

    def killed(self, job: Job, message: str) -> None:
        """The job's process ended without a word; `failed` follows."""


class Queue:
    """Jobs that wait, run and are tried again."""

    def __init__(self, jobs: list[Job], attempts: int = ATTEMPTS) -> None:
        self._waiting = deque(jobs)
        self._running: dict[str, Job] = {}
        self._left = {job.key: attempts for job in jobs}

    def take(self) -> Job | None:
        """The next job, from now on running; None if none waits."""
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        self._running[job.key] = job
        return job

    def settle(self, key: str, *, succeeded: bool) -> bool:
        """Note the end of an attempt; returns whether the job will be tried again."""
        job = self._running.pop(key)
        self._left[key] -= 1
        again = not succeeded and self._left[key] > 0
        if again:
            self._waiting.append(job)
        return again

    @property
    def empty(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not self._running

    @property
    def running(self) -> list[Job]:
        """Jobs that a worker has."""
        return list(self._running.values())


def run_here(jobs: list[Job], listener: Listener) -> None:
    """Run jobs one after another in this process."""
    queue = Queue(jobs)
    while (job := queue.take()) is not None:
        listener.started(job)
        for progress in run_trial(job):
            listener.progressed(job, progress)
        _settle(queue, listener, job, succeeded=progress.phase == "done")


def _settle(queue: Queue, listener: Listener, job: Job, *, succeeded: bool) -> None:
    """By what the folder says: a worker may die between finishing a trial and telling so."""
    succeeded = succeeded or TrialFolder(Path(job.folder)).result() is not None
    again = queue.settle(job.key, succeeded=succeeded)
    if succeeded:
        listener.finished(job)
    else:
        listener.failed(job, retried=again)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where Ray runs."""

    address: str | None = None
    """Of a running cluster; this machine alone where left out."""
    num_cpus: float | None = None
    """Cores to use of this machine; all where left out."""
    num_gpus: float | None = None
    """GPUs to use of this machine; all where left out."""


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


@contextmanager
def _ray(cluster: Cluster) -> Iterator[list[dict[str, float]]]:
    """Ray up and quiet; yields the resources of each node."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ^C is ours: it must end the sweep, not start a checkpoint
        "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",  # the plan has checked, the view says who waits
        "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    if cluster.address is not None:
        _check_reachable(cluster.address)
        os.environ |= {"RAY_BACKEND_LOG_LEVEL": "error"}
        if "RAY_AUTH_MODE" not in os.environ and _has_token():
            os.environ["RAY_AUTH_MODE"] = "token"  # Ray 2.60 starts such a cluster with it, but connects without
    import ray

    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    if cluster.address is None:
        options |= {"address": "local", "include_dashboard": False, "object_store_memory": 200 * 2**20}
        options |= {"num_cpus": cluster.num_cpus, "num_gpus": cluster.num_gpus}
    else:
        options["address"] = cluster.address
    try:
        ray.init(**options)
    except Exception as error:  # noqa: BLE001 - Ray raises many kinds; all mean that it could not be reached
        where = f"connect to {cluster.address}" if cluster.address else "start on this machine"
        token = "; if the cluster asks for a token, give it as RAY_AUTH_TOKEN" if cluster.address else ""
        raise AblateError(f"Ray could not {where}: {error}{token}") from None
    try:
        yield [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse at once an address at which nothing listens: Ray itself tries for two minutes.

    Raises:
        UsageError: it is no address, or nothing listens there.
    """
    if address == "auto" or "://" in address:
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--address must be `auto` or HOST:PORT (the head's port, 6379 as a rule), not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"nothing listens at {address} ({error}); start a cluster with `ray start --head`, or leave --address "
            "out to run on this machine"
        ) from None


def _has_token() -> bool:
    """Whether Ray would find a token of the user's (docs.ray.io, token authentication)."""
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return named or (Path.home() / ".ray" / "auth_token").is_file()


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
