"""Training samples drawn in the proportions of a mix, and what a stage leaves out of them. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.data.index import ManifestIndex
from models.data.manifest import Kind, ManifestError, TrainingSample
from models.design import Mix, Stage

KINDS: tuple[Kind, ...] = ("text", "image", "video", "multi_image")
"""Order in which the kinds of a stage are drawn; a new kind goes last, so that the same seed draws the same samples."""


def draw(samples: Sequence[TrainingSample], mix: Mix, count: int, rng: np.random.Generator) -> Iterator[TrainingSample]:
    """Draw samples in random order, with the exact proportions of the mix.

    Within a kind every sample is drawn once before any is drawn again.

    Args:
        samples: all training samples; of an index only those that are drawn are parsed.
        mix: share of each kind.
        count: number of samples to draw.
        rng: source of randomness.

    Raises:
        ManifestError: the mix has a share of a kind of which there is no sample.
    """
    shares = {kind: getattr(mix, kind) for kind in KINDS}
    decks = {kind: _positions(samples, kind) for kind in shares}
    for kind, share in shares.items():
        if share > 0 and not len(decks[kind]):
            raise ManifestError(f"the mix asks for {share:.0%} {kind}, but train.json has no {kind} record")
    weights = np.array(list(shares.values()))
    counts = np.floor(weights * count).astype(int)
    counts[int(np.argmax(counts + weights))] += count - counts.sum()  # the largest share if counts are equal
    order = rng.permutation(np.repeat(np.arange(len(shares)), counts))
    streams = [_endless(deck, rng) for deck in decks.values()]
    return (samples[next(streams[kind])] for kind in order)


def _positions(samples: Sequence[TrainingSample], kind: Kind) -> NDArray[np.int64]:
    """Positions of the samples of a kind."""
    if isinstance(samples, ManifestIndex):
        return samples.of_kind(kind)
    return np.array([i for i, sample in enumerate(samples) if sample.kind == kind], dtype=np.int64)


def _endless(deck: NDArray[np.int64], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from (int(deck[i]) for i in rng.permutation(len(deck)))


def dialogue_lengths(samples: Sequence[TrainingSample]) -> dict[Kind, Counter[int]]:
    """Kind -> number of turns -> number of conversations whose turns are not independent."""
    if isinstance(samples, ManifestIndex):
        dialogues, turns = ~samples.column("independent"), samples.column("turns")
        return {kind: Counter(turns[(of_kind := samples.of_kind(kind))][dialogues[of_kind]].tolist()) for kind in KINDS}
    return {
        kind: Counter(len(one.turns) for one in samples if one.kind == kind and not one.independent) for kind in KINDS
    }


def left_out(lengths: Mapping[Kind, Mapping[int, int]], stage: Stage, mix: Mix) -> str | None:
    """The turns of dialogues that a stage never trains on, in a sentence; None if there are none.

    Args:
        lengths: those of `dialogue_lengths`.
        stage: its `max_questions` is the limit.
        mix: the stage's mix; kinds without a share are not trained on.
    """
    most = stage.max_questions
    if most is None:
        return None
    counts = [item for kind, counter in lengths.items() if getattr(mix, kind) for item in counter.items()]
    total = sum(turns * count for turns, count in counts)
    cut = sum(max(0, turns - most) * count for turns, count in counts)
    if not cut:
        return None
    return (
        f"`max_questions: {most}` of stage {stage.name!r} leaves out {cut:,} of {total:,} turns of dialogues "
        f"({cut / total:.1%}): the first {most} of each are used"
    )
