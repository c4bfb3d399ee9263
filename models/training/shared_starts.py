"""First stages that trials of one process share."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from models.architecture import VideoLMM
from models.design import TrialConfig


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one optimiser step did."""

    stage: str
    step: int
    """From 1, over all stages."""
    steps: int
    """Steps of the whole training."""
    samples: int
    """Training samples seen so far."""
    loss: float
    """Mean cross-entropy of the batch's target tokens, in nats."""
    tokens: int
    """Places of the batch, padding included."""
    padding: float
    """Share of those that is padding."""
    seconds: float
    """Of this step, data included."""
    is_shared: bool = False
    """Whether another trial of this process did it, see `Start`."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a trial's first stages came to. Trials of one worker that begin alike need not repeat them.

    Stages that train the connector alone are shared (what they leave is small), between trials that differ in nothing
    that such a stage sees: of designs that differ in how videos are sampled an alignment on pictures is the same.
    """

    connector: dict[str, torch.Tensor]
    steps: tuple[Step, ...]
    """Of the last of those stages."""


class Starts:
    """The latest starts of this process. They are equal to the bit to what the trial would have computed."""

    MOST = 2

    def __init__(self) -> None:
        self._known: dict[str, Start] = {}

    def key(self, config: TrialConfig, number: int, device: torch.device) -> str | None:
        """All that the model is made of after a stage; None where that is not shared."""
        design = config.design
        stages = design.schedule[: number + 1]
        if any(stage.lr.vision or stage.lr.llm for stage in stages):
            return None
        told = design.model_dump(mode="json", exclude={"schedule", "test_sampling", "mix"})
        if not any(design.mix_of(stage).video for stage in stages):
            del told["sampling"]
        learned = [[stage.model_dump(mode="json"), design.mix_of(stage).model_dump()] for stage in stages]
        sizes = [design.clip_frames, design.tokens_per_clip, design.tokens_per_image]
        return json.dumps([told, learned, sizes, config.model_dump(mode="json", exclude={"design"}), device.type])

    def get(self, key: str | None) -> Start | None:
        """What is known of it."""
        return self._known.get(key) if key else None

    def keep(self, key: str | None, model: VideoLMM, steps: list[Step]) -> None:
        """Remember it, and forget the oldest."""
        if key is None:
            return
        connector = {name: value.clone() for name, value in model.parts()["connector"].state_dict().items()}
        self._known[key] = Start(connector=connector, steps=tuple(steps))
        while len(self._known) > self.MOST:
            del self._known[next(iter(self._known))]


STARTS = Starts()
