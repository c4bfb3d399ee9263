"""The part of `gpu_check` that sweeps two trials through Ray, in processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import ROOT, Place, Skipped
from benchmarks.stand_ins import is_missing

SWEEP_LIMIT_S = 240
SWEEP = """\
study: gpu-check
base: tiny
set: {{data.train_videos: 12, data.test_videos: 3}}
axes:
  sampling:
    - {{kind: uniform, frames: 4}}
    - {{kind: fps, fps: 1}}
scales: [0.05M]
samples: 256
{resources}
"""


def sweep(place: Place) -> dict[str, Any]:
    """`ablate sweep` of two trials of the embedded study, with runs and a cache of its own; on the GPU, if any."""
    decoders = ("av", "decord") if platform.machine() == "x86_64" else ("av",)
    packages = ("ray", "mlflow", *decoders, "pyarrow", "PIL", "typer", "ruamel.yaml", "lazy_loader", "platformdirs")
    absent = [name for name in packages if is_missing(name.partition(".")[0])]
    if absent:
        raise Skipped(f"not installed: {', '.join(absent)}")
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "gpu-check.yaml"
        spec.write_text(SWEEP.format(resources="resources: {gpus: 1}" if place.is_cuda else ""))
        own = {"ABLATE_RUNS": f"{folder}/runs", "ABLATE_CACHE": f"{folder}/cache", "PYTHONPATH": str(ROOT)}
        environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | own
        command = [sys.executable, "-m", "ablate.cli", "sweep", str(spec)]
        _run(command, folder, environ)
        results = list(Path(folder, "runs").glob("*/trials/*/result.json"))
    assert len(results) == 2, f"{len(results)} results"
    return {"trials": len(results)}


def _run(command: list[str], folder: str, environ: dict[str, str]) -> None:
    """Run a command, and end it in order if this process is ended or loses patience."""
    process = subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        output, _ = process.communicate(timeout=SWEEP_LIMIT_S)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)
    assert process.returncode == 0, output[-2000:]
