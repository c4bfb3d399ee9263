"""The kept model of a trial: found, compared with its digests, opened, exported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.environment import cores
from ablate.errors import UsageError
from ablate.paths import cache_root
from ablate.record import WEIGHTS, Record, is_open

if TYPE_CHECKING:
    import torch

    from models.architecture import VideoLMM
    from models.training import Engine


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """A trained model, ready to compute."""

    model: VideoLMM
    engine: Engine

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.engine.device


def weights_of(record: Record) -> Path:
    """The folder of a trial's kept model, after a comparison with the digests in its result.

    Raises:
        UsageError: the trial keeps no weights; the message says how to get them.
        RecordError: a file has changed since the trial finished.
    """
    about, folder = record.about, record.file(WEIGHTS)
    name = f"{about.study}/{about.label}"
    if about.source == "import":
        raise UsageError(f"{name} was imported: only its scores are here, and no weights")
    if is_open(about.resolved):
        raise UsageError(
            f"{name} was trained by a program of your own, whose weights are in a format of its own; its files are in "
            f"{record.file('out')}"
        )
    if record.result is None:
        raise UsageError(f"{name} is not finished, so it has no final weights: run its sweep first")
    covered = [path for path in record.result.files if f"/{WEIGHTS}/" in path]
    if not covered:
        raise UsageError(
            f"the weights of {name} were not kept: write `keep: weights` into its spec, move {record.path} away, and "
            "run the sweep again; the same config trains the same weights"
        )
    for path in covered:
        record.verified(str((record.path / path).relative_to(folder.parent)))
    return folder


def open_kept(folder: Path) -> KeptModel:
    """Open a kept or exported model on this machine's GPU, or on its cores.

    Raises:
        UsageError: it cannot be opened; the message has the reason and the fix.
    """
    import torch

    from models.architecture import open_model
    from models.training import Engine
    from models.weights import CheckpointError

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or cores()))
    try:
        model = open_model(folder, cache_root())
    except (CheckpointError, FileNotFoundError) as error:
        raise UsageError(str(error)) from None
    engine = Engine(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    engine.place(model)
    return KeptModel(model=model, engine=engine)


def export_kept(record: Record, target: Path, *, bf16: bool = False) -> int:
    """Write the model of a trial, and all that it needs, into a new folder; returns the size in bytes.

    Raises:
        UsageError: no weights were kept, a part is not on this machine, or the folder exists and is not empty.
        RecordError: a file of the trial has changed.
    """
    from models.architecture import export_model
    from models.weights import CheckpointError

    try:
        export_model(weights_of(record), target, bf16=bf16)
    except (CheckpointError, FileExistsError) as error:
        raise UsageError(str(error)) from None
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
