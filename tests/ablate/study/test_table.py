"""Scores on different records are not compared without a word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ablate.record import Score, TrialScores
from ablate.study.table import different_data

SCORES = [Score(benchmark="b", category="overall", modality="video", score=1.0)]
FIRST, EDITED, SKIPPING = ("1234", ""), ("5678", ""), ("1234", "abcd")


def trial(design: str, data: tuple[str, str], axis: str = "sampling") -> TrialScores:
    return TrialScores(
        key=f"{design}{data}", design_key=design, design_label=design, study="s", scale="1B", seed=0, samples=8,
        ended_at=0.0, scores=SCORES, axes={axis: design}, data=data,
    )  # fmt: skip


def test_designs_with_the_same_records_have_no_note():
    assert different_data([trial("a", FIRST), trial("b", FIRST)]) is None


@pytest.mark.parametrize("other", [EDITED, SKIPPING])
def test_designs_with_other_records_are_named(other):
    note = different_data([trial("a", FIRST), trial("b", other), trial("c", FIRST)])
    assert note is not None
    assert "not comparable: a, c on data 1234; b on data" in note
    assert ("without the unreadable records of list abcd" in note) == (other == SKIPPING)


def test_a_study_that_varies_its_data_compares_them_on_purpose():
    assert different_data([trial("a", FIRST, "data"), trial("b", EDITED, "data")]) is None
    assert different_data([trial("a", FIRST, "data.max_bad"), trial("b", SKIPPING, "data.max_bad")]) is None
    assert different_data([trial("a", FIRST, "database"), trial("b", EDITED, "database")]) is not None


def test_imported_scores_have_no_records_to_compare():
    assert different_data([trial("a", FIRST), replace(trial("b", EDITED), data=("", ""))]) is None
