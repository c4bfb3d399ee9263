"""One attempt on one node, from its start to the record of its failure."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ablate.errors import UsageError
from ablate.record import AttemptFolder, Failure, FailureClass, RecordError, TrialFolder
from ablate.run.agent.contract import NodeRole
from ablate.run.agent.exits import failure_of, recorded_failure
from ablate.run.agent.program import ProgramAttempt
from ablate.run.agent.ranks import RanksAttempt
from ablate.run.agent.warm import WarmProcess
from ablate.run.agent.watch import Control, Patience, StoppedError
from ablate.run.failures import is_fault_of_node
from ablate.run.job import Job
from ablate.run.start import Start


class Runner:
    """Runs attempts on one node, in a thread of its own."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._warm = patience, WarmProcess(patience)

    def run(self, job: Job, attempt: AttemptFolder, role: NodeRole, control: Control) -> Failure | None:
        """Run an attempt and record its failure; returns the failure, unless the trial has a result.

        Raises:
            StoppedError: the executor stops the attempt.
        """
        start = Start()
        try:
            failure = self._run(job, attempt, role, control)
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever breaks an attempt, the agent goes on
            message = f"the agent could not run the attempt: {type(error).__name__}: {error}"
            failure = failure_of(_class_of(error), message, attempt, start)
        if failure is None:
            return None
        if _is_done(job):
            TrialFolder(Path(job.folder)).remove_checkpoints()
            return None
        _record(attempt, failure)
        return failure

    def close(self) -> None:
        """End the warm process."""
        self._warm.close()

    def _run(self, job: Job, attempt: AttemptFolder, role: NodeRole, control: Control) -> Failure | None:
        if job.program is None and job.processes * role.nodes == 1:
            return self._warm.run(job, attempt, role, control)
        if job.program is None:
            self._warm.close()  # it would share the node's GPUs
            return RanksAttempt(job, attempt, role, control, self._patience).run()
        return ProgramAttempt(job, attempt, role, control, self._patience).run()


def _is_done(job: Job) -> bool:
    """Whether the trial has a result however its process ended, which may be after it wrote the result."""
    try:
        return TrialFolder(Path(job.folder)).result() is not None
    except (RecordError, OSError):
        return False


def _class_of(error: Exception) -> FailureClass:
    if is_fault_of_node(error):
        return "node"
    return "usage" if isinstance(error, UsageError) else "code"


def _record(attempt: AttemptFolder, failure: Failure) -> None:
    """Write failure.json, unless the attempt has one: of the process itself, or of a node that failed earlier."""
    with contextlib.suppress(OSError):  # a full disk; the executor reports and records the failure
        if recorded_failure(attempt) is None:
            attempt.fail(failure)
