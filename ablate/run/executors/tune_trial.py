"""The Tune trainable: an actor with the agent of node 0, which reports while the trial's processes run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.record import Failure, TrialFolder
from ablate.run.agent import Ended
from ablate.run.executors.node_agents import NodeAgents, here
from ablate.run.executors.tune_events import job_of


def trainable() -> Any:
    """The class; it is defined in a function because importing Ray takes seconds."""
    from ray import tune

    class Trial(tune.Trainable):  # type: ignore[misc]
        _steps: _Steps | None = None

        def setup(self, config: dict[str, Any]) -> None:
            self._steps = self._steps or _Steps()
            self._steps.take(config)

        def step(self) -> dict[str, Any]:
            assert self._steps is not None
            return self._steps.report()

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            """Take the next job with the same agents, whose warm processes have imported torch."""
            self.setup(new_config)
            return True

        def cleanup(self) -> None:
            """End the attempt and the warm processes."""
            if self._steps is not None:
                self._steps.close()

    return Trial


class _Steps:
    """The jobs of one actor, one after another.

    A step returns a report: `placed` (the first one, before anything begins), `progress`, `ended`, `failure`. The
    driver may be slow to ask for the next step; the trial goes on meanwhile.
    """

    def __init__(self) -> None:
        self._agents = NodeAgents()

    def take(self, config: dict[str, Any]) -> None:
        """Take the next job; nothing begins yet."""
        self._job, self._report_s = job_of(config), config["report_s"]
        self._is_placed = self._is_begun = False

    def report(self) -> dict[str, Any]:
        """Report the node; then begin, and wait up to the time between two reports for the end."""
        if not self._is_placed:
            self._is_placed = True
            return _report(placed=here())
        if not self._is_begun:
            self._is_begun = True
            if TrialFolder(Path(self._job.folder)).result() is not None:
                return _report(ended=True)  # an earlier attempt that was believed lost has finished
            failure = self._agents.begin(self._job)
            if failure is not None:
                return _report(ended=True, failure=failure)
        now = self._agents.poll(self._report_s)
        if isinstance(now, Ended):
            return _report(ended=True, failure=now.failure)
        return _report(progress=asdict(now))

    def close(self) -> None:
        """End the attempt and all agents."""
        self._agents.close()


def _report(
    *,
    placed: dict[str, str] | None = None,
    progress: dict[str, Any] | None = None,
    ended: bool = False,
    failure: Failure | None = None,
) -> dict[str, Any]:
    return {
        "placed": placed,
        "progress": progress,
        "ended": ended,
        "failure": asdict(failure) if failure is not None else None,
        "done": ended,
    }
