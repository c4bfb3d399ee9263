"""Score tables for tests, made from plain numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import pytest

from analysis.tables import COLUMNS, ScoreTable, published

Scores = Mapping[str, Mapping[str, Sequence[float]]]


@pytest.fixture(scope="session")
def apollo() -> ScoreTable:
    return published("apollo")


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., pd.DataFrame]:
    """Scale -> design -> a score for each seed from 0 on, as rows of one metric."""

    def build(scores: Scores, metric: str = "bench/overall", modality: str = "video") -> pd.DataFrame:
        benchmark, category = metric.split("/")
        rows = [
            ("s", design, scale, seed, 1000, benchmark, category, modality, value)
            for scale, designs in scores.items()
            for design, values in designs.items()
            for seed, value in enumerate(values)
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    return build


@pytest.fixture(scope="session")
def table_of(rows_of: Callable[..., pd.DataFrame]) -> Callable[..., ScoreTable]:
    """A table of two scales, 1M and 2M, from a score (or scores by seed) at each for every design."""

    def build(
        x: Sequence[float | Sequence[float]], y: Sequence[float | Sequence[float]], lower_is_better: bool = False
    ) -> ScoreTable:
        def seeds(value: float | Sequence[float]) -> Sequence[float]:
            return value if isinstance(value, Sequence) else [value]

        scores = {
            scale: {f"d{number:02d}": seeds(value) for number, value in enumerate(values)}
            for scale, values in (("1M", x), ("2M", y))
        }
        return ScoreTable(rows_of(scores), lower_is_better=lower_is_better)

    return build
