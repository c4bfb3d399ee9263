"""Families of vision encoders: one record for each kind, which cards, costs and towers read. No torch here.

A new encoder of transformers is a class in the union of models/design/encoders.py, a file models/encoders/X.py, a
record here, and its tests (docs/encoders.md, "One more family").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from models.design import (
    ClipTower,
    Dinov2,
    InternVideo2,
    LanguageBindImage,
    LanguageBindVideo,
    Part,
    Siglip,
    Siglip2,
    VideoMae,
    Vjepa,
    Vjepa2,
)

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Mean and standard deviation of RGB in [0, 1]."""
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP_NORMALISATION: Statistics = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

Arrangement = Literal["clip", "frame", "frame and time"]
"""`clip`: one sequence is the whole clip. `frame`: one sequence is a frame. `frame and time`: besides, in each block,
each position of the frame attends over the clip's frames (LanguageBind's video tower)."""


class Pixels(NamedTuple):
    """How frames are resized and normalised."""

    normalisation: Statistics = IMAGENET
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True
    """Whether frames are smoothed where they shrink: Apollo ran its video towers without (cv2's linear)."""
    rounds: bool = True
    """Whether resized frames are whole shades from 0 to 255, as Pillow and cv2 return them. LanguageBind's images are
    resized as floats, which may leave that range."""


class Crop(NamedTuple):
    """A centre crop after resizing."""

    resized: int
    """Side in pixels to which frames are resized."""
    side: int
    """Side in pixels of the middle part that the tower takes."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is fixed for all encoders of one kind; sizes of a checkpoint come from its `config.json` or its tensors."""

    config: type[Part]
    """Config class in the union of models/design/encoders.py."""
    encoder: str
    """Import path of the tower, `module:Class`; the class is called with the config."""
    pixels: Pixels = field(default_factory=Pixels)
    crop: Crop | None = None
    """Centre crop, where the published processor makes one whatever `config.json` says."""
    model_types: tuple[str, ...] = ()
    """Accepted values of `model_type` in `config.json`; none for towers of our own, which read published files."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Entries of `config.json` that sizes follow from, with the defaults of transformers; no other entry is read."""
    earlier_names: Mapping[str, str] = field(default_factory=dict)
    """Entry of `config.json` -> its name in files that earlier versions of transformers wrote."""
    side_entry: Literal["image_size", "crop_size", "num_patches"] = "image_size"
    """Entry that gives the side of a frame in pixels, or the number of patches of a square frame."""
    heads_by_width: Mapping[int, int] = field(default_factory=dict)
    """Width of a published tower -> number of heads, where the file does not give it."""

    class_token: bool = False
    """Whether each sequence starts with a class token."""
    learned_positions: bool = True
    """Whether the file holds a table of positions; otherwise positions are computed (fixed or rotary)."""
    patch_bias: bool = True
    """Whether the projection of patches has a bias."""
    norm_before_blocks: bool = False
    """Whether a norm stands before the first block."""
    qkv_bias: tuple[bool | str, bool | str, bool | str] = (True, True, True)
    """Whether queries, keys and values have a bias, or the entry of `config.json` that decides it."""
    qk_norm: bool = False
    """Whether queries and keys are normalised."""
    norm_bias: bool = True
    """Whether norms have a bias."""
    layer_scale: bool = False
    """Whether what a block adds is multiplied by learned scales."""
    gate_entry: str | None = None
    """Entry of `config.json` that makes the MLP of blocks a gated one (three matrices)."""
    pooling_head: bool = False
    """Whether the file may hold SigLIP's attention pooling, which no feature needs."""
    mask_token: bool = False
    """Whether the file may hold a mask token, which no feature needs."""
    normed_output: bool = False
    """Whether the last hidden state is taken after the final norm."""
    time_attention: bool = False
    """Whether each block of a video tower attends within a frame and then over time, instead of over the clip."""

    @property
    def kind(self) -> str:
        """Tag of the config class."""
        (kind,) = get_args(self.config.model_fields["kind"].annotation)
        return str(kind)

    @property
    def is_image(self) -> bool:
        """Whether it takes one frame at a time: its config class then fixes `frames`."""
        return "frames" not in self.config.model_fields

    @property
    def arrangement(self) -> Arrangement:
        """What one sequence of the tower is."""
        if self.time_attention:
            return "frame and time"
        return "frame" if self.is_image else "clip"

    @property
    def default_frames(self) -> int:
        """Frames of a clip where a design does not set them."""
        return 1 if self.is_image else int(self.config.model_fields["frames"].default)

    @property
    def default_layer(self) -> int:
        """Hidden state that is the feature where a design does not set it."""
        return int(self.config.model_fields["layer"].default)

    def sizes(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Entries of a `config.json`, or of the vision part of one, completed by the defaults."""
        entries = {**config, **config.get("vision_config", {})}
        return {
            name: entries.get(name, entries.get(self.earlier_names.get(name, name), default))
            for name, default in self.defaults.items()
        }

    def stored_side(self, sizes: Mapping[str, Any]) -> int:
        """Patches along the side of the square frame that a checkpoint was made for."""
        entry = int(sizes[self.side_entry])
        return math.isqrt(entry) if self.side_entry == "num_patches" else entry // int(sizes["patch_size"])

    def resolution(self, sizes: Mapping[str, Any]) -> int:
        """Side in pixels of what the tower takes."""
        if self.crop:
            return self.crop.side
        if self.side_entry == "num_patches":
            return self.stored_side(sizes) * int(sizes["patch_size"])
        return int(sizes[self.side_entry])


_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "patch_size": 16,
}
_LINEAR_WITHOUT_SMOOTHING = Pixels(interpolation="bilinear", antialias=False)

FAMILIES: dict[str, Family] = {
    family.kind: family
    for family in (
        Family(
            config=Siglip,
            encoder="models.encoders.siglip:SiglipEncoder",
            pixels=Pixels(HALF),
            model_types=("siglip", "siglip_vision_model"),
            defaults={**_BASE, "image_size": 224, "vision_use_head": True},
            pooling_head=True,
        ),
        Family(
            config=Siglip2,
            encoder="models.encoders.siglip2:Siglip2Encoder",
            pixels=Pixels(HALF, "bilinear"),  # as the published processor, unlike SigLIP's
            model_types=("siglip2", "siglip2_vision_model"),
            defaults={**_BASE, "num_patches": 256, "vision_use_head": True},
            side_entry="num_patches",
            pooling_head=True,
        ),
        Family(
            config=ClipTower,
            encoder="models.encoders.clip:ClipEncoder",
            pixels=Pixels(CLIP_NORMALISATION),
            model_types=("clip", "clip_vision_model"),
            defaults={**_BASE, "image_size": 224, "patch_size": 32},
            class_token=True,
            patch_bias=False,
            norm_before_blocks=True,
        ),
        Family(
            config=Dinov2,
            encoder="models.encoders.dinov2:Dinov2Encoder",
            crop=Crop(resized=256, side=224),
            model_types=("dinov2",),
            defaults={
                "hidden_size": 768,
                "num_hidden_layers": 12,
                "num_attention_heads": 12,
                "mlp_ratio": 4,
                "patch_size": 14,
                "image_size": 224,
                "use_swiglu_ffn": False,
                "qkv_bias": True,
                "use_mask_token": True,
            },
            class_token=True,
            qkv_bias=("qkv_bias", "qkv_bias", "qkv_bias"),
            layer_scale=True,
            gate_entry="use_swiglu_ffn",
            mask_token=True,
        ),
        Family(
            config=LanguageBindImage,
            encoder="models.encoders.languagebind:LanguageBindImageEncoder",
            pixels=Pixels(CLIP_NORMALISATION, rounds=False),
            class_token=True,
            patch_bias=False,
            norm_before_blocks=True,
        ),
        Family(
            config=LanguageBindVideo,
            encoder="models.encoders.languagebind:LanguageBindVideoEncoder",
            pixels=Pixels(CLIP_NORMALISATION, "bilinear", antialias=False),
            class_token=True,
            patch_bias=False,
            norm_before_blocks=True,
            time_attention=True,
        ),
        Family(
            config=VideoMae,
            encoder="models.encoders.videomae:VideoMaeEncoder",
            pixels=_LINEAR_WITHOUT_SMOOTHING,
            model_types=("videomae",),
            defaults={**_BASE, "image_size": 224, "tubelet_size": 2, "qv_bias": True, "use_mean_pooling": True},
            earlier_names={"qv_bias": "qkv_bias"},
            learned_positions=False,
            qkv_bias=("qv_bias", False, "qv_bias"),
        ),
        Family(
            config=Vjepa,
            encoder="models.encoders.vjepa:VjepaEncoder",
            pixels=_LINEAR_WITHOUT_SMOOTHING,
            heads_by_width={1024: 16, 1280: 16},  # ViT-L and ViT-H
            normed_output=True,
        ),
        Family(
            config=Vjepa2,
            encoder="models.encoders.vjepa2:Vjepa2Encoder",
            pixels=Pixels(interpolation="bilinear"),  # as the published processor; Apollo did not have this tower
            model_types=("vjepa2",),
            defaults={
                "hidden_size": 1024,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "mlp_ratio": 4.0,
                "patch_size": 16,
                "tubelet_size": 2,
                "crop_size": 256,
                "qkv_bias": True,
            },
            side_entry="crop_size",
            learned_positions=False,
            qkv_bias=("qkv_bias", "qkv_bias", "qkv_bias"),
            normed_output=True,
        ),
        Family(
            config=InternVideo2,
            encoder="models.encoders.internvideo2:InternVideo2Encoder",
            pixels=_LINEAR_WITHOUT_SMOOTHING,
            heads_by_width={1408: 16},  # the 1B tower
            class_token=True,
            qkv_bias=(False, False, False),
            qk_norm=True,
            norm_bias=False,
            layer_scale=True,
        ),
    )
}
"""Kind -> its record; custom encoders have none."""
