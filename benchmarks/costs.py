"""The plan's FLOPs and memory against real training steps: `python -m benchmarks.costs [--quick]`.

Each case builds a VideoLMM with random weights in a fresh process and takes three optimiser steps in fp32 on one core,
or answers, if nothing learns. FLOPs are those of torch's FlopCounterMode with the plain attention kernel (it does not
support the CPU's fused one). Memory is measured twice: the process's peak resident size minus its size before the model
was built, and the peak of torch's memory tracker over the third step. The exit code is 1 if FLOPs differ by more than
3%, the tracked peak by more than 15%, or the resident size by more than that and 64 MiB, which libraries may take.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.budget import total_tracker
from models.cards import LlmCard, encoder_card
from models.costs import (
    ON_CPU,
    Learning,
    Load,
    Memory,
    Model,
    TrainingStep,
    evaluation_memory,
    training_flops,
    training_memory,
)
from models.design import AdamW, ConvPool, LearningRates, Lora, MlpPool, Muon, Perceiver, Resampler, Siglip, VideoMae
from models.video import largest


@dataclass(frozen=True)
class Case:
    """A model, the parts of it that are trained, and the size of a step."""

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    mlp: int
    vocab: int
    clips: int
    """Clips of a sample."""
    text: int
    """Text tokens of a sample."""
    batch: int
    """Samples of a micro-batch."""
    learns: str
    """Initials of the trained parts: vision, connector, LLM."""
    checkpointing: bool = False
    tokens: int = 16
    """Visual tokens of a clip."""
    encoders: tuple[str, ...] = ("siglip",)
    resampler: str = "perceiver"
    optimizer: str = "adamw"
    tied: bool = True
    micro_batches: int = 1
    """Micro-batches per optimiser step."""
    rank: int = 0
    """Rank of the LLM's adapters; 0: none."""


SMALL = Case("small, all learns", 256, 6, 4, 2, 1024, 8000, 8, 128, 2, "vcl")
MIDDLE = Case("0.1B, c+l", 768, 12, 12, 4, 2048, 32000, 16, 256, 1, "cl")
QWEN = Case("Qwen2-0.5B, c+l", 896, 24, 14, 2, 4864, 151936, 16, 256, 1, "cl")
BOTH = ("videomae", "siglip")
QUICK = (SMALL, replace(SMALL, name="small, connector", learns="c"))
CASES = (
    *QUICK,
    MIDDLE,
    replace(MIDDLE, name="0.1B, all learns", learns="vcl"),
    replace(MIDDLE, name="0.1B, 2,048 positions, checkpointed", clips=64, text=1024, checkpointing=True),
    replace(MIDDLE, name="0.1B, 2,048 positions", clips=64, text=1024),
    replace(MIDDLE, name="0.1B, video and image encoder, all learns", learns="vcl", encoders=BOTH, clips=8, tokens=32),
    replace(MIDDLE, name="0.1B, MLP and pool, c+l", resampler="mlp_pool"),
    replace(MIDDLE, name="0.1B, convolutions and pool, all learns", resampler="conv_pool", learns="vcl"),
    replace(MIDDLE, name="0.1B, Muon, c+l", optimizer="muon"),
    replace(MIDDLE, name="0.1B, untied, two micro-batches, c+l", tied=False, micro_batches=2),
    replace(MIDDLE, name="0.1B, nothing", learns=""),
    replace(MIDDLE, name="0.1B, connector", learns="c"),
    replace(MIDDLE, name="0.1B, LoRA of rank 64, c+l", rank=64),
    replace(
        MIDDLE,
        name="0.1B, LoRA of rank 16, 2,048 positions, checkpointed",
        rank=16,
        clips=64,
        text=1024,
        checkpointing=True,
    ),
    replace(QWEN, name="Qwen2-0.5B, connector", learns="c"),
    QWEN,
    replace(QWEN, name="Qwen2-0.5B, c+l, two micro-batches", micro_batches=2),
    replace(QWEN, name="Qwen2-0.5B, c+l, 1,024 positions, checkpointed", clips=32, text=512, checkpointing=True),
)
ALLOCATOR = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
"""Environment in which freed memory is returned to the system. By default glibc keeps freed blocks below 32 MB, and
gradients do not fit where activations were: the process then has up to a fifth more than is in use (measured)."""
TARGETS = 0.25
"""Share of text tokens that are targets."""


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "--case":
        return measure(CASES[int(sys.argv[2])])
    cases = QUICK if "--quick" in sys.argv else CASES
    print("| case | parameters | TFLOPs formula | counted | off | GiB formula | measured | off | tracked | off |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    num_outside = 0
    for number, case in enumerate(cases):
        process = subprocess.run(
            [sys.executable, "-m", "benchmarks.costs", "--case", str(number)],
            capture_output=True,
            text=True,
            env=os.environ | ALLOCATOR,
        )
        if process.returncode:
            print(process.stderr, file=sys.stderr)
            sys.exit(process.returncode)
        num_outside += report(case, json.loads(process.stdout.splitlines()[-1]))
    sys.exit(bool(num_outside))


def report(case: Case, measurement: dict[str, float]) -> bool:
    """Print the row of a case; returns whether its FLOPs or memory are outside of the tolerance."""
    model, load, learning = planned(case)
    flops = case.batch * training_flops(model, load, learning, checkpointing=case.checkpointing)
    memory = predicted(case).peak / 2**30
    off_flops, *off_memory = (
        formula / measurement[name] - 1
        for formula, name in ((flops, "flops"), (memory, "gib"), (memory, "tracked_gib"))
    )
    params = sum(model.params.values()) / 1e6
    print(
        f"| {case.name} | {params:.0f}M | {flops / 1e12:.4f} | {measurement['flops'] / 1e12:.4f} | {off_flops:+.1%} | "
        f"{memory:.2f} | {measurement['gib']:.2f} | {off_memory[0]:+.1%} | "
        f"{measurement['tracked_gib']:.2f} | {off_memory[1]:+.1%} |",
        flush=True,
    )
    is_resident_off = abs(off_memory[0]) > 0.15 and abs(memory - measurement["gib"]) > 1 / 16
    return abs(off_flops) > 0.03 or is_resident_off or abs(off_memory[1]) > 0.15


def planned(case: Case) -> tuple[Model, Load, Learning]:
    """The model, the load of a sample and the trained parts, as a plan has them."""
    llm = LlmCard(
        id="random",
        hidden=case.hidden,
        layers=case.layers,
        heads=case.heads,
        kv_heads=case.kv_heads,
        mlp=case.mlp,
        vocab=case.vocab,
        tied=case.tied,
        licence="none",
        commercial=True,
        source="random weights",
    )
    with tempfile.TemporaryDirectory() as folder:
        for kind in case.encoders:
            (Path(folder) / kind).mkdir()
            (Path(folder) / kind / "config.json").write_text(json.dumps(vision_config(kind)))
        cards = tuple(encoder_card(one) for one in encoders(case, folder))
    grid = largest([card.grid for card in cards])
    model = Model(
        encoders=cards,
        takes=tuple(grid[0] if card.frames == 1 else card.frames for card in cards),
        resampler=resampler(case),
        grid=grid,
        tokens_per_clip=case.tokens,
        llm=llm,
        lora=lora(case),
    )
    load = Load(
        clips=case.clips,
        visual=case.clips * case.tokens,
        text=case.text,
        targets=int(case.text * TARGETS),
        frame_side=224,
    )
    return model, load, Learning.of(rates(case))


def predicted(case: Case) -> Memory:
    """The plan's memory for this machine: fp32 on one CPU."""
    model, load, learning = planned(case)
    if not case.learns:
        return evaluation_memory(model, load, learning, ON_CPU, case.batch)
    return training_memory(
        model,
        load,
        learning,
        ON_CPU,
        TrainingStep(
            optimizer=optimizer(case).kind,
            samples=case.batch,
            accumulates=case.micro_batches > 1,
            checkpointing=case.checkpointing,
        ),
    )


def encoders(case: Case, folder: str) -> list[Siglip | VideoMae]:
    """The case's encoders, with weights in a folder by kind."""
    configs = {
        "siglip": Siglip(kind="siglip", weights=f"{folder}/siglip"),
        "videomae": VideoMae(kind="videomae", weights=f"{folder}/videomae", frames=4),
    }
    return [configs[kind] for kind in case.encoders]


def clip_frames(case: Case) -> int:
    return 4 if "videomae" in case.encoders else 1


def resampler(case: Case) -> Resampler:
    kinds = {"perceiver": Perceiver, "mlp_pool": MlpPool, "conv_pool": ConvPool}
    return kinds[case.resampler](kind=case.resampler, tokens_per_frame=case.tokens / clip_frames(case))


def optimizer(case: Case) -> AdamW | Muon:
    return AdamW(kind="adamw") if case.optimizer == "adamw" else Muon(kind="muon")


def lora(case: Case) -> Lora | None:
    return Lora(rank=case.rank) if case.rank else None


def vision_config(kind: str) -> dict[str, object]:
    sizes = {
        "hidden_size": 384,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 6,
        "image_size": 224,
    }
    if kind == "siglip":
        return sizes | {"model_type": "siglip_vision_model", "patch_size": 14}
    return sizes | {"model_type": "videomae", "patch_size": 16, "num_frames": 4, "tubelet_size": 2}


def rates(case: Case) -> LearningRates:
    return LearningRates(**{name: 1e-5 for name in ("vision", "connector", "llm") if name[0] in case.learns})


def measure(case: Case) -> None:
    """Take two real steps; print peak memory and FLOPs as JSON."""
    import psutil
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from models import architecture, data, encoders, training  # noqa: F401 - their size is not the model's

    torch.set_num_threads(1)
    process = psutil.Process()
    warm_up(torch)
    before, peak, stop = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            time.sleep(0.002)

    trainer = Trainer(case)
    threading.Thread(target=watch, daemon=True).start()
    for _ in range(2):
        trainer.step()
    stop.set()
    tracked = trainer.tracked_bytes()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        trainer.pass_through()
    gib = {"gib": (peak[0] - before) / 2**30, "tracked_gib": tracked / 2**30}
    print(json.dumps({**gib, "flops": counter.get_total_flops()}))


class Trainer:
    """The steps of a case, by the parts of the training loop."""

    def __init__(self, case: Case) -> None:
        import torch

        from models.training import Engine, freeze, make_optimizers, train_mode

        self.case, self.engine = case, Engine(torch.device("cpu"))
        self.model, self.batch = build(case, torch)
        freeze(self.model, rates(case))
        self.optimizers = make_optimizers(self.model, optimizer(case), rates(case)) if case.learns else []
        train_mode(self.model, rates(case))
        if case.checkpointing:
            self.model.llm.activation_checkpointing_enable({"use_reentrant": False})
            self.model.llm.enable_input_require_grads()

    def pass_through(self) -> None:
        """Forward and backward pass of a micro-batch; the forward pass alone if nothing learns."""
        import torch

        with torch.set_grad_enabled(bool(self.case.learns)):
            self.engine.backward(self.model.loss(self.batch))

    def step(self) -> None:
        """An optimiser step."""
        for _ in range(self.case.micro_batches):
            self.pass_through()
        for one in self.optimizers:
            one.step()
            one.zero_grad(set_to_none=True)

    def tracked_bytes(self) -> int:
        """Peak bytes of a step by torch's memory tracker, after a first step: weights, states, frames, all values."""
        tracker = total_tracker()
        tracker.track_external(self.model, *self.optimizers, *self.batch.clips.frames)
        with tracker:
            self.step()
        (by_device,) = tracker.get_tracker_snapshot("peak").values()
        return int(by_device["Total"])


def warm_up(torch) -> None:
    """Let libraries allocate their buffers before the measurement."""
    layer = torch.nn.Linear(64, 64)
    layer(torch.randn(8, 64)).sum().backward()


def build(case: Case, torch):
    """A VideoLMM with random weights, and a batch of empty frames and arbitrary tokens."""
    from transformers import (
        Qwen2Config,
        Qwen2ForCausalLM,
        SiglipVisionConfig,
        SiglipVisionModel,
        VideoMAEConfig,
        VideoMAEModel,
    )

    from models.architecture import VideoLMM, add_adapters, build_resampler
    from models.data import VIDEO_TOKEN, Branch, Row, collate
    from models.encoders import CombinedEncoder, build_encoder

    with tempfile.TemporaryDirectory() as folder:
        SiglipVisionModel(SiglipVisionConfig(**vision_config("siglip"))).save_pretrained(f"{folder}/siglip")
        VideoMAEModel(VideoMAEConfig(**vision_config("videomae"))).save_pretrained(f"{folder}/videomae")
        encoder = CombinedEncoder([build_encoder(one) for one in encoders(case, folder)])
    config = Qwen2Config(
        vocab_size=case.vocab,
        hidden_size=case.hidden,
        intermediate_size=case.mlp,
        num_hidden_layers=case.layers,
        num_attention_heads=case.heads,
        num_key_value_heads=case.kv_heads,
        tie_word_embeddings=case.tied,
        attn_implementation="sdpa",
    )
    connector = build_resampler(resampler(case), encoder.width, case.hidden, encoder.grid, case.tokens)
    model = VideoLMM(encoder, connector, Qwen2ForCausalLM(config))
    if adapters := lora(case):
        add_adapters(model.llm, adapters)
    text = torch.arange(case.text) % case.vocab
    targets = tuple((position, int(text[position])) for position in range(int(case.text * TARGETS)))
    row = Row([VIDEO_TOKEN] * (case.clips * case.tokens), [Branch(tuple(text.tolist()), targets)])
    return model, collate([row] * case.batch, clips=visual_of(case, encoder))


def visual_of(case: Case, encoder):
    """Empty frames of 224 x 224, none of which is another's copy."""
    import torch

    from models.encoders import EncoderInput, Visual

    clips, inputs = case.clips * case.batch, []
    for index, one in enumerate(encoder.encoders):
        units = encoder.takes(index) // one.frames
        frames_UN = torch.arange(clips * units * one.frames).view(-1, one.frames)
        inputs.append(EncoderInput.of((frames_UN,), None, torch.arange(clips * units).view(clips, units)))
    return Visual((torch.zeros(clips * clip_frames(case), 224, 224, 3, dtype=torch.uint8),), tuple(inputs))


if __name__ == "__main__":
    main()
