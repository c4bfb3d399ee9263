"""The batches of a stage as planned packs, and the position in them, from which a resumed trial goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data.batch import Row
from models.data.mixing import Draws
from models.design import Stage

if TYPE_CHECKING:
    from models.data.corpus import Corpus


class StageBatches:
    """The batches of a stage, one for each optimiser step, each as the rows of its micro-batches.

    They are a function of the trial's config and seed alone: every rank computes all of them, and takes its share. Rows
    have text and the places of media; media are read when a micro-batch is collated.
    """

    def __init__(self, corpus: Corpus, stage: Stage, steps: int, rng: np.random.Generator, max_positions: int) -> None:
        """Begin at the first step.

        Args:
            corpus: the data.
            stage: mix, batch size and maximum number of questions per sample.
            steps: number of optimiser steps.
            rng: draws samples, and questions of each; all randomness comes from it.
            max_positions: number of positions of a micro-batch.

        Raises:
            ManifestError: the mix has a share of a kind of sample that the data do not contain.
        """
        self._corpus, self._stage, self._rng, self._max_positions = corpus, stage, rng, max_positions
        self._draws = Draws(corpus.train, corpus.design.mix_of(stage), steps * stage.batch, rng)
        self._is_checked = False
        self.lost = np.zeros(3, np.int64)
        """Samples so far that `max_length` of the design shortened, the clips and the turns that they lost."""

    def __iter__(self) -> Iterator[list[list[Row]]]:
        return self

    def __next__(self) -> list[list[Row]]:
        """The rows of the next step's micro-batches.

        Raises:
            ValueError: the first batch has other clips or visual tokens than the config declares.
        """
        samples = [next(self._draws) for _ in range(self._stage.batch)]
        rows = [self._corpus.training_row(one, self._stage.max_questions, self._rng) for one in samples]
        if not self._is_checked:
            self._corpus.check_declared(samples, rows)
            self._is_checked = True
        for row in rows:
            self.lost += np.array([row.lost_clips + row.lost_turns > 0, row.lost_clips, row.lost_turns])
        return self._corpus.micro_batches(rows, self._max_positions)

    def state(self) -> dict[str, Any]:
        """The position, as JSON."""
        return {"draws": self._draws.state(), "rng": self._rng.bit_generator.state, "lost": self.lost.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a position that `state` returned, of batches that began with the same arguments."""
        self._draws.restore(state["draws"])
        self._rng.bit_generator.state = state["rng"]
        self.lost = np.array(state["lost"], np.int64)
