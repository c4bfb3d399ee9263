"""Time and memory of a manifest's index: `python -m benchmarks.manifest [--records N] [--folder DIR]`.

Writes a manifest of N records of about 1 kB (the mix and lengths of a LLaVA-Video-like set), indexes it in a fresh
process, and opens the index in another, where samples are drawn and the durations of all videos are read. docs/data.md
has the numbers of a million records.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORDS = (
    "the",
    "a",
    "red",
    "small",
    "dog",
    "cat",
    "runs",
    "jumps",
    "under",
    "table",
    "slowly",
    "first",
    "then",
    "behind",
)
DRAWN = 10_000
"""Samples that the second process draws and parses: a few hours of training."""


def write_manifest(folder: Path, num_records: int) -> float:
    """Write train.json; returns its size in MB."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size)) for size in rng.integers(10, 60, 1000)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "train.json").open("w", encoding="utf-8") as file:
        for number in range(num_records):
            question, *answers = (texts[i] for i in rng.integers(0, len(texts), 4))
            turns = [{"from": "human", "value": f"<video>\n{question}"}, {"from": "gpt", "value": answers[0]}]
            turns += [{"from": "human", "value": answers[1]}, {"from": "gpt", "value": answers[2]}]
            record = {"id": f"r{number}", "video": f"videos/{number % 1000:03d}/{number}.mp4", "duration": 12.5}
            file.write(("[" if not number else ",\n") + json.dumps({**record, "conversations": turns}))
        file.write("]\n")
    return (folder / "train.json").stat().st_size / 1e6


def index(folder: Path) -> None:
    """Index the manifest, and print seconds and peak memory."""
    from models.data import open_training

    start = time.perf_counter()
    samples = open_training(folder, folder / "cache")
    report("first indexing", len(samples), start)


def use(folder: Path) -> None:
    """Open the index, and print seconds and peak memory; then draw samples and read all durations."""
    start = time.perf_counter()
    from models.data import open_training
    from models.data.mixing import draw
    from models.design import Mix

    samples = open_training(folder, folder / "cache")
    report("opening", len(samples), start)
    start = time.perf_counter()
    drawn = draw(samples, Mix(video=1.0), DRAWN, np.random.default_rng(0))
    characters = sum(len(turn.answer) for sample in drawn for turn in sample.turns)
    report(f"{DRAWN:,} samples drawn and parsed ({characters:,} characters)", len(samples), start)
    start = time.perf_counter()
    seconds = float(np.nansum(samples.column("duration_s")))
    report(f"all durations ({seconds / 3600:,.0f} h)", len(samples), start)


def report(name: str, num_records: int, start: float) -> None:
    """Print the time since the start, the peak memory of this process so far, and how much is its own now.

    The rest are pages of the index, which all processes of a machine share, and which the kernel takes back if needed.
    """
    seconds = time.perf_counter() - start
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    status = Path("/proc/self/status").read_text(encoding="ascii")
    own_mb = int(status.split("RssAnon:")[1].split()[0]) / 1e3
    print(f"{name}: {num_records:,} records, {seconds:.2f} s, peak {peak_mb:.0f} MB ({own_mb:.0f} MB own)", flush=True)


def main() -> None:
    """Write the manifest, and measure each step in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="empty folder for the manifest and its index")
    parser.add_argument("--step", choices=("index", "use"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step is not None:
        return {"index": index, "use": use}[options.step](options.folder)
    with tempfile.TemporaryDirectory(prefix="manifest-", dir=options.folder) as folder:
        print(f"train.json: {write_manifest(Path(folder), options.records):,.0f} MB", flush=True)
        for step in ("index", "use"):
            command = [sys.executable, "-m", "benchmarks.manifest", "--step", step, "--folder", folder]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
