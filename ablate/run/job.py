"""The messages between the driver, an agent and the processes of a trial. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Program:
    """A training program of the user's own: the `trainer` of a spec, resolved for one trial."""

    command: tuple[str | tuple[str, ...], ...]
    """Arguments with placeholders (docs/trainers.md); of a tuple, all are left out if a placeholder in it is empty."""
    workdir: str
    """Absolute path of the folder that it starts in."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that it gets besides those of the agent."""
    processes: Literal["node", "gpu"] = "node"
    """Whether the command is started once a node, or once a GPU."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Content of the file `{config}`: the nested design, and `scale`, `seed`, `samples`, `data` beside it."""
    states_data: bool = True
    """Whether the config's `data` is that of the spec, beside the design; else it belongs to the design."""
    metric: str = ""
    """`benchmark/category` that a result must have a score of."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Path below `workdir` -> sha256 of each file of code when the trial was planned; empty if the spec has a
    `version` instead."""
    data_files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Path of each file or folder that the spec's `data` names -> its `spec.TreeState` when the trial was planned."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything that an agent needs to run one trial."""

    key: str
    label: str
    config: dict[str, object]
    """The config, as `TrialConfig` or `OpenConfig` validates it."""
    folder: str
    """Path of the trial's folder."""
    cache: str
    """Path of the folder of reproducible files that trials share."""
    cpus: float
    """Number of CPU cores on each node."""
    gpus: float
    """Number of GPUs on each node."""
    nodes: int = 1
    """Number of nodes."""
    program: Program | None = None
    """The user's program; None for ablate's own trainer."""
    trial_limit_s: float | None = None
    """Seconds after which an attempt is ended."""
    silence_limit_s: float | None = None
    """Seconds without progress and output after which an attempt is ended."""
    checkpoint_s: float = 600.0
    """Seconds between two checkpoints of ablate's own trainer."""
    keep: Literal["weights", "none"] = "none"
    """Whether ablate's own trainer keeps the final weights."""
    compiled: bool = False
    """Whether ablate's own trainer compiles the LLM's layers."""
    oom_failures: int = 0
    """Earlier attempts that ran out of memory: ablate's own trainer halves its micro-batch for each."""
    shard: int = 1
    """Number of GPUs over which ablate's own trainer shards the LLM's weights; the others have replicas."""
    checkpointing: bool = False
    """Whether ablate's own trainer computes layers again in the backward pass instead of saving their values."""

    @property
    def threads(self) -> int:
        """Number of threads on a node: one per core of the trial, so that trials do not compete for cores."""
        return max(1, int(self.cpus))

    @property
    def processes(self) -> int:
        """Number of processes that are started on each node: one, or one for each of its GPUs."""
        is_one = self.program is not None and self.program.processes == "node"
        return 1 if is_one else max(1, int(self.gpus))

    @property
    def threads_of_process(self) -> int:
        """Number of threads of each process on a node."""
        return max(1, self.threads // self.processes)

    @property
    def total_gpus(self) -> float:
        """GPUs on all nodes."""
        return self.gpus * self.nodes


def job_from(data: Mapping[str, Any]) -> Job:
    """A job from its `asdict`, which Ray and JSON turn into plain data."""
    program = data.get("program")
    if program is not None:
        command = tuple(part if isinstance(part, str) else tuple(part) for part in program["command"])
        program = Program(**{**program, "command": command})
    return Job(**{**data, "program": program})


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a running trial."""

    phase: Literal["preparing", "training", "testing", "done", "failed"]
    detail: str = ""
    """Stage, modality, or message of a failure, for people."""
    step: int = 0
    """Training steps or test questions so far."""
    steps: int = 0
    """The same of the whole phase; 0 where unknown."""
    loss: float | None = None
    samples_per_s: float | None = None
    tokens_per_s: float | None = None
    """Sequence positions a second, without padding; known of ablate's own trainer only."""
