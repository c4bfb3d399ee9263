"""Runs one empty actor on a cluster: `python -m ablate.run.executors.probe ADDRESS` prints a JSON object.

It has `problem`, or what the actor reports: `host`, `python` and the version of ablate `there` (`none` without it),
with the version `here`.
"""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ablate.errors import first_line

ANSWER_LIMIT_S = 40.0
"""Most seconds until the actor answers: a node may have to start a process for it."""


def _version() -> str:
    try:
        return version("ablate")
    except PackageNotFoundError:
        return "none"


def _probe(address: str) -> dict[str, Any]:
    import ray

    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
        # a node that has just been lost may still be listed; Ray then starts the actor on another one
        actor = ray.remote(num_cpus=0, max_restarts=3, max_task_retries=3)(_Facts).remote()
        return {**ray.get(actor.facts.remote(), timeout=ANSWER_LIMIT_S), "here": _version()}
    except ConnectionError as error:
        return {"problem": first_line(error), "no_cluster": address == "auto"}
    except Exception as error:  # noqa: BLE001 - Ray raises unrelated types; all mean that the cluster cannot be used
        return {"problem": " ".join(str(error).split())[:500]}
    finally:
        ray.shutdown()


class _Facts:
    """The actor. It is sent by value, since a cluster's workers may lack ablate."""

    def facts(self) -> dict[str, str]:
        """Host, Python and version of ablate of a worker."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            there = version("ablate")
        except PackageNotFoundError:
            there = "none"
        return {"host": platform.node(), "python": sys.executable, "there": there}


if __name__ == "__main__":
    print(json.dumps(_probe(sys.argv[1])))
