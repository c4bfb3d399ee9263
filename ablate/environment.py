"""Provenance of results: git commit, package versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RECORDED = ("ablate", "torch", "transformers", "decord", "av", "pillow", "numpy", "ray", "mlflow")


@cache
def describe() -> dict[str, str]:
    """Environment of this process: `git_commit`, `git_dirty`, `python`, `host`, `machine`, versions of packages."""
    facts = {"python": platform.python_version(), "host": platform.node(), "machine": platform.machine()}
    facts |= git_state(Path(__file__).parent)
    for package in RECORDED:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    return facts


def git_state(folder: Path) -> dict[str, str]:
    """Commit of the checkout that contains a folder, and whether it has changes; empty outside of a checkout."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"git_commit": commit, "git_dirty": str(bool(_git(folder, "status", "--porcelain"))).lower()}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()


def available() -> dict[str, float]:
    """Numbers of CPU cores and GPUs of this machine, determined without torch or Ray."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = len([piece for piece in visible.split(",") if piece.strip() not in ("", "-1")])
    else:
        gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
    return {"CPU": float(cores()), "GPU": float(gpus)}


def cores() -> int:
    """Number of CPU cores that this process may use; of all cores where the system does not say, as on a Mac."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
