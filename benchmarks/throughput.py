"""Useful tokens per second of our trainer and of transformers' Trainer: `python -m benchmarks.throughput`.

Both train the same LLM of 100M random weights in fp32 on one core, on the samples of `lengths.json`, one optimiser
step a repetition, with AdamW, the gradient clipped, and the same `max_length`, which no sample exceeds. Text only:
random ids stand where a video's visual tokens would be, in the same number.

| trainer | rows |
|---|---|
| ours | a sample: the video once, each question a branch of it (`models.training`) |
| Trainer | a question with the whole video, padded to the longest of a batch by its collator, in random order |
| Trainer, dialogue | a sample, each question after the ones before it: another objective, reported for comparison |

A useful token is a token of a sample, the video counted once. The ideal is the number of positions that Trainer
computes, padding included, over ours. Losses of the first two must agree, since they are the same questions. The exit
code is 1 if ours is below twice Trainer's tokens per second, or below 80% of the ideal.

`--write-lengths` writes `lengths.json` again; `--tiny` takes a small model, for tests.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.random_models import (
    Lengths,
    alone,
    corpus_of,
    random_llm,
    row_of,
    sizes_of,
    text_model,
    text_trial,
    write_json,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from models.data import Row

LENGTHS = Path(__file__).parent / "lengths.json"
MAX_LENGTH = 1024
TOKENS_PER_SECOND = 4
"""Visual tokens for each second of video: 2 tokens a frame at 2 frames a second. A design of Apollo has 8 times as
many; with more tokens a video costs the peer more, which computes it once for each question."""
DURATIONS = (10.0, 30.0, 60.0, 120.0)
"""Seconds of the plan's `kind: assumed` data, equally likely (docs/plan.md)."""
BATCH = 4
"""Rows of a batch of Trainer (its `per_device_train_batch_size`)."""
FACTOR, SHARE_OF_IDEAL = 2.0, 0.8


@dataclass(frozen=True)
class Measurement:
    """One optimiser step."""

    seconds: float
    cpu_s: float
    positions: int
    """Computed, including padding."""
    loss: float


def drawn_lengths(count: int = 24, seed: int = 0) -> list[dict[str, Any]]:
    """Samples with each duration equally often and 1 to 12 questions, each number equally often.

    Questions have 12 to 40 tokens and answers 2 to 16, uniformly: a letter, a word, or a sentence.
    """
    rng = np.random.default_rng(seed)
    numbers = np.concatenate([rng.permutation(12) + 1 for _ in range(-(-count // 12))])[:count]
    samples = []
    for index, number in enumerate(numbers.tolist()):
        questions = []
        for _ in range(number):
            answer = int(rng.integers(2, 17))
            questions.append([int(rng.integers(12, 41)) + answer, answer])
        samples.append({"seconds": DURATIONS[index % len(DURATIONS)], "questions": questions})
    return samples


def read_lengths() -> list[Lengths]:
    """The committed samples."""
    content = json.loads(LENGTHS.read_text())
    return [
        Lengths(
            round(one["seconds"] * content["tokens_per_second"]), tuple((int(a), int(b)) for a, b in one["questions"])
        )
        for one in content["samples"]
    ]


def ours(llm: PreTrainedModel, rows: Sequence[Row]) -> Measurement:
    """One optimiser step of `models.training`."""
    import torch

    from models.training import Engine, train

    trial = text_trial(len(rows))
    model, engine = text_model(llm), Engine(torch.device("cpu"))
    engine.place(model)
    started, cpu = time.perf_counter(), time.process_time()
    (step,) = train(model, trial, corpus_of(rows, trial), engine)
    return Measurement(time.perf_counter() - started, time.process_time() - cpu, step.tokens, step.loss)


def trainer(llm: PreTrainedModel, pairs: Sequence[tuple[list[int], list[int]]], folder: str) -> Measurement:
    """One optimiser step of transformers' Trainer over all rows, as an epoch with gradient accumulation."""
    from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

    from models.weights import locate_tokenizer

    tokenizer = AutoTokenizer.from_pretrained(locate_tokenizer("tiny/llm"))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    collator, positions, clocks = DataCollatorForSeq2Seq(tokenizer, padding=True), list[int](), list[float]()

    def collate(features: list[dict[str, Any]]) -> Any:
        batch = collator(features)
        positions.append(batch["input_ids"].numel())
        return batch

    class Clock(TrainerCallback):
        """The times at the step's begin and end."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clocks[:] = clocks or [time.perf_counter(), time.process_time()]

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clocks.extend([time.perf_counter(), time.process_time()])

    arguments = TrainingArguments(
        output_dir=folder, use_cpu=True, num_train_epochs=1, per_device_train_batch_size=BATCH, learning_rate=1e-4,
        gradient_accumulation_steps=-(-len(pairs) // BATCH), max_grad_norm=1.0, report_to=[], save_strategy="no",
        logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False, seed=0,
    )  # fmt: skip
    data: Any = [{"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels} for ids, labels in pairs]
    run = Trainer(llm, arguments, data_collator=collate, train_dataset=data, callbacks=[Clock()])
    result = run.train()
    started, cpu, ended, cpu_end = clocks
    return Measurement(ended - started, cpu_end - cpu, sum(positions), result.training_loss)


def dialogue(row: Row) -> tuple[list[int], list[int]]:
    """All questions of a row after each other, as ids and labels."""
    ids, labels = list(row.prefix), [-100] * len(row.prefix)
    for text, of_text in alone(row):
        ids += text[len(row.prefix) :]
        labels += of_text[len(row.prefix) :]
    return ids, labels


def measure(label: str, lengths: Sequence[Lengths], repetitions: int) -> dict[str, list[Measurement]]:
    """The steps of each trainer, in turn, each from the same weights and on the same rows."""
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    card = sizes_of(label)
    llm, rng = random_llm(card), np.random.default_rng(1)
    rows = [row_of(one, card.vocab, rng) for one in lengths]
    results: dict[str, list[Measurement]] = {"ours": [], "Trainer": [], "Trainer, dialogue": []}
    warm = [row_of(Lengths(16, ((8, 2),)), card.vocab, rng)]
    with tempfile.TemporaryDirectory() as folder:
        ours(deepcopy(llm), warm)
        trainer(deepcopy(llm), alone(warm[0]), folder)
        for _ in range(repetitions):
            results["ours"].append(ours(deepcopy(llm), rows))
            results["Trainer"].append(trainer(deepcopy(llm), [pair for row in rows for pair in alone(row)], folder))
            results["Trainer, dialogue"].append(trainer(deepcopy(llm), [dialogue(row) for row in rows], folder))
            seconds = ", ".join(f"{name} {steps[-1].cpu_s:.1f} s" for name, steps in results.items())
            print(f"repetition {len(results['ours'])} of {repetitions}: {seconds}", file=sys.stderr, flush=True)
    return results


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, and the smallest and largest value."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def report(results: dict[str, list[Measurement]], useful: int) -> dict[str, float]:
    """Print the table; the ratios that have a goal.

    Seconds are those of the process's one thread, so that other programs on the machine count less.
    """
    print("| trainer | useful tokens/s | computed positions | s a step | s on the clock | loss |")
    print("|---|---|---|---|---|---|")
    for name, steps in results.items():
        print(
            f"| {name} | {spread([useful / one.cpu_s for one in steps], 1)} | {steps[0].positions:,} | "
            f"{spread([one.cpu_s for one in steps], 1)} | {spread([one.seconds for one in steps], 1)} | "
            f"{steps[0].loss:.5f} |"
        )
    pairs = list(zip(results["Trainer"], results["ours"], strict=True))
    factors = [peer.cpu_s / mine.cpu_s for peer, mine in pairs]
    ideal = statistics.median(peer.positions / mine.positions for peer, mine in pairs)
    factor = statistics.median(factors)
    print(
        f"\nours over Trainer: {spread(factors, 2)} times; ideal {ideal:.2f}; share of the ideal {factor / ideal:.0%}"
    )
    against = [
        peer.cpu_s / mine.cpu_s for peer, mine in zip(results["Trainer, dialogue"], results["ours"], strict=True)
    ]
    print(f"ours over Trainer on dialogues, another objective: {spread(against, 2)} times")
    return {"factor": factor, "ideal": ideal, "share_of_ideal": factor / ideal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=8, help="number of samples of lengths.json, a step")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--write-lengths", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.write_lengths:
        how = "python -m benchmarks.throughput --write-lengths: see drawn_lengths"
        head = json.dumps({"how": how, "tokens_per_second": TOKENS_PER_SECOND})
        samples = ",\n  ".join(json.dumps(one) for one in drawn_lengths())
        LENGTHS.write_text(f'{head[:-1]},\n "samples": [\n  {samples}\n ]}}\n')
        return
    lengths = read_lengths()[: options.samples]
    assert max(one.tokens for one in lengths) <= MAX_LENGTH, "a sample is longer than max_length"
    results = measure("tiny" if options.tiny else "100M", lengths, options.repetitions)
    ratios = report(results, sum(one.tokens for one in lengths))
    if options.json:
        write_json(options.json, ratios | {name: [vars(one) for one in steps] for name, steps in results.items()})
    difference = abs(results["ours"][0].loss - results["Trainer"][0].loss)
    assert difference < 1e-3, f"the losses differ by {difference:.2g} nats: not the same questions"
    sys.exit(not options.tiny and (ratios["factor"] < FACTOR or ratios["share_of_ideal"] < SHARE_OF_IDEAL))


if __name__ == "__main__":
    main()
