"""What checkpoints of a trial cost: `python -m benchmarks.checkpointing [EVERY_S [LAYERS [SECONDS]]]`.

A trial of ablate's own trainer with a random LLM of 512 dimensions (8 layers: 26M parameters, learning with Muon as in
the preset: 8 bytes a parameter in a checkpoint; 12 with AdamW) trains on one core and is saved each EVERY_S seconds
(30). Counted as cost: the seconds that training waits for the copy, and the processor time of the thread that writes,
which on one core is taken from training. It exits with 1 if that is more than 2% of the time of training with the
interval that specs have by default, 10 minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ablate.record import TrialFolder
from ablate.run.job import Job
from ablate.run.worker import run_trial
from models.data import data_digest
from models.design import LearningRates, ManifestData, Mix, TrialConfig
from models.presets import PRESETS
from models.training import CheckpointStore, checkpoints_in
from models.weights import combined_digest, llm_files, locate_tokenizer

LIMIT = 0.02
DEFAULT_S = 600.0
BATCH = 8
WORDS = 60
"""Words of an answer."""


class Costs:
    """What the checkpoints of a trial cost, in seconds."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.writes: list[tuple[float, float]] = []
        """Processor time and duration of the thread that writes, of each checkpoint."""

    def watch(self) -> None:
        """Measure all checkpoints of this process."""
        save, write = CheckpointStore.save, CheckpointStore._write

        def timed_save(store: CheckpointStore, *arguments: Any) -> None:
            started = time.perf_counter()
            save(store, *arguments)
            self.waits.append(time.perf_counter() - started)

        def timed_write(store: CheckpointStore, *arguments: Any) -> None:
            started, cpu = time.perf_counter(), time.thread_time()
            write(store, *arguments)
            self.writes.append((time.thread_time() - cpu, time.perf_counter() - started))

        CheckpointStore.save, CheckpointStore._write = timed_save, timed_write  # type: ignore[method-assign]


def trial(folder: Path, layers: int, samples: int) -> dict[str, Any]:
    """The config of a trial, whose data and LLM are written to a folder."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(locate_tokenizer("tiny/llm"))
    sizes = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": layers, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=8, num_key_value_heads=2)).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    data = folder / "data"
    data.mkdir()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(data / "i.png")
    talk = [
        {"from": "human", "value": "<image>\nwhat is the first digit"},
        {"from": "gpt", "value": "one two " * (WORDS // 2)},
    ]
    question = {"question": "what is the first digit", "options": ["one", "two"], "answer": 0, "category": "ocr"}
    (data / "train.json").write_text(json.dumps([{"image": "i.png", "conversations": talk}] * BATCH))
    (data / "test.json").write_text(json.dumps([{"image": "i.png", "questions": [question]}]))
    preset = PRESETS["tiny"].design
    update = {"share": 1.0, "batch": BATCH, "mix": Mix(image=1.0), "lr": LearningRates(connector=1e-3, llm=1e-4)}
    digest = data_digest(data, folder)
    mine = ManifestData(kind="manifest", benchmark="b", folder=str(data), digest=digest, scoring="text")
    design = preset.model_copy(update={"data": mine, "schedule": (preset.schedule[0].model_copy(update=update),)})
    llm = str(folder / "llm")
    content = combined_digest(llm_files(llm), folder)
    config = TrialConfig(design=design, scale="mine", llm=llm, llm_digest=content, seed=0, samples=samples)
    return config.model_dump(mode="json")


def main() -> None:
    numbers = [float(text) for text in sys.argv[1:]]
    every_s, layers, seconds = (*numbers, *(30.0, 8.0, 150.0)[len(numbers) :])
    costs, losses = Costs(), list[tuple[float, float]]()
    costs.watch()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        config = trial(root, int(layers), samples=BATCH * 100_000)
        (root / "trial").mkdir()
        job = Job(
            key="k", label="one", config=config, folder=str(root / "trial"), cache=str(root), cpus=1, gpus=0,
            checkpoint_s=every_s,
        )  # fmt: skip
        attempt, started = TrialFolder(root / "trial").begin(), 0.0
        for progress in run_trial(job, attempt):
            if progress.phase == "training":
                started = started or time.perf_counter()
                losses.append((time.perf_counter() - started, progress.loss or 0.0))
                if losses[-1][0] > seconds:
                    break
        log = attempt.log.read_text()
        if not losses:
            sys.exit(log)
        (*_, newest) = checkpoints_in([attempt.checkpoints], "k")
        size = sum(num_bytes for num_bytes, _ in newest.files.values())
    trained_s, count = losses[-1][0], len(costs.writes)
    print(log.strip())
    print(f"{len(losses)} steps in {trained_s:.0f} s, {count} checkpoints of {size / 1e6:.0f} MB")
    for wait, (cpu, duration) in zip(costs.waits, costs.writes, strict=False):
        print(f"  training waited {wait:.2f} s; written in {duration:.2f} s, of which {cpu:.2f} s processor time")
    cost = (sum(costs.waits) + sum(cpu for cpu, _ in costs.writes)) / count
    print(
        f"{cost:.2f} s a checkpoint: {cost / every_s:.2%} every {every_s:g} s, {cost / DEFAULT_S:.2%} every 10 minutes"
    )
    sys.exit(cost / DEFAULT_S > LIMIT)


if __name__ == "__main__":
    main()
