"""A small `make coverage`, with bounds as loose as its number of studies."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.numbers.uncertainty import METHODS
from benchmarks import promises, worlds
from benchmarks.coverage import measure

pytestmark = pytest.mark.slow


def test_intervals_cover():
    found = {}
    for world in ("normal", "collapsed", "seed noise"):
        _, counts = measure((world, 0.83, 12), worlds.truths(world, 0.83), 60)
        for key, (hits, total) in counts.items():
            before = found.get(key, (0, 0))
            found[key] = (before[0] + hits, before[1] + total)
    covered = {name: counts for (name, method), counts in found.items() if method == "ours"}
    assert set(METHODS) <= {name.split("@")[0] for name in covered}
    for name, (hits, total) in covered.items():
        assert hits / total >= (0.88 if total > 100 else 0.75), name
    assert found["r2", "percentile"][0] < found["r2", "ours"][0]


def test_probabilities_are_calibrated_and_regret_is_within_its_target():
    _, results = promises.calibration(promises.Case("normal", None, 12), 150)
    for num_known, (bins, hits, total) in results.items():
        predicted, observed, designs = bins.T
        assert abs(observed - predicted).sum() / designs.sum() < 0.06, num_known
        assert 0.9 < hits / total <= 1
    _, means = promises.regrets(promises.Case("normal", 0.83, 12), 60)
    assert (means[:, :, 0] <= 1).all(), means
    assert (np.diff(means[:, :, 1], axis=1) <= 0).all()  # the lower the regret, the more are trained
