"""Vision encoders."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from models.design.parts import Part


class _Pretrained(Part):
    """Base of encoders with published weights."""

    weights: str
    """A folder or file, a hub id (`name` or `name@revision`), or `tiny/NAME@VERSION` for a shipped part; models/cards
    lists the published ones."""
    digest: str | None = None
    """Digest of a folder or file of weights, filled in when a spec is expanded: identity follows content, not path.
    None for names, which are identities themselves."""


class Siglip(_Pretrained):
    """SigLIP (Zhai et al., arXiv 2303.15343) or a SigLIP 2 of fixed resolution, frame by frame."""

    kind: Literal["siglip"]
    layer: int = -2
    """Index of the hidden state that is the feature, as in transformers (Apollo takes the last but one)."""

    frames: ClassVar[int] = 1


class Siglip2(_Pretrained):
    """SigLIP 2 (Tschannen et al., arXiv 2502.14786), the NaFlex form with square patches, frame by frame."""

    kind: Literal["siglip2"]
    layer: int = -2
    """Index of the hidden state that is the feature, as in transformers."""

    frames: ClassVar[int] = 1


class ClipTower(_Pretrained):
    """CLIP's image tower (Radford et al., arXiv 2103.00020), frame by frame, without its class token."""

    kind: Literal["clip"]
    layer: int = -2
    """Index of the hidden state that is the feature, as in transformers."""

    frames: ClassVar[int] = 1


class Dinov2(_Pretrained):
    """DINOv2 (Oquab et al., arXiv 2304.07193), frame by frame at 224 pixels, without its class token."""

    kind: Literal["dinov2"]
    layer: int = -2
    """Index of the hidden state that is the feature, as in transformers."""

    frames: ClassVar[int] = 1


class LanguageBindImage(_Pretrained):
    """LanguageBind's image tower (Zhu et al., arXiv 2310.01852), frame by frame, without its class token."""

    kind: Literal["languagebind_image"]
    layer: int = -2
    """Index of the hidden state that is the feature; 0 is the input of the first block."""

    frames: ClassVar[int] = 1


class _VideoEncoder(_Pretrained):
    """Base of video encoders."""

    frames: int = Field(ge=1, le=256)
    """Frames of one clip."""


class LanguageBindVideo(_VideoEncoder):
    """LanguageBind's video tower (V1.5), without its class tokens."""

    kind: Literal["languagebind_video"]
    frames: int = Field(default=8, ge=1, le=256)
    layer: int = -2
    """Index of the hidden state that is the feature; 0 is the input of the first block."""


class VideoMae(_VideoEncoder):
    """VideoMAE (Tong et al., arXiv 2203.12602)."""

    kind: Literal["videomae"]
    frames: int = Field(default=16, ge=1, le=256)
    layer: int = -2
    """Index of the hidden state that is the feature, as in transformers."""


class Vjepa(_VideoEncoder):
    """V-JEPA (Bardes et al., arXiv 2404.08471)."""

    kind: Literal["vjepa"]
    frames: int = Field(default=16, ge=1, le=256)
    layer: int = -1
    """Index of the hidden state that is the feature; -1 is the last block's output after the final norm (Apollo's)."""


class Vjepa2(_VideoEncoder):
    """V-JEPA 2 (Assran et al., arXiv 2506.09985)."""

    kind: Literal["vjepa2"]
    frames: int = Field(default=16, ge=1, le=256)
    layer: int = -1
    """Index of the hidden state that is the feature; -1 is the last block's output after the final norm."""


class InternVideo2(_VideoEncoder):
    """InternVideo2, stage 2 (Wang et al., arXiv 2403.15377), without its class token."""

    kind: Literal["internvideo2"]
    frames: int = Field(default=4, ge=1, le=256)
    layer: int = -2
    """Index of the block whose output is the feature; -1 is the last block."""
    gelu: Literal["exact", "tanh"] = "exact"
    """Activation of the MLP: the released demo computes `exact`, training used a fused kernel with `tanh`."""


class CustomEncoder(Part):
    """A custom encoder: a subclass of `models.encoders.base.VisionEncoder`, named by its import path."""

    kind: Literal["custom"]
    path: str
    """`package.module:Class`; the class is called with `options` as keyword arguments."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Keyword arguments of the class."""
    frames: int = Field(default=1, ge=1, le=256)
    """Frames of one clip."""
    grid: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    """Features of one clip in time, height and width; the encoder must have the same grid."""
    width: int = Field(ge=1)
    """Width of the features."""
    params: int = Field(default=0, ge=0)
    """Number of parameters, used in plans only."""
    revision: int = Field(default=1, ge=1)
    """Number to raise when the code or its weights change: all designs with the encoder then get new keys."""

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        module, _, name = path.partition(":")
        if not (name.isidentifier() and all(piece.isidentifier() for piece in module.split("."))):
            raise ValueError(f"{path!r} does not name a class; write package.module:Class")
        return path

    @model_validator(mode="after")
    def _check_instants(self) -> CustomEncoder:
        if self.frames < self.grid[0]:
            raise ValueError(f"the grid has {self.grid[0]} instants, but a clip has {self.frames} frames: set `frames`")
        return self


Encoder = Annotated[
    Siglip
    | Siglip2
    | ClipTower
    | Dinov2
    | LanguageBindImage
    | LanguageBindVideo
    | VideoMae
    | Vjepa
    | Vjepa2
    | InternVideo2
    | CustomEncoder,
    Field(discriminator="kind"),
]
