"""A training step's share of the measured matrix-product peak on one core: `python -m benchmarks.peak_share`.

The peak is the rate of fp32 products of square matrices with n = 1024 on the same core, measured before and after
each step; the step is one of `models.training`, fp32, with AdamW, clipping and collation, of 4 rows of 512 tokens.
FLOPs by `random_models.llm_step_flops`. The goal is 60% with 100M parameters; the embedded 0.4M is reported. Two steps
of a plain transformers model (`loss.backward()`, AdamW) stand beside it. The exit code is 1 below the goal.

Seconds are those of the process's one thread (CPU time), so that other programs on the machine count less. `--profile`
prints where a step's time goes, by torch.profiler; `--tiny` takes a small model, for tests.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.random_models import (
    Lengths,
    corpus_of,
    flops_of,
    llm_step_flops,
    random_llm,
    row_of,
    sizes_of,
    text_model,
    text_trial,
    write_json,
)

GOAL = 0.60
ROW = Lengths(384, ((32, 16),) * 4)
"""512 tokens: a prefix and four questions, of which half are targets."""
ROWS = 4
N = 1024
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention": ("aten::_scaled_dot_product",),
    "optimiser": ("aten::_fused_adamw",),
    "clipping": ("aten::_foreach", "aten::linalg_vector_norm"),
    "log-softmax, loss": ("aten::_log_softmax", "aten::nll_loss"),
    "activation": ("aten::silu",),
    "copies": ("aten::copy_", "aten::cat", "aten::clone", "aten::index"),
    "fills": ("aten::fill_", "aten::zero_"),
    "sums": ("aten::sum", "aten::mean"),
    "products and sums of elements": ("aten::mul", "aten::add", "aten::neg", "aten::pow", "aten::rsqrt", "aten::div"),
}
"""Kind of work -> how the names of its operators begin."""


def matrix_peak(products: int = 12) -> float:
    """FLOP/s of the fastest of some products of two fp32 matrices (N, N) on this thread."""
    import torch

    left, right, out = torch.randn(N, N), torch.randn(N, N), torch.empty(N, N)
    seconds = []
    for _ in range(products):
        started = time.process_time()
        torch.mm(left, right, out=out)
        seconds.append(time.process_time() - started)
    return 2 * N**3 / min(seconds)


def our_steps(label: str, count: int) -> Iterator[float]:
    """FLOP of each step, after it."""
    import torch

    from models.training import Engine, train

    card, rng = sizes_of(label), np.random.default_rng(0)
    rows = [row_of(ROW, card.vocab, rng) for _ in range(ROWS)]
    trial, engine = text_trial(ROWS, count), Engine(torch.device("cpu"))
    model = text_model(random_llm(card))
    engine.place(model)
    for _ in train(model, trial, corpus_of(rows, trial), engine):
        yield flops_of(card, rows)


def plain_steps(label: str, rows: int, count: int) -> Iterator[float]:
    """FLOP of each step of a plain transformers model on rows of 512 tokens, all of them targets."""
    import torch

    card = sizes_of(label)
    llm = random_llm(card).train()
    optimizer = torch.optim.AdamW(llm.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(3, card.vocab, (rows, 512))
    for _ in range(count):
        llm(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(llm.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield llm_step_flops(card, rows * 512, rows * 512 * 513 // 2, rows * 511)


def shares(steps: Iterator[float], warm: int = 1) -> list[tuple[float, float, float]]:
    """CPU seconds, FLOP/s, and their share of the peak beside it, for each step after the first `warm` ones."""
    results, before = [], matrix_peak()
    clock = time.process_time()
    for number, flops in enumerate(steps):
        seconds = time.process_time() - clock
        after = matrix_peak()
        if number >= warm:
            results.append((seconds, flops / seconds, flops / seconds / max(before, after)))
        before, clock = after, time.process_time()
    return results


def line(name: str, results: Sequence[tuple[float, float, float]]) -> float:
    """Print a row of the table; the median share."""
    seconds, rates, parts = zip(*results, strict=True)
    median = statistics.median(parts)
    print(
        f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(rates) / 1e9:.1f} | "
        f"{statistics.median(rates) / median / 1e9:.1f} | {median:.1%} ({min(parts):.1%} to {max(parts):.1%}) |",
        flush=True,
    )
    return median


def kind_of(operator: str) -> str:
    """The kind of work of an operator."""
    return next((kind for kind, starts in KINDS.items() if operator.startswith(starts)), "other")


def profile(steps: Callable[[], Iterator[float]], operators: int = 14) -> dict[str, float]:
    """Print where the second of two steps spends its time; kind of work -> share."""
    import torch
    from torch.profiler import ProfilerActivity

    running = steps()
    next(running)
    with torch.profiler.profile(activities=[ProfilerActivity.CPU]) as recorded:
        next(running)
    events: list[Any] = sorted(recorded.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in events)
    kinds: dict[str, float] = defaultdict(float)
    for one in events:
        kinds[kind_of(one.key)] += one.self_cpu_time_total / total
    print("\n| kind of work | share of the step |\n|---|---|")
    for kind, share in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"| {kind} | {share:.1%} |")
    print("\n| operator | calls | ms | share |\n|---|---|---|---|")
    for one in events[:operators]:
        print(
            f"| {one.key} | {one.count} | {one.self_cpu_time_total / 1e3:.0f} | {one.self_cpu_time_total / total:.1%} |"
        )
    return dict(kinds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="measured steps, after a first one")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    label, count = "tiny" if options.tiny else "100M", options.steps + 1
    print("| step | CPU s | GFLOP/s | peak | share of the peak |\n|---|---|---|---|---|")
    share = line(f"{label}, 2,048 tokens", shares(our_steps(label, count)))
    parts = {label: share, "0.4M": line("0.4M, 2,048 tokens", shares(our_steps("0.4M", 4 * count)))}
    for rows in (1, ROWS):
        name = f"plain transformers, {label}, {rows * 512:,} tokens"
        parts[name] = line(name, shares(plain_steps(label, rows, count)))
    kinds = profile(lambda: our_steps(label, 2)) if options.profile else {}
    if options.json:
        write_json(options.json, {"shares": parts, "profile": kinds})
    sys.exit(not options.tiny and share < GOAL)


if __name__ == "__main__":
    main()
