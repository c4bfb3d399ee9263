"""Make pixels.safetensors: what the reference's own code makes of frames, before each tower (see README.md here).

    python tests/models/goldens/pixels.py APOLLO tests/models/goldens/pixels.safetensors

APOLLO is a checkout of efogdev/Apollo@e7f9dd1, whose `expand2square` pads the frames. The script runs in an environment
of its own and imports nothing of ours but frames.py beside it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from frames import SIZES, frame
from PIL import Image
from safetensors.numpy import save_file

# PyPI's torchvision is compiled for a torch with CUDA; beside one without, its operators for detection are missing, of
# which it expects two on import. No transform here uses them.
for operator in ("nms", "qnms"):
    torch.library.define(f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor  # noqa: E402
from transformers import (  # noqa: E402
    BitImageProcessor,
    CLIPImageProcessor,
    Siglip2ImageProcessor,
    SiglipImageProcessor,
    VJEPA2VideoProcessor,
)

IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
HALF = ([0.5] * 3, [0.5] * 3)
Prepare = Callable[[Image.Image], np.ndarray]


def processed(processor, mean: list[float], deviation: list[float]) -> Prepare:
    """A processor of transformers with these statistics: image -> (3, S, S)."""
    return lambda image: np.asarray(processor(image, image_mean=mean, image_std=deviation)["pixel_values"][0])


def naflex(image: Image.Image) -> np.ndarray:
    """SigLIP 2's patches (256, 16 * 16 * 3) put back into their picture (3, 256, 256)."""
    rows = np.asarray(Siglip2ImageProcessor(max_num_patches=256, patch_size=16)(image)["pixel_values"][0])
    return rows.reshape(16, 16, 16, 16, 3).transpose(4, 0, 2, 1, 3).reshape(3, 256, 256)


def vjepa2(image: Image.Image) -> np.ndarray:
    """The published processor, but for its resizing to 292 pixels before the crop: the crop would cut the border."""
    video = torch.from_numpy(np.array(image)).movedim(-1, 0)[None]
    processed = VJEPA2VideoProcessor()([video], size={"shortest_edge": 256}, return_tensors="pt")
    return processed["pixel_values_videos"][0, 0].numpy()


def linear(side: int, mean: list[float], deviation: list[float]) -> Prepare:
    """The video towers' transform as Apollo ran it: cv2's linear interpolation of uint8 frames."""

    def prepare(image: Image.Image) -> np.ndarray:
        shades = cv2.resize(np.asarray(image), (side, side), interpolation=cv2.INTER_LINEAR).astype(np.float32) / 255
        return ((shades - np.float32(mean)) / np.float32(deviation)).transpose(2, 0, 1)

    return prepare


LANGUAGEBIND = Compose([ToTensor(), Resize(224, InterpolationMode.BICUBIC, antialias=True), Normalize(*CLIP)])
FAMILIES: dict[str, tuple[list[float], Prepare]] = {
    "siglip": (HALF[0], processed(SiglipImageProcessor(size={"height": 384, "width": 384}), *HALF)),
    "siglip2": (HALF[0], naflex),
    "clip": (CLIP[0], processed(CLIPImageProcessor(size={"shortest_edge": 224}), *CLIP)),
    "dinov2": (IMAGENET[0], processed(BitImageProcessor(size={"shortest_edge": 256}), *IMAGENET)),
    "languagebind_image": (CLIP[0], lambda image: LANGUAGEBIND(image).numpy()),
    "languagebind_video": (CLIP[0], linear(224, *CLIP)),
    "videomae": (IMAGENET[0], linear(224, *IMAGENET)),
    "vjepa": (IMAGENET[0], linear(384, *IMAGENET)),
    "vjepa2": (IMAGENET[0], vjepa2),
    "internvideo2": (IMAGENET[0], linear(224, *IMAGENET)),
}
"""Kind -> mean colour, and the transform of a padded frame."""


def expand2square(apollo: Path) -> Callable[[Image.Image, tuple[int, ...]], Image.Image]:
    """Apollo's function, taken out of its module, whose other imports are not needed."""
    source = (apollo / "utils/mm_utils.py").read_text()
    wanted = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "expand2square"]
    scope = {"Image": Image}
    exec(compile(ast.Module(wanted, []), "mm_utils.py", "exec"), scope)
    return scope["expand2square"]


def main() -> None:
    pad = expand2square(Path(sys.argv[1]))
    tensors = {}
    for height, width in SIZES:
        image = Image.fromarray(frame(height, width))
        for kind, (mean, prepare) in FAMILIES.items():
            pixels = prepare(pad(image, tuple(int(x * 255) for x in mean)))
            side = pixels.shape[-1]
            middle = slice(side // 2 - 8, side // 2 + 8)
            tensors[f"{kind}.{height}x{width}.every"] = pixels[:, 5 :: side // 16, 5 :: side // 16].astype(np.float16)
            tensors[f"{kind}.{height}x{width}.middle"] = pixels[:, middle, middle].astype(np.float16)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, sys.argv[2])


main()
