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
        for key, (held, total) in counts.items():
            before = found.get(key, (0, 0))
            found[key] = (before[0] + held, before[1] + total)
    covered = {name: counts for (name, method), counts in found.items() if method == "ours"}
    assert set(METHODS) <= {name.split("@")[0] for name in covered}
    for name, (held, total) in covered.items():
        assert held / total >= (0.88 if total > 100 else 0.75), name
    assert found["r2", "percentile"][0] < found["r2", "ours"][0]


def test_chances_are_calibrated_and_regret_is_kept():
    _, found = promises.calibration(promises.Case("normal", None, 12), 150)
    for known, (bins, held, total) in found.items():
        chance, was, designs = bins.T
        assert abs(was - chance).sum() / designs.sum() < 0.06, known
        assert 0.9 < held / total <= 1
    _, kept = promises.regrets(promises.Case("normal", 0.83, 12), 60)
    assert (kept[:, :, 0] <= 1).all(), kept
    assert (np.diff(kept[:, :, 1], axis=1) <= 0).all()  # the lower the regret, the more are trained
