"""Jobs of small programs, for the tests of this folder and of `ablate trial`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ablate.record import AttemptFolder, TrialFolder
from ablate.run.job import Job, Program

EXAMPLES = Path(__file__).parents[4] / "docs" / "trainers"


def program(*command: str | tuple[str, ...], workdir: Path | str = ".", **fields: Any) -> Program:
    config = fields.pop("config", {"lr": 1e-5, "scale": "0.5B", "seed": 3, "samples": None, "data": None})
    return Program(
        command=command or (sys.executable, "train.py"),
        workdir=str(workdir),
        config=config,
        metric=fields.pop("metric", "mine/overall"),
        **fields,
    )


def job(folder: Path, of: Program, **fields: Any) -> Job:
    return Job(
        key="k" * 16,
        label="base@0.5B/s0",
        config={},
        folder=str(folder),
        cache=str(folder.parent / "cache"),
        cpus=1,
        gpus=0,
        program=of,
        **fields,
    )


def attempt(folder: Path) -> AttemptFolder:
    new = TrialFolder(folder).begin()
    new.out.mkdir()
    return new
