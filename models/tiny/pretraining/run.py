"""Make the shipped parts: `python -m models.tiny.pretraining.run [part ...]`, all of them without arguments.

Deterministic on one machine and library version: fixed seeds, one thread. Parts are stored in float16; code that loads
them computes in float32.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from models.tiny.pretraining.captions import pretrain_image_encoder, pretrain_video_encoder
from models.tiny.pretraining.contrastive import pretrain_image_contrastive
from models.tiny.pretraining.llm import EVALUATION_FORMS, evaluate, pretrain_llm
from models.tiny.pretraining.masked import pretrain_image_mae, pretrain_video_mae
from models.tiny.pretraining.readers import probe_clips, probe_frames
from models.tiny.pretraining.reference_towers import LAYERS_READ
from models.tiny.sizes import LLM_SIZES
from models.tiny.tokenizer import save_tokenizer
from models.weights import SHIPPED_PARTS

ENCODERS: dict[str, tuple[Callable[[], PreTrainedModel], Callable[[PreTrainedModel, int], dict[str, float]]]] = {
    "image-encoder": (pretrain_image_encoder, probe_frames),
    "image-contrastive": (pretrain_image_contrastive, probe_frames),
    "image-mae": (pretrain_image_mae, probe_frames),
    "video-encoder": (pretrain_video_encoder, probe_clips),
    "video-mae": (pretrain_video_mae, probe_clips),
}
"""Name -> functions that train and probe the encoder."""


def save(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Save a model in float16 and return it with the rounded weights, in float32."""
    shutil.rmtree(folder, ignore_errors=True)
    model.half().save_pretrained(str(folder))
    for file in folder.iterdir():
        file.chmod(0o644)  # safetensors writes 0600
    return model.float()


def make_part(name: str) -> None:
    """Train one part, save it and print its accuracy on held-out scenes."""
    start = time.process_time()
    if name == "tokenizer":
        save_tokenizer(SHIPPED_PARTS / name)
    elif name in ENCODERS:
        pretrain, probe = ENCODERS[name]
        encoder = save(pretrain(), SHIPPED_PARTS / name)
        seconds = time.process_time() - start
        print(f"{name}: {sum(p.numel() for p in encoder.parameters())} parameters, {seconds:.0f} CPU s", flush=True)
        for layer in LAYERS_READ:
            _print(f"{name} layer {layer}", probe(encoder, layer))
    else:
        llm = save(pretrain_llm(LLM_SIZES[name.removeprefix("llm-")]), SHIPPED_PARTS / name)
        for form_name, form in EVALUATION_FORMS.items():
            _print(f"{name} {form_name}", evaluate(llm, form))
    print(f"{name}: {time.process_time() - start:.0f} CPU s", flush=True)


def _print(name: str, scores: dict[str, float]) -> None:
    mean = sum(scores.values()) / len(scores)
    print(f"{name}: mean {mean:.1f}; " + ", ".join(f"{k} {v:.0f}" for k, v in scores.items()), flush=True)


def main() -> None:
    """Parse the names of parts and make them."""
    names = ["tokenizer", *ENCODERS, *(f"llm-{label}" for label in LLM_SIZES)]
    parser = argparse.ArgumentParser(description="Make the shipped parts of the embedded study.")
    parser.add_argument("parts", nargs="*", choices=[*names, []], default=names, metavar="part")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in parser.parse_args().parts or names:
        make_part(name)


if __name__ == "__main__":
    main()
