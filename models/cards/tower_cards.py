"""The card of a vision encoder: a tower's shape, what of it a design runs, and where it comes from. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from models.cards.tower_shapes import TowerShape
from models.families import Arrangement
from models.weights import blocks_read, tubelets_read


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a tower comes from and whether it may be used commercially."""

    id: str
    """Hub id, address, folder, `tiny/NAME@VERSION`, or a custom encoder's import path."""
    file: str
    """Published file or files."""
    published: str = ""
    """Address where it is published; empty for local files."""
    licence: str = "unknown"
    commercial: bool = False
    """Whether the licence allows commercial use."""
    source: str
    """Where the card's facts come from."""


@dataclass(frozen=True, kw_only=True)
class EncoderCard(Origin):
    """A vision encoder in the form that a design runs: some blocks of a tower, on one clip."""

    kind: str
    params: int
    """Parameters of the tower in the file."""
    params_run: int
    """Parameters that are run."""
    depth: int
    """Blocks of the tower; 0 where they are not known (custom encoders)."""
    blocks_run: int
    """Blocks before the hidden state that is the feature."""
    width: int
    heads: int
    mlp: int
    """Hidden width of a block's MLP."""
    patch: int
    """Side of a patch in pixels."""
    tubelet: int
    """Frames of a patch."""
    frames: int
    """Frames of one clip."""
    resolution: int
    """Side in pixels of what the tower takes."""
    grid: tuple[int, int, int]
    """Features of one clip in time, height and width."""
    tokens_run: int
    """Positions of one sequence in attention, class token included; `arrangement` says what a sequence is."""
    arrangement: Arrangement = "clip"
    gated_mlp: bool = False
    """Whether a block's MLP has three matrices."""

    @property
    def sequences(self) -> int:
        """Sequences of `tokens_run` positions that one clip makes."""
        return 1 if self.arrangement == "clip" else self.frames


def card_of(tower: TowerShape, origin: Origin, *, layer: int, frames: int) -> EncoderCard:
    """The card of a tower.

    Args:
        tower: its shape.
        origin: where it comes from.
        layer: hidden state that is the feature, counted as transformers does.
        frames: frames of one clip.

    Raises:
        ValueError: the tower has no such layer, or takes no clip of so many frames.
    """
    arrangement = tower.family.arrangement
    blocks = blocks_read(layer, tower.depth, origin.id)
    instants = tubelets_read(frames, tower.tubelet, origin.id)
    if arrangement == "frame and time" and frames != tower.stored_frames:
        stored = tower.stored_frames
        raise ValueError(f"{origin.id} takes clips of {stored} frames, not {frames}; set its `frames` to {stored}")
    side = tower.resolution // tower.patch
    patches = side * side * (instants if arrangement == "clip" else 1)
    return EncoderCard(
        **vars(origin),
        kind=tower.kind,
        params=tower.params,
        params_run=tower.params_run(blocks),
        depth=tower.depth,
        blocks_run=blocks,
        width=tower.width,
        heads=tower.heads,
        mlp=tower.mlp,
        patch=tower.patch,
        tubelet=tower.tubelet,
        frames=frames,
        resolution=tower.resolution,
        grid=(instants, side, side),
        tokens_run=patches + tower.prefix_tokens,
        arrangement=arrangement,
        gated_mlp=tower.gated_mlp,
    )
