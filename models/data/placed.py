"""The media of a record at their places in its texts: token ids, and the clips that fill the visual ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from models.data.batch import SampledMedium
from models.data.integration import IMAGE_TOKEN, VIDEO_TOKEN, splice
from models.data.visual import VisualReader
from models.design import Sampling
from models.video import Clip, Medium


@dataclass(frozen=True)
class PlacedMedia:
    """Called with the index of a medium wherever a text has it, in the order of the positions of a row."""

    visual: VisualReader
    encode: Callable[[str], list[int]]
    """Text -> token ids, for timestamps."""
    media: tuple[Medium, ...]
    """The media of the record."""
    sampling: Sampling
    max_clips: int | None = None
    """Largest number of clips of a medium, which are evenly spaced among those that are sampled; all if None."""
    sampled: list[SampledMedium] = field(default_factory=list)
    """The media so far, in the order of the calls."""

    def __call__(self, index: int) -> list[int]:
        """Token ids of a medium, with placeholders for visual tokens and separators."""
        medium, design = self.media[index], self.visual.design
        is_split = self.visual.is_split(medium)
        clips = evenly_spaced(self.visual.clips(medium, self.sampling), self.max_clips)
        self.sampled.append(SampledMedium(medium, tuple(clips)))
        return splice(
            clips,
            design.tokens_per_image if is_split else design.tokens_per_clip,
            design.integration,
            self.encode,
            is_video=medium.kind == "video",
            token=IMAGE_TOKEN if is_split else VIDEO_TOKEN,
        )


def evenly_spaced(clips: list[Clip], most: int | None) -> list[Clip]:
    """At most `most` of the clips, each from the centre of one of as many equal spans; all if None."""
    if most is None or len(clips) <= most:
        return clips
    return [clips[(2 * i + 1) * len(clips) // (2 * most)] for i in range(most)]
