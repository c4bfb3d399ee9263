"""Durations of a manifest's videos: measured by `ablate check`, stated by the manifest, or those of a few videos."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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

    A record of several videos counts as their mean duration.

    Args:
        index: the training samples.
        facts: results of the last check of the media; a measured duration counts before one that the record states.
    """
    videos = index.of_kind("video")
    if not len(videos):
        return np.zeros(1), ""
    seconds = index.column("duration_s").copy()
    if facts is not None:
        measured = _measured(index, facts)
        seconds = np.where(np.isnan(measured), seconds, measured)
    unknown = np.setdiff1d(videos[np.isnan(seconds[videos])], _bad(index, facts)).tolist()
    opened, failed = _open(index, unknown[:: -(-len(unknown) // OPENED_VIDEOS) or 1])
    seconds[list(opened)] = list(opened.values())
    durations = seconds[videos]
    durations = durations[~np.isnan(durations)]
    how = _reasons(failed)
    if not len(durations):
        durations, how = np.array([ASSUMED_S]), f"; no video could be opened: {ASSUMED_S:g} s each is assumed{how}"
    elif unknown:
        how = f"; durations are those of {len(durations)} of {len(videos)} videos{how}"
    if unknown:
        how += f" (`ablate check {index.manifest.parent}` reads all, or give each record a `duration`)"
    return durations, how


def _reasons(reasons: list[str]) -> str:
    """A clause that names the videos that could not be opened; empty without any."""
    more = f" and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    cannot = f"{len(reasons)} video{'s' * (len(reasons) > 1)} cannot be read"
    return f"; {cannot}: {', '.join(reasons[:MAX_REASONS])}{more}" if reasons else ""


def _bad(index: TrainingIndex, facts: MediaFacts | None) -> NDArray[np.int64]:
    """Positions of the records with a medium that the last check could not read."""
    if facts is None:
        return np.zeros(0, np.int64)
    positions, media = index.media_of_records()
    bad = pa.array(sorted({*facts.bad()} - {*facts.changed()}), media.type)
    is_bad: NDArray[np.bool_] = pc.is_in(media, bad).to_numpy(zero_copy_only=False)
    return positions[is_bad]


def _measured(index: TrainingIndex, facts: MediaFacts) -> NDArray[np.float64]:
    """Duration of each record, the mean of several videos; NaN without media, or if one was not measured."""
    positions, media = index.media_of_records()
    counts = np.bincount(positions, minlength=len(index))
    sums = np.bincount(positions, weights=facts.durations(media), minlength=len(index))
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(len(index), np.nan), where=counts > 0)
    return means


def _open(index: TrainingIndex, positions: list[int]) -> tuple[dict[int, float], list[str]]:
    """Durations of the videos of some records (their mean), and why others could not be opened."""
    from models.video import Decoder, OnDemand, VideoError, duration

    opened: dict[int, float] = {}
    bad: list[str] = []
    if not positions:
        return opened, bad
    with Decoder() as decoder:
        source = OnDemand(index.manifest.parent, decoder, None)
        for position in positions:
            try:
                opened[position] = float(np.mean([duration(source.times(one)) for one in index[position].media]))
            except VideoError as error:
                bad.append(f"{error.path.relative_to(index.manifest.parent)} ({error.reason})")
            except RuntimeError as error:  # no decoder here; trials may run on another machine
                return opened, [*bad, str(error)]
    return opened, bad
