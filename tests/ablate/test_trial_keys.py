"""What must never change in silence: keys of the shipped sweeps, and defaults that old keys stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ablate.trial_keys import SWEEPS, changed_fields, configs, defaults, trial_keys, written

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def test_every_shipped_sweep_has_a_snapshot():
    assert sorted(written("trial_keys")) == SWEEPS, "run `make keys` after adding or removing a sweep"


@pytest.mark.parametrize("sweep", SWEEPS)
def test_keys_of_the_shipped_sweeps_stay(sweep):
    """Another key trains the trial again for everybody who has it."""
    assert trial_keys(sweep) == written("trial_keys")[sweep]


@pytest.mark.parametrize("name", sorted(configs()))
def test_a_changed_default_raises_the_version(name):
    config = configs()[name]
    snapshot = written("defaults").get(name, {}).get(str(config.VERSION))
    assert snapshot is not None, f"{config.__name__} VERSION {config.VERSION} is new: run `make keys`"
    changed = changed_fields(config, snapshot)
    assert not changed, f"{config.__name__}.{', '.join(changed)}: raise {config.__name__}.VERSION"
    assert defaults(config).keys() == snapshot.keys(), f"{config.__name__} has a new field: run `make keys`"


@pytest.mark.parametrize("name", sorted(name for name, config in configs().items() if config.VERSION > 1))
def test_a_raised_version_is_in_the_changelog(name):
    config = configs()[name]
    for version in range(2, config.VERSION + 1):
        assert f"`{config.__name__}.VERSION` {version}" in CHANGELOG.read_text(encoding="utf-8")
