"""Specs of chosen open designs: whatever a study of the user's own trainer varies, they read back as these designs."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.errors import UsageError
from ablate.spec import OpenChosen, OpenFields, design_key, expand, load_spec, open_sweep_text, stated_fields
from ablate.spec.open_design import normalised

FIELDS = OpenFields(
    study="mine",
    question="which: now?",
    heading=["x"],
    stated={"trainer": {"command": ["train", "{config}"], "version": 1}, "scales": ["7B"], "metric": "val/loss"},
    seeds=[0],
    samples=None,
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["no", "1", "", "a: b", "{x}", "~", "# c", "1e-5", "null", " x", "a/b"]),
    st.text(string.ascii_letters + "\u00e9\u4e2d'\"{}[]:#,&*!|>%@-?", max_size=4),
)  # fmt: skip
names = st.sampled_from(["a", "b", "name", "value", "kind", "0", "x.y", "c d"])
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(names, inner, max_size=2)),
    max_leaves=5,
)
designs = st.dictionaries(st.sampled_from(["a", "b", "name", "lr"]), values, min_size=1, max_size=3)


def paths_in(value: Any, prefix: str = "") -> list[str]:
    """Dotted paths of all entries of mappings and lists below a value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    paths = []
    for name, inner in entries:
        if "." not in str(name):
            paths += [f"{prefix}{name}", *paths_in(inner, f"{prefix}{name}.")]
    return paths


def chosen_of(plain: list[dict[str, Any]]) -> list[OpenChosen]:
    return [
        OpenChosen(name=f"d{n}", design=design, key=design_key(design), reason="best")
        for n, design in enumerate(map(normalised, plain))
    ]


def trials_of(text: str, folder: Path):
    (folder / "written.yaml").write_text(text)
    return expand(load_spec(folder / "written.yaml")).trials


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(designs, min_size=1, max_size=4), st.data())
def test_any_designs_can_be_written(tmp_path, plain, data):
    paths = sorted({path for design in plain for path in paths_in(design)})
    axes = data.draw(st.lists(st.sampled_from(paths), max_size=3, unique=True))
    chosen = chosen_of(plain)
    trials = trials_of(open_sweep_text(FIELDS, chosen, axes), tmp_path)
    assert {trial.design_key for trial in trials} == {one.key for one in chosen}
    assert set(axes) <= {axis for trial in trials for axis in trial.axes}


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("pass")
    (tmp_path / "videos.json").write_text("[]")
    path = tmp_path / "mine.yaml"
    path.write_text(SPEC)
    return path


def test_the_axes_of_the_study_are_columns_and_the_rest_is_shared(tmp_path, spec):
    """One name for each design in tables: labels come from the same axes, in the same order."""
    trials = [trial for trial in expand(load_spec(spec)).trials if trial.config.scale == "0.5B"]
    chosen = [
        OpenChosen(name=t.design_label, design=t.config.design, key=t.design_key, reason="best", axes=t.axes)
        for t in trials[1:4]
    ]
    text = open_sweep_text(FIELDS, chosen, ["fps", "model.projector", "frozen"])
    assert [trial.design_label for trial in trials_of(text, tmp_path)] == [one.name for one in chosen]
    assert "set:\n  optim: {lr: 0.001, betas: [0.9, 0.95]}\n" in text
    assert "  model: {size: s}\n" in text
    assert f"      - 1  # {chosen[0].name}: best\n" in text


def test_designs_that_set_other_paths_are_written_as_several_grids(tmp_path):
    """An absent path differs from null, so a column cannot have a value for a design without it."""
    plain = [{"a": {"x": 1}}, {"a": {"x": 2}}, {"a": {"x": 1, "y": None}}, {"a": {"x": 1}, "b": 1}]
    text = open_sweep_text(FIELDS, chosen_of(plain), ["a.x"])
    assert text.count("- zip:") == 3
    assert [trial.config.design for trial in trials_of(text, tmp_path)] == plain


def test_a_design_that_sets_nothing_is_refused():
    with pytest.raises(UsageError, match="design 'd0' sets nothing"):
        open_sweep_text(FIELDS, chosen_of([{}, {"a": 1}]), ["a"])


def test_a_mapping_with_an_entry_called_name_is_no_named_value(tmp_path):
    plain = [{"model": {"name": "x", "value": 1}}, {"model": {"name": "y"}}]
    trials = trials_of(open_sweep_text(FIELDS, chosen_of(plain), ["model"]), tmp_path)
    assert [trial.config.design for trial in trials] == plain


def test_the_fields_of_the_studys_spec_are_repeated_with_absolute_paths(tmp_path, spec):
    stated = stated_fields(load_spec(spec), "7B")
    assert stated["trainer"] == {
        "command": ["python", "train.py", "--config", "{config}", ["--resume", "{resume}"]],
        "workdir": str(tmp_path / "code"),
        "code": ["train.py"],
        "env": {"TOKEN": "secret"},
    }
    assert stated["scales"] == [{"label": "7B", "set": {"model.size": "l"}, "resources": {"gpus": 8.0}}]
    assert stated["data"] == {"train": str(tmp_path / "videos.json"), "hub": "lmms/videomme"}
    assert stated["metric"] == {"name": "val/loss", "lower_is_better": True}
    assert stated["cost"] == {"gpu_hours": {"7B": 60.0}}
    assert stated["resources"] == {"cpus": 2}
    assert stated["limits"] == {"trial": "6h"}
    assert stated["retries"] == {"oom": 3}
    fields = OpenFields(study="mine", question="", heading=[], stated=stated, seeds=[0], samples=10)
    before = {t.design_key: t.key for t in expand(load_spec(spec)).trials if t.config.scale == "7B"}
    designs_of_study = [
        OpenChosen(name=t.design_label, design=t.config.design, key=t.design_key, reason="")
        for t in expand(load_spec(spec)).trials
    ]
    (tmp_path / "elsewhere").mkdir()
    text = open_sweep_text(fields, designs_of_study, ["fps"])
    again = trials_of(text, tmp_path / "elsewhere")
    assert {t.design_key: t.key for t in again} == before  # the same trials, so that finished ones do not run again


SPEC = """\
study: mine
trainer:
  command: [python, train.py, --config, "{config}", [--resume, "{resume}"]]
  workdir: code
  code: [train.py]
  env: {TOKEN: secret}
data: {train: videos.json, hub: lmms/videomme}
set:
  model.size: s
  optim: {lr: 0.001, betas: [0.9, 0.95]}
axes:
  fps: [1, 2]
  model.projector: [mlp, {name: perceiver, kind: perceiver, tokens: 64}]
  frozen: [true, false]
scales: [0.5B, {label: 7B, set: {model.size: l}, resources: {gpus: 8}}]
metric: {name: val/loss, lower_is_better: true}
cost: {gpu_hours: {0.5B: 3, 7B: 60}}
resources: {cpus: 2}
limits: {trial: 6h}
retries: {oom: 3}
samples: 10
"""
