"""What orchestration costs: `python -m benchmarks.orchestration [overhead|tracking|footprint]` (all: about 15 minutes).

overhead   seconds a no-op trial takes beside its own work, with tracking, against Ray Tune as its users run it: one
           process per trial, and the MLflow callback that comes with Tune. All with one trial at a time.
tracking   the share of the workers' time that trials of a minute get while the tracking server needs 2 s for each call,
           or never answers, against the same sweep with a local store.
footprint  processes and memory beside the trial's own, while one runs.

Run it alone: other work on the machine disturbs it. Results: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.slow_server import serve

NO_OP = """
import json, os, sys
out = sys.argv[1]
json.dump({"scores": [{"benchmark": "none", "score": 1.0}]}, open(os.path.join(out, "result.json"), "w"))
"""
SLEEPER = """
import json, os, sys, time
out, seconds = sys.argv[1], float(sys.argv[2])
start = time.monotonic()
with open(os.path.join(out, "progress.jsonl"), "a", buffering=1) as file:
    for step in range(1, int(seconds) + 1):
        time.sleep(max(0.0, start + step - time.monotonic()))
        file.write(json.dumps({"step": step, "steps": int(seconds), "loss": 1 / step}) + "\\n")
json.dump({"scores": [{"benchmark": "none", "score": 1.0}]}, open(os.path.join(out, "result.json"), "w"))
"""
COMMAND = [sys.executable, "-m", "ablate.cli"]


def main() -> None:
    parts = {"overhead": overhead, "tracking": tracking, "footprint": footprint}
    parser = argparse.ArgumentParser(description="What orchestration costs.")
    parser.add_argument("part", nargs="*", choices=[*parts, []], help="which parts; all if omitted")
    for name in parser.parse_args().part or parts:
        print(f"\n## {name}\n")
        parts[name]()


# --- overhead -------------------------------------------------------------------------------------


def overhead(trials: int = 20) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tune = {
            "Tune's default, with its MLflow callback": tune_s(root / "tune", trials, reuse=False, command=False),
            "Tune with reused actors, with its MLflow callback": tune_s(
                root / "reuse", trials, reuse=True, command=False
            ),
            "Tune's default, a command in the trial": tune_s(root / "command", trials, reuse=False, command=True),
        }
        ours = {
            "ablate, its own trainer in the warm process": own_trainer_s(root / "own", max(4, trials // 3)),
            "ablate, a command": command_s(root / "program", trials),
        }
    base, command = tune["Tune's default, with its MLflow callback"], tune["Tune's default, a command in the trial"]
    print("| one no-op trial after another, with tracking | s a trial | ratio |")
    print("|---|---|---|")
    for name, seconds in (tune | ours).items():
        peer = command if "command" in name else base
        print(f"| {name} | {seconds:.2f} | {seconds / peer:.2f} |")


def tune_s(root: Path, trials: int, *, reuse: bool, command: bool) -> float:
    """Seconds a trial of Tune's own way, in a process of its own; start and end of Ray are not counted."""
    arguments = [str(root), str(trials), str(int(reuse)), str(int(command))]
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.tune_no_op", *arguments], capture_output=True, text=True, check=True
    )
    return float(process.stdout.split()[-1])


def command_s(root: Path, trials: int) -> float:
    """Seconds from one trial's end to the next one's: a no-op program, one trial at a time."""
    return between_trials_s(root, program_spec(root, NO_OP, trials, ["{out}"]))


def own_trainer_s(root: Path, trials: int) -> float:
    """Seconds from the end of a trial's work to the start of the next one's: the smallest trials of ablate's own
    trainer, whose own work is not counted."""
    seeds = list(range(trials))
    spec = (
        f"study: none\nbase: tiny\naxes: {{sampling: [{{kind: uniform, frames: 4}}]}}\nscales: [0.05M]\n"
        f"seeds: {seeds}\nsamples: 32\nresources: {{cpus: 1}}\n"
    )
    return between_trials_s(root, written(root, spec))


def between_trials_s(root: Path, spec: Path) -> float:
    """Mean seconds between trials of a sweep with one slot that are not a trial's own."""
    run_sweep(root, spec, "--cpus", "1")
    results = [json.loads(path.read_text()) for path in root.glob("runs/none/trials/*/result.json")]
    results.sort(key=lambda result: result["ended_at"])
    whole = results[-1]["ended_at"] - results[0]["ended_at"]
    own = sum(result["seconds"] for result in results[1:]) if "torch" in results[0]["environment"] else 0.0
    is_program = not any("seconds_training" in result["counts"] for result in results)
    return (whole - (0.0 if is_program else own)) / (len(results) - 1)


# --- tracking -------------------------------------------------------------------------------------


def tracking(trials: int = 4, seconds: int = 60, slots: int = 2) -> None:
    shares = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, delay_s in (
            ("a local store", None),
            ("a server that needs 2 s a call", 2.0),
            ("a server that hangs", -1.0),
        ):
            root = Path(folder) / name.replace(" ", "-")
            with tracking_server(root, delay_s) as uri:
                spec = program_spec(root, SLEEPER, trials, ["{out}", str(seconds)])
                run_sweep(root, spec, "--cpus", str(slots), *(["--tracking-uri", uri] if uri else []))
            results = [json.loads(path.read_text()) for path in root.glob("runs/none/trials/*/result.json")]
            assert len(results) == trials, f"{name}: {len(results)} of {trials} trials have a result"
            wall = max(r["ended_at"] for r in results) - min(r["started_at"] for r in results)
            shares[name] = trials * seconds / slots / wall
    print(f"| {trials} trials of {seconds} s on {slots} slots, tracked by | useful share of the slots' time | ratio |")
    print("|---|---|---|")
    for name, share in shares.items():
        print(f"| {name} | {share:.1%} | {share / shares['a local store']:.3f} |")


@contextmanager
def tracking_server(root: Path, delay_s: float | None) -> Iterator[str | None]:
    """A real MLflow server behind a proxy that delays each call, or one that accepts and never answers (-1)."""
    if delay_s is None:
        yield None
        return
    root.mkdir(parents=True, exist_ok=True)
    if delay_s < 0:
        with serve(None, 0.0) as port:
            yield f"http://127.0.0.1:{port}"
        return
    port = free_port()
    store = [
        "--backend-store-uri",
        f"sqlite:///{root / 'server.db'}",
        "--artifacts-destination",
        str(root / "artifacts"),
    ]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    process = subprocess.Popen([*command, *store], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        with serve(port, delay_s) as slow:
            yield f"http://127.0.0.1:{slow}"
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.terminate()
        process.terminate()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(port: int, limit_s: float = 60.0) -> None:
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"no server on port {port} after {limit_s:g} s")


# --- footprint ------------------------------------------------------------------------------------


def footprint() -> None:
    """Processes between the driver and a trial's own, which Ray starts for it, and their memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        spec = program_spec(root, SLEEPER, 1, ["{out}", "25"])
        rows: list[tuple[str, float, float, bool]] = []
        watcher = threading.Thread(target=lambda: rows.extend(agents(root, wait_s=60.0)))
        watcher.start()
        run_sweep(root, spec, "--cpus", "1")
        watcher.join()
    print("| process beside the trial's own | private MB | resident MB | torch loaded |")
    print("|---|---|---|---|")
    for name, private, resident, has_torch in rows:
        print(f"| {name} | {private:.0f} | {resident:.0f} | {'yes' if has_torch else 'no'} |")


def agents(root: Path, wait_s: float) -> list[tuple[str, float, float, bool]]:
    """The parents of the running program up to Ray's own daemon: name, memory in MB, whether torch is loaded."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if str(root / "program.py") in line and "python" in line[0]:
                time.sleep(5)  # what is loaded later counts as well
                parents = [p for p in process.parents() if "ray::" in " ".join(p.cmdline())]
                return [described(parent) for parent in parents]
        time.sleep(0.2)
    return []


def described(process: psutil.Process) -> tuple[str, float, float, bool]:
    memory = process.memory_full_info()
    has_torch = any("libtorch" in region.path for region in process.memory_maps())
    return " ".join(process.cmdline())[:60], memory.uss / 1e6, memory.rss / 1e6, has_torch


# --- sweeps ---------------------------------------------------------------------------------------


def program_spec(root: Path, script: str, trials: int, arguments: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "program.py").write_text(script)
    command = json.dumps([sys.executable, str(root / "program.py"), *arguments])
    return written(
        root,
        f"study: none\ntrainer: {{command: {command}, version: 1}}\naxes: {{x: {list(range(trials))}}}\n"
        "scales: [small]\nmetric: none/overall\nresources: {cpus: 1}\n",
    )


def written(root: Path, text: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "none.yaml"
    path.write_text(text)
    return path


def run_sweep(root: Path, spec: Path, *arguments: str) -> None:
    shutil.rmtree(root / "runs", ignore_errors=True)
    environment: dict[str, Any] = {**os.environ, "ABLATE_RUNS": str(root / "runs")}
    process = subprocess.run(
        [*COMMAND, "sweep", str(spec), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if process.returncode:
        sys.exit(process.stdout + process.stderr)


if __name__ == "__main__":
    main()
