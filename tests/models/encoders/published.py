"""What the tests know of published files: their lists of keys, and weights made by the goldens' rule."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

MODELS = Path(__file__).parents[1]
MANIFESTS, GOLDENS = MODELS / "manifests", MODELS / "goldens"


def manifest(name: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of a published file (tests/models/manifests/README.md)."""
    with gzip.open(MANIFESTS / f"{name}.json.gz") as file:
        return {key: tuple(shape) for key, shape in json.load(file).items()}


def golden(name: str) -> dict[str, Tensor]:
    """Inputs and outputs of the reference code (tests/models/goldens/README.md)."""
    return load_file(GOLDENS / f"{name}.safetensors")


def weight_of(key: str, shape: torch.Size) -> Tensor:
    """The goldens' rule: a weight follows from its name and shape."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    drawn, last = torch.randn(shape, generator=generator), key.split(".")[-1]
    if last == "gamma":
        return 0.5 + 0.1 * drawn
    if last == "weight" and any("norm" in part for part in key.split(".")):
        return 1 + 0.1 * drawn
    if drawn.ndim <= 1 or last.endswith("bias"):
        return 0.1 * drawn
    if ("embed" in key and "patch_embed" not in key) or last == "cls_token":
        return 0.5 * drawn
    return drawn / (drawn.numel() // shape[0]) ** 0.5


def filled(module: nn.Module) -> nn.Module:
    """The module with the weights of the rule."""
    module.load_state_dict({key: weight_of(key, tensor.shape) for key, tensor in module.state_dict().items()})
    return module.eval()
