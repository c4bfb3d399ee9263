"""Durations of a manifest's videos: measured by `ablate check`, stated by the manifest, or those of a few videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.data import MediaFacts, TrainingIndex

OPENED_VIDEOS = 16
"""Most videos of a manifest that a plan opens, if neither a check nor the records give all durations."""
ASSUMED_S = 60.0
"""Duration of a video if none can be opened."""
MAX_REASONS = 3
"""Most unreadable videos that a note names with their reason."""


def video_durations(index: TrainingIndex, facts: MediaFacts | None) -> tuple[NDArray[np.float64], str]:
    """Durations of training videos in seconds, and a note on their source, which is empty if all are exact.

    Args:
        index: the training samples.
        facts: results of the last check of the media; a measured duration counts before one that the record states.
    """
    videos = index.of_kind("video")
    if not len(videos):
        return np.zeros(1), ""
    seconds = index.column("duration_s")
    if facts is not None:
        measured = _measured(index, facts)
        seconds = np.where(np.isnan(measured), seconds, measured)
    lacking = videos[np.isnan(seconds[videos])]
    if not len(lacking):
        return seconds[videos], ""
    chosen = lacking[:: -(-len(lacking) // OPENED_VIDEOS)]
    opened, bad = _open(index, chosen)
    seconds[list(opened)] = list(opened.values())
    durations = seconds[videos]
    durations = durations[~np.isnan(durations)]
    folder = index.manifest.parent
    advice = f"`ablate check {folder}` reads all, or give each record a `duration`"
    reasons = "".join(f"; {reason}" for reason in bad[:MAX_REASONS])
    if bad:
        more = f", first {MAX_REASONS}" if len(bad) > MAX_REASONS else ""
        reasons = f"; {len(bad)} of {len(chosen)} opened videos cannot be read{more}{reasons}"
    if not len(durations):
        return np.array([ASSUMED_S]), f"; no video could be opened: {ASSUMED_S:g} s each is assumed{reasons} ({advice})"
    return durations, f"; durations are those of {len(durations)} of {len(videos)} videos{reasons} ({advice})"


def _measured(index: TrainingIndex, facts: MediaFacts) -> NDArray[np.float64]:
    """Duration of the media of each record, summed over several videos; NaN if one was not measured, or without media."""
    positions, media = index.media_of_records()
    seconds = np.full(len(index), np.nan)
    seconds[np.unique(positions)] = 0.0
    np.add.at(seconds, positions, facts.durations(media))
    return seconds


def _open(index: TrainingIndex, positions: NDArray[np.int64]) -> tuple[dict[int, float], list[str]]:
    """Durations of the videos of some records, and why others could not be opened."""
    from models.video import Decoder, OnDemand, VideoError, duration

    opened: dict[int, float] = {}
    bad: list[str] = []
    with Decoder() as decoder:
        source = OnDemand(index.manifest.parent, decoder, None)
        for position in positions.tolist():
            try:
                opened[position] = sum(duration(source.times(medium)) for medium in index[position].media)
            except VideoError as error:
                bad.append(f"{error.path.relative_to(index.manifest.parent)}: {error.reason}")
            except RuntimeError as error:  # no decoder here; trials may run on another machine
                return opened, [*bad, str(error)]
    return opened, bad
