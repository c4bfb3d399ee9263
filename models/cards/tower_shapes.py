"""Vision towers by their shape: parameters by closed formula, sizes from `config.json` files. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.families import FAMILIES, Family


@dataclass(frozen=True, kw_only=True)
class TowerShape:
    """The sizes that a tower's parameters and FLOPs follow from."""

    kind: str
    depth: int
    """Blocks."""
    width: int
    heads: int
    mlp: int
    """Hidden width of a block's MLP."""
    patch: int
    """Side of a patch in pixels."""
    tubelet: int = 1
    """Frames of a patch."""
    resolution: int
    """Side in pixels of what the tower takes."""
    positions: int = 0
    """Entries of the learned or stored table of positions; 0 where positions are computed."""
    registers: int = 0
    """Register tokens that stand behind the class token."""
    gated_mlp: bool = False
    qkv_biases: int = 3
    """How many of queries, keys and values have a bias."""
    final_norm: bool = True
    stored_frames: int = 1
    """Frames that the tables of time of LanguageBind's video tower are stored for."""
    is_conv3d: bool = True
    """Whether that tower has a class token for each frame (V1.5) or one for all."""
    extra: int = 0
    """Parameters of the tower's file that no feature needs: pooling heads, mask tokens."""

    @property
    def family(self) -> Family:
        """The record of its kind."""
        return FAMILIES[self.kind]

    @property
    def prefix_tokens(self) -> int:
        """Class token and registers at the start of each sequence."""
        return self.family.class_token + self.registers

    @property
    def stem(self) -> int:
        """Parameters before the first block: patches, class tokens, registers, positions, CLIP's norm."""
        patches = 3 * self.tubelet * self.patch**2 + self.family.patch_bias
        by_frame = self.family.time_attention and self.is_conv3d
        tokens = self.stored_frames if by_frame else self.prefix_tokens
        return self.width * (patches + tokens + self.positions + 2 * self.family.norm_before_blocks)

    @property
    def block(self) -> int:
        """Parameters of one block."""
        family, w, m = self.family, self.width, self.mlp
        attention = 4 * w * w
        mlp = 3 * w * m + 2 * m + w if self.gated_mlp else 2 * w * m + m + w
        biases = self.qkv_biases + 1  # the output projection has one in all families
        norms = 2 * (1 + family.norm_bias) + 2 * family.qk_norm
        block = attention + mlp + (biases + norms + 2 * family.layer_scale) * w
        if family.time_attention:
            block += self.stored_frames * w + 4 * w * w + 4 * w + 2 * w  # positions in time, attention, its norm
        return block

    @property
    def params(self) -> int:
        """Parameters of the whole tower as stored in its file."""
        return self.stem + self.depth * self.block + 2 * self.width * self.final_norm + self.extra

    def params_run(self, blocks: int) -> int:
        """Parameters that are run for the output of so many blocks."""
        is_normed = self.family.normed_output and blocks == self.depth
        return self.stem + blocks * self.block + 2 * self.width * is_normed


def siglip_head(width: int, mlp: int) -> int:
    """Parameters of SigLIP's attention pooling: probe, attention, norm, MLP."""
    return width + 4 * width * (width + 1) + 2 * width + 2 * width * mlp + mlp + width


def shape_of_config(family: Family, config: Mapping[str, Any]) -> TowerShape:
    """A tower's shape from the entries of a `config.json` in transformers' format.

    Args:
        family: record of the encoder's kind.
        config: the file's content; missing entries have the defaults of transformers.
    """
    sizes = family.sizes(config)
    width = int(sizes["hidden_size"])
    gated = bool(family.gate_entry and sizes[family.gate_entry])
    mlp = int(width * sizes["mlp_ratio"]) if "mlp_ratio" in sizes else int(sizes["intermediate_size"])
    if gated and "mlp_ratio" in sizes:
        mlp = (int(mlp * 2 / 3) + 7) // 8 * 8  # as DINOv2 rounds it
    extra = siglip_head(width, mlp) if family.pooling_head and sizes["vision_use_head"] else 0
    if family.mask_token and sizes.get("use_mask_token", True):
        extra += width
    return TowerShape(
        kind=family.kind,
        depth=int(sizes["num_hidden_layers"]),
        width=width,
        heads=int(sizes["num_attention_heads"]),
        mlp=mlp,
        patch=int(sizes["patch_size"]),
        tubelet=int(sizes.get("tubelet_size", 1)),
        resolution=family.resolution(sizes),
        positions=family.stored_side(sizes) ** 2 + family.class_token if family.learned_positions else 0,
        registers=int(sizes.get("num_register_tokens", 0)),
        gated_mlp=gated,
        qkv_biases=sum(bool(sizes[bias]) if isinstance(bias, str) else bias for bias in family.qkv_bias),
        final_norm=not sizes.get("use_mean_pooling", False),
        extra=extra,
    )
