"""Grids and identity: what is the same runs once; spelling and order change nothing; content changes everything."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ablate.spec import design_key, digest, expand, find_spec, load_spec
from ablate.spec.grid import Expansion
from ablate.spec.keys import canonical, trial_key
from ablate.spec.names import axis_slug
from models.design import ManifestData, Part, TrialConfig
from models.presets import PRESETS


def expansion(folder: Path, **spec: object) -> Expansion:
    path = folder / "s.yaml"
    base = {"study": "s", "base": "tiny", "scales": ["0.15M"]}
    with path.open("w") as file:
        YAML().dump(base | spec, file)
    return expand(load_spec(path))


def keys(result: Expansion) -> set[str]:
    return {trial.key for trial in result.trials}


FRAMES = "sampling.frames"
TPF = "resampler.tokens_per_frame"


def test_a_grid_crosses_and_counts(tmp_path):
    result = expansion(tmp_path, axes={FRAMES: [4, 8, 8.0], TPF: [2, 4]}, exclude=[{FRAMES: 4, TPF: 4}], seeds=[0, 1])
    assert (result.declared, result.excluded, result.duplicate, len(result.trials)) == (12, 2, 4, 6)
    assert result.declared == result.excluded + result.duplicate + len(result.trials)


def test_one_at_a_time_varies_each_alone_around_the_base(tmp_path):
    result = expansion(tmp_path, axes={FRAMES: [4, 16], TPF: [4]}, vary="one_at_a_time")
    assert [t.design_label for t in result.trials] == ["base", "frames4", "frames16", "tpf4"]
    assert [t.axes for t in result.trials][1:] == [{FRAMES: 4, TPF: 2}, {FRAMES: 16, TPF: 2}, {FRAMES: 8, TPF: 4}]


def test_tied_axes_move_together_and_cross_with_others(tmp_path):
    tied = {FRAMES: [4, 16], TPF: [4, 1]}
    result = expansion(tmp_path, zip=[tied], axes={"integration.timestamps": [True, False]})
    assert {(t.axes[FRAMES], t.axes[TPF]) for t in result.trials} == {(4, 4), (16, 1)}
    assert len(result.trials) == 4


def test_several_grids_run_their_union_once(tmp_path):
    grids = [{"axes": {FRAMES: [4, 8]}}, {"axes": {TPF: [2, 4]}}]  # the base has 8 frames, 2 tokens
    result = expansion(tmp_path, grids=grids)
    assert (result.declared, result.duplicate, len(result.trials)) == (4, 1, 3)


def test_exclusion_by_name_by_part_by_list_and_by_scale(tmp_path):
    sampling = [{"kind": "uniform", "frames": 4}, {"name": "slow", "kind": "fps", "fps": 1}, {"kind": "fps", "fps": 2}]

    def left(rule: dict[str, object]) -> list[str]:
        result = expansion(tmp_path, axes={"sampling": sampling}, scales=["0.15M", "0.7M"], exclude=[rule])
        return [t.label.removesuffix("/s0") for t in result.trials]

    both = ["uniform4@0.15M", "uniform4@0.7M", "slow@0.15M", "slow@0.7M", "fps2@0.15M", "fps2@0.7M"]
    assert left({"sampling": "slow"}) == [x for x in both if "slow" not in x]
    assert left({"sampling": {"kind": "fps"}}) == both[:2]
    assert left({"sampling.kind": "fps", "scale": "0.7M"}) == [x for x in both if x.startswith("u") or "0.15M" in x]
    assert left({"sampling.fps": [1, 2]}) == both[:2]


def test_labels_are_short_readable_and_unique(tmp_path):
    result = expansion(tmp_path, axes={"sampling": [{"kind": "fps", "fps": 2}], TPF: [4]})
    assert result.trials[0].label == "fps2-tpf4@0.15M/s0"
    same = [{"name": "x", "kind": "uniform", "frames": 4}, {"name": "x", "kind": "uniform", "frames": 8}]
    labels = [t.design_label for t in expansion(tmp_path, axes={"sampling": same}).trials]
    assert len(set(labels)) == 2
    assert all(label.startswith("x~") for label in labels)


def test_slugs():
    assert axis_slug("integration.timestamps", True) == "timestamps"
    assert axis_slug("integration.timestamps", False) == "no-timestamps"
    assert axis_slug("sampling", {"kind": "fps", "fps": 2.0, "max_clips": 25}) == "fps2-25"
    assert axis_slug("sampling.fps", 0.5) == "fps0.5"


def test_design_key_excludes_scale_seed_and_samples(tmp_path):
    args = {"axes": {FRAMES: [4]}, "scales": ["0.15M", "0.7M"], "seeds": [0, 1]}
    first, second = expansion(tmp_path, **args), expansion(tmp_path, samples=64, **args)
    assert len({t.design_key for t in first.trials + second.trials}) == 1
    assert not keys(first) & keys(second)
    assert len(keys(first)) == 4


@settings(max_examples=25)
@given(st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True), st.randoms())
def test_order_and_spelling_of_values_change_nothing(tmp_path_factory, values: list[int], rng: random.Random):
    folder = tmp_path_factory.mktemp("grid")
    shuffled = [rng.choice([v, float(v)]) for v in rng.sample(values, len(values))]
    once = expansion(folder, axes={FRAMES: values, TPF: [1, 2]}, samples=3_000_000)
    again = expansion(folder, axes={TPF: [2.0, 1], FRAMES: shuffled}, samples=3e6)
    assert keys(once) == keys(again)
    more = expansion(folder, axes={FRAMES: [*values, 100], TPF: [1, 2]}, samples=3_000_000)
    assert keys(once) < keys(more)
    assert len(keys(more) - keys(once)) == 2


@given(
    st.dictionaries(st.text(max_size=4), st.integers() | st.floats(allow_nan=False, allow_infinity=False), max_size=5)
)
def test_digest_ignores_key_order_and_number_spelling(data: dict[str, float]):
    spelled = {k: float(v) if abs(v) < 2**53 else v for k, v in reversed(data.items())}
    assert digest(data) == digest(spelled)


def test_a_new_field_with_a_default_keeps_the_key_and_a_version_changes_it():
    class Old(Part):
        frames: int

    class New(Part):
        frames: int
        jitter: float = 0.0

    class Newer(New):
        VERSION = 2

    assert digest(Old(frames=4)) == digest(New(frames=4))
    assert digest(New(frames=4)) != digest(New(frames=4, jitter=0.1))
    assert digest(New(frames=4)) != digest(Newer(frames=4))

    class Whole(Part):
        inner: Newer = Newer(frames=4)

    class Before(Part):
        inner: New = New(frames=4)

    assert digest(Whole()) != digest(Before())  # a part's version counts where the part itself is a default, too


def test_where_data_lie_enters_no_key_but_what_they_hold_does():
    here, there = (ManifestData(kind="manifest", benchmark="b", folder=f, digest="1") for f in ("/a", "/b"))
    assert canonical(here) == canonical(there)
    assert digest(here) != digest(here.model_copy(update={"digest": "2"}))


def test_keys_of_the_shipped_study_are_pinned():
    """A change here retrains everybody's trials: raise a VERSION only where code changes what a config means."""
    config = TrialConfig(design=PRESETS["tiny"].design, scale="0.15M", seed=0, samples=PRESETS["tiny"].samples)
    assert (design_key(config.design), trial_key(config)) == ("4c3e03bbaf122e82", "fc5cb019277e1655")
    assert len(expand(load_spec(find_spec("sampling"))).trials) == 12


def test_unknown_numbers_are_refused_in_keys():
    with pytest.raises(ValueError, match="Out of range float"):
        digest({"x": float("nan")})
