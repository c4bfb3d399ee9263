"""Training samples drawn in the proportions of a mix, and what a stage leaves out of them. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.index import ManifestIndex
from models.data.manifest import Kind, ManifestError, TrainingSample
from models.design import Mix, Stage

KINDS: tuple[Kind, ...] = ("text", "image", "video", "multi_image")
"""Order in which the kinds of a stage are drawn; a new kind goes last, so that the same seed draws the same samples."""


class Draws:
    """Samples in random order with the exact proportions of a mix, and the position in them, which can be saved.

    Within a kind every sample is drawn once before any is drawn again.
    """

    def __init__(self, samples: Sequence[TrainingSample], mix: Mix, count: int, rng: np.random.Generator) -> None:
        """Choose the kinds of all samples.

        Args:
            samples: all training samples; of an index only those that are drawn are parsed.
            mix: share of each kind.
            count: number of samples to draw.
            rng: source of randomness; others may draw from it between two samples.

        Raises:
            ManifestError: the mix has a share of a kind of which there is no sample.
        """
        shares = {kind: getattr(mix, kind) for kind in KINDS}
        decks = [_Deck(_positions(samples, kind), rng) for kind in shares]
        for (kind, share), deck in zip(shares.items(), decks, strict=True):
            if share > 0 and not len(deck.positions):
                raise ManifestError(f"the mix asks for {share:.0%} {kind}, but train.json has no {kind} record")
        weights = np.array(list(shares.values()))
        counts = np.floor(weights * count).astype(int)
        counts[int(np.argmax(counts + weights))] += count - counts.sum()  # the largest share if counts are equal
        self._order = rng.permutation(np.repeat(np.arange(len(shares)), counts))
        self._samples, self._decks, self._next = samples, decks, 0

    def __iter__(self) -> Iterator[TrainingSample]:
        return self

    def __next__(self) -> TrainingSample:
        """The next sample."""
        if self._next == len(self._order):
            raise StopIteration
        deck = self._decks[self._order[self._next]]
        self._next += 1
        return self._samples[next(deck)]

    def state(self) -> dict[str, Any]:
        """The position, as JSON; the state of `rng` is not part of it."""
        return {"next": self._next, "decks": [deck.state() for deck in self._decks]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a position; changes the state of `rng`."""
        self._next = state["next"]
        for deck, of_deck in zip(self._decks, state["decks"], strict=True):
            deck.restore(of_deck)


class _Deck:
    """The samples of a kind, shuffled again each time that all have been drawn."""

    def __init__(self, positions: NDArray[np.int64], rng: np.random.Generator) -> None:
        self.positions, self._rng = positions, rng
        self._shuffled_from: dict[str, Any] | None = None  # the state of rng before the last shuffle
        self._order: NDArray[np.int64] = np.empty(0, np.int64)
        self._at = 0

    def __next__(self) -> int:
        if self._at == len(self._order):
            self._shuffle()
        self._at += 1
        return int(self.positions[self._order[self._at - 1]])

    def _shuffle(self) -> None:
        self._shuffled_from = deepcopy(dict(self._rng.bit_generator.state))
        self._order, self._at = self._rng.permutation(len(self.positions)), 0

    def state(self) -> dict[str, Any]:
        return {"at": self._at, "shuffled_from": self._shuffled_from}

    def restore(self, state: dict[str, Any]) -> None:
        if state["shuffled_from"] is not None:
            self._rng.bit_generator.state = state["shuffled_from"]
            self._shuffle()
        self._at = state["at"]


def _positions(samples: Sequence[TrainingSample], kind: Kind) -> NDArray[np.int64]:
    """Positions of the samples of a kind."""
    if isinstance(samples, ManifestIndex):
        return samples.of_kind(kind)
    return np.array([i for i, sample in enumerate(samples) if sample.kind == kind], dtype=np.int64)


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
