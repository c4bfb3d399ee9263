"""The parts of `gpu_check`: each returns its figures, or raises `Skipped` with the reason."""

from __future__ import annotations

import inspect
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch  # noqa: TID253 - gpu_check imports this module when its stand-ins are in place

from benchmarks.generated_videos import (
    LEARNING,
    Scenario,
    generated_corpus,
    load_of,
    model_flops,
    random_model,
    step_rows,
)
from benchmarks.stand_ins import is_missing
from models.architecture import VideoLMM
from models.costs import ON_CPU, Model, TrainingStep, on_gpus, positions_per_micro_batch, training_memory
from models.data import Batch, Corpus, Row
from models.training import Engine, EngineOptions, Training, train

ROOT = Path(__file__).parents[1]
WARM = 20
"""Steps after which nothing may compile any more."""
FITS = 0.9
"""Share of the card's memory up to which a model is trained without checkpointing, by the plan."""


class Skipped(Exception):
    """A part that cannot run here; the message says why."""


@dataclass(frozen=True)
class Place:
    """Where parts run."""

    device: torch.device
    tiny: bool

    @classmethod
    def of(cls, device: str, *, tiny: bool) -> Place:
        """Quiet, and on one CPU with one thread."""
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        if device == "cpu":
            torch.set_num_threads(1)
        return cls(torch.device(device), tiny)

    @property
    def is_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def memory_bytes(self) -> int:
        """Memory of the card; 0 for a CPU."""
        return torch.cuda.get_device_properties(self.device).total_memory if self.is_cuda else 0

    def scenario(self, size: str, steps: int = 4) -> Scenario:
        """Videos for a model of this size."""
        if self.tiny:
            return Scenario(
                size="tiny", steps=steps, batch=4, seconds=(3, 6), questions=2, side=32, width=16, tokens_per_frame=2
            )
        return Scenario(size=size, steps=steps, batch=16, seconds=(10, 30, 60, 120))

    def wait(self) -> None:
        """Until the device has done all its work."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)


@contextmanager
def one_rank(device: str) -> Iterator[None]:
    """The group of one rank in which an engine shards weights on a GPU, where `models.training` has groups."""
    import models.training

    ranks = getattr(models.training, "ranks", None)
    with ranks(torch.device(device).type) if ranks else nullcontext():
        yield


def placed(model: VideoLMM, scenario: Scenario, place: Place, *, checkpointing: bool = False) -> Engine:
    """An engine that has placed the model; which parts learn is passed on if it takes that."""
    engine = Engine(place.device, options=EngineOptions(checkpointing=checkpointing))
    takes_schedule = "schedule" in inspect.signature(engine.place).parameters
    engine.place(model, **({"schedule": scenario.design.schedule} if takes_schedule else {}))
    return engine


def environment(place: Place) -> dict[str, Any]:
    """Card, versions and commit."""
    import transformers

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    figures = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if place.is_cuda:
        figures |= {"card": torch.cuda.get_device_name(place.device), "GiB": f"{place.memory_bytes / 2**30:.0f}"}
    return figures | {"commit": commit.stdout.strip() or "unknown"}


def data_sheet_flops(card: str, memory_bytes: int) -> float | None:
    """Peak of dense bf16 by ablate/plan/gpus.yaml, in FLOP/s; None for a card that is not in it."""
    import yaml

    table: dict[str, dict[str, float]] = yaml.safe_load((ROOT / "ablate/plan/gpus.yaml").read_text())
    words = card.lower().replace("geforce ", "").replace("rtx ", "rtx").split()
    rows = [one for name, one in table.items() if any(name.split("-")[0] in word for word in words)]
    nearest = min(rows, key=lambda one: abs(one["memory_gib"] - memory_bytes / 2**30), default=None)
    return nearest["tflops"] * 1e12 if nearest else None


def matrix_peak(place: Place) -> dict[str, Any]:
    """FLOP/s of the best of 10 products of square bf16 matrices (fp32 on a CPU)."""
    n, dtype = (8192, torch.bfloat16) if place.is_cuda else (512, torch.float32)
    left, right = (torch.randn(n, n, device=place.device, dtype=dtype) for _ in range(2))
    figures: dict[str, Any] = {"TFLOP/s": 2 * n**3 / min(timed(lambda: left @ right, place, 10)) / 1e12}
    if place.is_cuda and (peak := data_sheet_flops(torch.cuda.get_device_name(place.device), place.memory_bytes)):
        figures["data sheet TFLOP/s"] = peak / 1e12
    return figures


def timed(work: Callable[[], object], place: Place, count: int) -> list[float]:
    """Seconds of each of `count` calls, after a first one."""
    work()
    seconds = []
    for _ in range(count):
        place.wait()
        started = time.perf_counter()
        work()
        place.wait()
        seconds.append(time.perf_counter() - started)
    return seconds


def planned_bytes(place: Place, sizes: Model, rows: list[Row], *, checkpointing: bool) -> float:
    """Peak memory by the plan's formula; frames are not read, since features are stored."""
    length = sum(row.length for row in rows) / len(rows)
    samples = max(1, int(positions_per_micro_batch(place.device.type) // length))
    step = TrainingStep(optimizer="adamw", samples=samples, accumulates=True, checkpointing=checkpointing)
    load = replace(load_of(rows), frame_side=0)
    return training_memory(sizes, load, LEARNING, on_gpus(1) if place.is_cuda else ON_CPU, step).peak


def compiled_graphs() -> int:
    """Number of graphs that were compiled so far, recompilations included."""
    from torch._dynamo.utils import counters

    return int(counters["stats"].get("unique_graphs", 0))


def training(place: Place, size: str) -> dict[str, Any]:
    """Train connector and LLM on stored features: speed, MFU, memory, recompiles."""
    scenario = place.scenario(size, steps=WARM + (2 if place.tiny else 10))
    torch.manual_seed(0)
    checkpointing = _must_checkpoint(place, scenario)
    if place.is_cuda:
        torch.cuda.reset_peak_memory_stats(place.device)
    model, sizes = random_model(scenario, place.device)
    corpus = generated_corpus(scenario, model.encoder)
    rows = step_rows(scenario, corpus)
    engine = placed(model, scenario, place, checkpointing=checkpointing)
    steps, graphs = [], list[int]()
    for step in train(model, scenario.trial, corpus, engine):
        steps.append(step)
        graphs.append(compiled_graphs())
    seconds = statistics.median(step.seconds for step in steps[WARM:])
    useful, flops = sum(row.length for row in rows), model_flops(sizes, rows)
    figures: dict[str, Any] = {
        "useful tokens/s": useful / seconds,
        "TFLOP/s": flops / seconds / 1e12,
        "empty positions": 1 - useful / steps[-1].tokens,
        "data wait": statistics.median(step.data_s / step.seconds for step in steps[WARM:]),
        "compiled after step 20": graphs[-1] - graphs[WARM - 1],
        "first loss": steps[0].loss,
        "last loss": steps[-1].loss,
        "checkpointing": checkpointing,
    }
    planned = planned_bytes(place, sizes, rows, checkpointing=checkpointing)
    figures["planned GiB"] = planned / 2**30
    if not place.is_cuda:
        return figures
    figures |= {"GiB": engine.memory_bytes / 2**30, "off the plan": engine.memory_bytes / planned - 1}
    if peak := data_sheet_flops(torch.cuda.get_device_name(place.device), place.memory_bytes):
        figures["MFU"] = flops / seconds / peak
    return figures


def _must_checkpoint(place: Place, scenario: Scenario) -> bool:
    """Whether the model fits only with checkpointing.

    Raises:
        Skipped: it does not fit at all.
    """
    if not place.is_cuda:
        return False
    small = replace(scenario, size="tiny")
    model, sizes = random_model(small, torch.device("cpu"))
    rows = step_rows(small, generated_corpus(small, model.encoder))
    sizes = replace(sizes, llm=scenario.card)
    for checkpointing in (False, True):
        needed = planned_bytes(place, sizes, rows, checkpointing=checkpointing)
        if needed < FITS * place.memory_bytes:
            return checkpointing
    raise Skipped(f"needs {needed / 2**30:.0f} GiB with checkpointing; the card has {place.memory_bytes / 2**30:.0f}")


def _micro_batch(place: Place, steps: int = 1) -> tuple[VideoLMM, Corpus, Batch]:
    """A model in fp32 and a micro-batch, on the device."""
    scenario = place.scenario("0.5B", steps)
    torch.manual_seed(0)
    model, _ = random_model(scenario, place.device)
    corpus = generated_corpus(scenario, model.encoder)
    model.to(place.device)
    return model, corpus, corpus.collate(step_rows(scenario, corpus)[:4]).to(place.device)


def flex_against_dense(place: Place) -> dict[str, Any]:
    """Logits and gradients of a micro-batch by FlexAttention and by the dense mask; on a CPU the masks."""
    if is_missing("models.architecture.flex"):
        raise Skipped("there is no models/architecture/flex.py")
    from models.architecture import masks

    model, _, batch = _micro_batch(place)
    if not place.is_cuda:
        return _equal_masks(batch)
    results = []
    for dense in (False, True):
        with _dense(masks) if dense else patch.object(masks, "uses_flex", masks.uses_flex):
            model.zero_grad(set_to_none=True)
            logits = model(batch)
            torch.nn.functional.nll_loss(logits, batch.targets_K).backward()
        gradients = [p.grad.flatten() for p in model.trainable() if p.grad is not None]
        results.append((logits.detach(), torch.cat(gradients)))
    (flex, flex_gradient), (reference, gradient) = results
    figures = {
        "logits differ by": (flex - reference).abs().max().item(),
        "gradients differ by, of their norm": ((flex_gradient - gradient).norm() / gradient.norm()).item(),
    }
    assert all(value < 1e-2 for value in figures.values()), figures
    return figures


def _equal_masks(batch: Batch) -> dict[str, Any]:
    """FlexAttention has no backward pass on a CPU: whether its mask is the dense one."""
    from torch.nn.attention.flex_attention import create_mask

    from models.architecture.flex import mask_function

    rows, length = batch.ids_BL.shape
    mask = create_mask(mask_function(batch), rows, 1, length, length, device="cpu")[:, 0]
    assert torch.equal(mask, batch.attends()), "the mask of FlexAttention is not the dense one"
    return {"equal masks": f"{rows} x {length} x {length}"}


@contextmanager
def _dense(masks: Any) -> Iterator[None]:
    """The dense mask on a GPU too."""

    def never(llm: Any, _: torch.device) -> bool:
        llm.set_attn_implementation("sdpa")
        return False

    with patch.object(masks, "uses_flex", never):
        yield


def mask_time(place: Place) -> dict[str, Any]:
    """Time of a micro-batch's masks, and their share of its forward and backward pass."""
    from models.architecture.masks import attention_masks

    model, _, batch = _micro_batch(place)
    dtype = torch.bfloat16 if place.is_cuda else torch.float32
    mask = statistics.median(timed(lambda: attention_masks(model.llm, batch, dtype), place, 10))
    step = statistics.median(timed(lambda: model.loss(batch).backward(), place, 3))
    return {"ms": mask * 1e3, "positions": batch.ids_BL.numel(), "share of a micro-batch in fp32": mask / step}


def resume(place: Place) -> dict[str, Any]:
    """Losses of a training that goes on from a saved position against those of an undisturbed one."""
    if not hasattr(Training, "state"):
        raise Skipped("models.training saves no position")
    scenario = place.scenario("0.5B", steps=4)

    def fresh() -> Training:
        torch.manual_seed(0)
        model, _ = random_model(scenario, place.device)
        corpus = generated_corpus(scenario, model.encoder)
        return Training(model, scenario.trial, corpus, placed(model, scenario, place))

    undisturbed = [step.loss for step in fresh().run()]
    first = fresh()
    running = first.run()
    losses = [next(running).loss for _ in range(2)]
    position = first.state()
    tensors = {name: one.detach().clone() for name, one in position.tensors.items()}
    del first, running
    second = fresh()
    second.restore(position.values, lambda _: tensors)
    losses += [step.loss for step in second.run()]
    difference = max(abs(a - b) for a, b in zip(losses, undisturbed, strict=True))
    assert difference < (1e-2 if place.is_cuda else 1e-6), f"losses {losses}, undisturbed {undisturbed}"
    return {"steps": len(losses), "losses differ by": difference}


def out_of_memory(place: Place) -> dict[str, Any]:
    """A step that runs out of CUDA memory, then the same with half the positions until it fits."""
    if not place.is_cuda:
        raise Skipped("a CPU raises no CUDA out-of-memory error")
    scenario = place.scenario("0.5B", steps=1)
    largest = 4 * positions_per_micro_batch("cuda")
    peaks = [_peak_of_a_step(place, scenario, positions) for positions in (largest >> 2, largest)]
    if peaks[1] < 1.1 * peaks[0]:
        raise Skipped("the micro-batch does not decide the memory of this model")
    torch.cuda.set_per_process_memory_fraction(sum(peaks) / 2 / place.memory_bytes, place.device)
    failures = 0
    try:
        while True:
            try:
                _peak_of_a_step(place, scenario, largest >> failures)
                break
            except torch.OutOfMemoryError:
                failures += 1
                assert failures < 4, "a quarter of the positions does not fit where it did before"
            torch.cuda.empty_cache()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, place.device)
    assert failures, "no out-of-memory error below the peak"
    return {"out of memory": failures, "positions that fit": largest >> failures}


def _peak_of_a_step(place: Place, scenario: Scenario, positions: int) -> int:
    """Bytes that torch reserves for one step of training."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(place.device)
    model, _ = random_model(scenario, place.device)
    corpus = generated_corpus(scenario, model.encoder)
    for _ in train(model, scenario.trial, corpus, placed(model, scenario, place), positions):
        pass
    return torch.cuda.max_memory_reserved(place.device)
