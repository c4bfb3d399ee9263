"""Execution of jobs on Ray Tune.

Tune only executes: it assigns resources, and starts and stops agents. `Queue` and the trial folders determine which
jobs there are, which are retried and which are done; Tune's restore, console and loggers are off.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from typing import Any

from ablate.errors import AblateError, InfeasibleError, first_line
from ablate.run.executors.cluster import Cluster, ray_connection
from ablate.run.executors.placement import Placement
from ablate.run.executors.tune_events import callback, job_of, scheduler, searcher
from ablate.run.executors.tune_trial import trainable
from ablate.run.queue import Listener, Queue

STOP_LIMIT_S = 15.0
"""Most seconds that running agents have to end their processes when the sweep is interrupted."""


def run_on_ray(
    queue: Queue, listener: Listener, cluster: Cluster, check: Callable[[list[dict[str, float]]], None]
) -> None:
    """Run jobs on Ray Tune, as many at once as their resources allow.

    Args:
        queue: the jobs, in the order in which they start.
        listener: receives the events; if it raises, the sweep goes on.
        cluster: the cluster to use.
        check: called with the resources of each node before anything starts; may raise.

    Raises:
        UsageError: the address is invalid, or nothing listens there.
        AblateError: Ray does not start or connect, or ends the sweep.
        InfeasibleError: from `check`, unless the cluster's nodes may come later.
    """
    with ray_connection(cluster) as nodes:
        placement = Placement(queue, listener)
        try:
            check(nodes)
        except InfeasibleError as error:
            if not cluster.nodes_may_come:
                fix = "" if cluster.address is None else "; or add --nodes-may-come, if such nodes come later"
                raise InfeasibleError(f"{error}{fix}") from None
            placement.note(f"{error}; trials wait for nodes that may come")
        _run(placement)


def _run(placement: Placement) -> None:
    """Run Tune until no job waits and none runs.

    Raises:
        AblateError: Ray or Tune raised an error, or Tune ended with jobs left.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ablate-tune-", ignore_cleanup_errors=True) as scratch:
            _tuner(placement, scratch).fit()
    except KeyboardInterrupt:
        _stop_agents(placement)
        raise
    except Exception as error:
        _stop_agents(placement)
        raise AblateError(
            f"Ray ended the sweep: {_cause(error)}. Finished trials are recorded; run the same command to continue"
        ) from error
    if not placement.queue.empty and not placement.queue.is_stopped:
        raise AblateError(f"Ray Tune ended with {len(placement.queue)} trial(s) left; run the same command to continue")


def _tuner(placement: Placement, scratch: str) -> Any:
    from ray import tune

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # it reports failed trials, as the view does
    return tune.Tuner(
        tune.with_resources(trainable(), _resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher(placement),
            scheduler=scheduler(placement),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=str,
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            callbacks=[callback(placement)],
            stop=lambda _trial_id, result: placement.refuses(result),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _resources(config: dict[str, Any]) -> Any:
    """The placement group of a trial: one bundle a node, on different nodes, none of them excluded."""
    from ray import tune

    job, excluded = job_of(config), config["excluded"]
    options: dict[str, Any] = {"strategy": "STRICT_SPREAD" if job.nodes > 1 else "PACK"}
    if excluded:
        options["bundle_label_selector"] = [{"ray.io/node-id": f"!in({', '.join(excluded)})"}] * job.nodes
    return tune.PlacementGroupFactory([{"CPU": job.cpus, "GPU": job.gpus}] * job.nodes, **options)


def _stop_agents(placement: Placement) -> None:
    """Let the agents that still run end their processes; what is left then ends with the connection to Ray."""
    import ray

    stops = [actor.stop.remote() for actor in placement.actors() if actor is not None]
    if stops:
        ray.wait(stops, num_returns=len(stops), timeout=STOP_LIMIT_S)


def _cause(error: BaseException) -> str:
    """The last line of an error: Tune's own errors have the traceback of their cause as text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else first_line(error)
