"""The training engine on whatever GPU is at hand, within 8 minutes: `make gpu-check`.

`python -m benchmarks.gpu_check` runs in any interpreter with torch >= 2.9, transformers and pydantic, without a
network. Parts that need Ray, MLflow or a decoder are skipped by name where these are missing, and so is what does not
fit the card, or the time that is left. It writes one JSON and prints a table; the exit code is 1 if a part failed.

`--device cpu --tiny` runs all of it on a CPU in under two minutes with a model of some thousand parameters, as its own
test. Figures that a CPU does not have are skipped by name.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

LIMIT_S = 8 * 60.0
REAL_SIZES = ("0.5B", "1.5B", "3B")


@dataclass(kw_only=True)
class Part:
    """The outcome of one part."""

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    seconds: float = 0.0
    reason: str = ""
    """Why it was skipped, or failed."""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Checks:
    """Runs parts, one after the other, while time is left."""

    deadline: float
    """On the clock of `time.monotonic`."""
    left_out: tuple[str, ...] = ()
    """Words in the names of parts that the user skips."""
    parts: list[Part] = field(default_factory=list)

    def run(self, name: str, part: Callable[[], dict[str, Any]], needs_s: float = 0.0) -> None:
        """Run a part unless less than `needs_s` seconds are left, and print its row."""
        left, started = self.deadline - time.monotonic(), time.monotonic()
        if any(word in name for word in self.left_out):
            outcome = Part(name=name, outcome="skipped", reason="--skip")
        elif left < needs_s:
            outcome = Part(name=name, outcome="skipped", reason=f"{left:.0f} s left, it needs {needs_s:.0f} s")
        else:
            from benchmarks.gpu_parts import Skipped

            try:
                outcome = Part(name=name, outcome="ok", figures=part())
            except Skipped as reason:
                outcome = Part(name=name, outcome="skipped", reason=str(reason))
            except Exception as error:  # noqa: BLE001 - the other parts run all the same
                traceback.print_exc()
                outcome = Part(name=name, outcome="failed", reason=f"{type(error).__name__}: {error}")
        outcome.seconds = time.monotonic() - started
        self.parts.append(outcome)
        _free_memory()
        print(row(outcome), flush=True)


def _free_memory() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def row(part: Part) -> str:
    """A part as a row of the table."""
    figures = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in part.figures.items()
    )
    return f"| {part.name} | {part.outcome} | {part.seconds:.0f} | {figures or part.reason.splitlines()[0][:300]} |"


def write(path: Path, device: str, tiny: bool, absent: list[str], checks: Checks) -> None:
    """Write the JSON."""
    content = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": device,
        "tiny": tiny,
        "stand_ins": absent,
        "parts": [asdict(part) for part in checks.parts],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, default=str) + "\n")


def run_all(checks: Checks, device: str, tiny: bool) -> None:
    """All parts, the most telling first."""
    from benchmarks import gpu_parts as parts
    from benchmarks.gpu_parts import Place
    from benchmarks.gpu_sweep import sweep

    place = Place.of(device, tiny=tiny)
    checks.run("environment", lambda: parts.environment(place))
    checks.run("matrix product peak", lambda: parts.matrix_peak(place))
    checks.run("attention: flex against dense", lambda: parts.flex_against_dense(place), 20)
    for size in ("tiny",) if tiny else REAL_SIZES:
        checks.run(f"training {size}", lambda size=size: parts.training(place, size), 45)  # type: ignore[misc]
    checks.run("mask", lambda: parts.mask_time(place), 20)
    checks.run("resume", lambda: parts.resume(place), 30)
    checks.run("out of memory", lambda: parts.out_of_memory(place), 30)
    checks.run("sweep of two trials through Ray", lambda: sweep(place), 60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models and few steps")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds in which all parts should end")
    parser.add_argument("--json", type=Path, default=Path("runs/gpu-check.json"))
    parser.add_argument("--skip", nargs="*", default=[], metavar="WORD", help="skip parts with this word in their name")
    options = parser.parse_args()
    checks = Checks(deadline=time.monotonic() + options.limit, left_out=tuple(options.skip))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a sweep in progress is ended too
    from benchmarks.stand_ins import stand_in

    absent = stand_in()
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device; `--device cpu --tiny` checks the script itself")
    if absent:
        print(f"stand-ins for missing packages: {', '.join(absent)}", file=sys.stderr)
    print("| part | outcome | s | figures |\n|---|---|---|---|", flush=True)
    from benchmarks.gpu_parts import one_rank

    with one_rank(options.device):
        run_all(checks, options.device, options.tiny)
    write(options.json, options.device, options.tiny, absent, checks)
    print(f"\nwritten to {options.json}", file=sys.stderr)
    sys.exit(any(part.outcome == "failed" for part in checks.parts))


if __name__ == "__main__":
    main()
