"""First stages that trials of one process share."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch

from models.architecture import VideoLMM
from models.design import TrialConfig
from models.training.step import Step


@dataclass(frozen=True, kw_only=True)
class Start:
    """Connector weights after a trial's first stages, reusable by trials of the same worker that start identically.

    Only stages that train the connector alone are shared, since their result is small. Two trials share them if they
    differ in nothing that such a stage uses: designs that differ only in the sampling of videos share an alignment on
    images.
    """

    connector: dict[str, torch.Tensor]
    """State of the connector."""
    steps: tuple[Step, ...]
    """Steps of the last of these stages."""


class StartCache:
    """The most recent starts of this process, equal to the bit to what each trial would have computed."""

    MAX_STARTS = 2

    def __init__(self) -> None:
        self._starts: dict[str, Start] = {}

    def key(
        self, config: TrialConfig, index: int, device: torch.device, max_positions: int | None = None
    ) -> str | None:
        """Everything that determines the model after a stage; None where the stages up to it are not shared.

        Args:
            config: the trial.
            index: index of the stage in the schedule.
            device: where the model computes.
            max_positions: number of positions of a micro-batch.
        """
        design = config.design
        stages = design.schedule[: index + 1]
        if any(stage.lr.vision or stage.lr.llm for stage in stages):
            return None
        design_config = design.model_dump(mode="json", exclude={"schedule", "test_sampling", "mix"})
        if not any(design.mix_of(stage).video for stage in stages):
            del design_config["sampling"]
        stage_configs = [[stage.model_dump(mode="json"), design.mix_of(stage).model_dump()] for stage in stages]
        sizes = [design.clip_frames, design.tokens_per_clip, design.tokens_per_image]
        trial_config = config.model_dump(mode="json", exclude={"design"})
        return json.dumps([design_config, stage_configs, sizes, trial_config, device.type, max_positions])

    def get(self, key: str | None) -> Start | None:
        """The start with this key, if it is in the cache."""
        return self._starts.get(key) if key else None

    def put(self, key: str | None, model: VideoLMM, steps: list[Step]) -> None:
        """Add a copy of the model's connector and drop the oldest start; without a key nothing is added."""
        if key is None:
            return
        connector = {name: value.clone() for name, value in model.parts()["connector"].state_dict().items()}
        self._starts[key] = Start(connector=connector, steps=tuple(steps))
        while len(self._starts) > self.MAX_STARTS:
            del self._starts[next(iter(self._starts))]


START_CACHE = StartCache()
"""The cache of this process."""
