"""Unusual input, from attempts to break the command line: refused in one line, or read as written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ablate.errors import AblateError, UsageError
from ablate.imports import import_scores
from ablate.paths import study_paths
from ablate.plan import make_plan
from ablate.record import RecordError, StudyFacts, TrialFolder, facts, remember, scan, studies
from ablate.spec import expand, load_spec
from ablate.study import load_table

HEAD = "study: s\nbase: tiny\nscales: [0.15M]\n"


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str):
        path = tmp_path / "s.yaml"
        path.write_text(HEAD + text)
        return load_spec(path)

    return load


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("axes: {sampling.frames: [true, 8]}", "frames must be a number, not True"),
        ("axes: {sampling.frames: ['8']}", "frames must be a number, not '8'"),
        ("axes: {integration.timestamps: [1, 0]}", "timestamps must be true or false, not 1"),
        ("axes: {sampling.frames: [4]}\nsamples: true", "True is not a whole number"),
        ("axes: {sampling.frames: [4]}\nseeds: ['1']", "'1' is not a whole number"),
        ("axes: {sampling.frames: [4]}\nseeds: [99999999999]", "less than"),
        ("axes: {sampling.frames: [4]}\nzip: [{sampling.frames: [8]}]", "the same axis twice"),
        ("axes: {schedule.00.share: [0.5]}", "no such axis"),
        ("axes: {schedule.\u00b2.share: [0.5]}", "no such axis"),
        ("axes: {scale: [0.7M]}", "top-level keys of the spec"),
        ("zip: [{}]", "an empty entry"),
        ("axes: {sampling.frames: !foo [4]}", "YAML tags such as !foo are not allowed"),
        ("axes: {sampling.frames: [4]}\nexclude: [{}]", "at least 1 item"),
        ("axes: {sampling: [{name: '', kind: uniform, frames: 4}]}", "`name` must be a non-empty string"),
        ("axes: {sampling.frames: [4]}\nresources: {cpus: .inf}", "finite"),
        ("grids: [{axes: {sampling.frames: [4]}}]\nvary: one_at_a_time", "inside each of them"),
        ("axes: {schedule.0.lr: [{connector: 0}]}", "trains nothing"),
    ],
)
def test_invalid_specs_are_refused_with_their_line(load, text, says):
    with pytest.raises(UsageError) as error:
        expand(load(text))
    assert says in str(error.value)
    assert "s.yaml:" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "axes: {sampling.frames: [4]}\nbudget: 640",
            "s.yaml:5: budget: unknown key 'budget': it is called 'samples' now",
        ),
        (
            "axes: {sampling.frames: [4]}\ndesign: grid",
            "s.yaml:5: design: unknown key 'design': it is called 'vary' now",
        ),
        ("grids: [{axes: {sampling.frames: [4]}, design: grid}]", "unknown key 'design': it is called 'vary' now"),
    ],
)
def test_a_key_of_an_earlier_version_is_refused_with_the_new_one(load, text, says):
    with pytest.raises(UsageError) as error:
        load(text)
    assert says in str(error.value)


@pytest.mark.parametrize("metric", ["tinybench/overal", "foo/overall", "tinybench", "/"])
def test_a_metric_that_no_trial_will_have_is_refused_before_any_runs(load, metric):
    with pytest.raises(UsageError, match=r"s.yaml:5: metric: no score .*allowed: tinybench/overall"):
        make_plan(load(f"axes: {{sampling.frames: [4]}}\nmetric: {metric}\n"))


def test_an_impossible_combination_can_be_excluded(load):
    axes = "axes:\n  sampling: [{kind: uniform, frames: 8}, {kind: fps, fps: 2}]\n  sampling.frames: [4, 8]\n"
    with pytest.raises(UsageError, match="unknown key 'frames'"):
        expand(load(axes))
    result = expand(load(axes + "exclude: [{sampling.kind: fps}]\n"))
    assert (result.declared, result.excluded, len(result.trials)) == (4, 2, 2)


def test_merge_keys_and_names_with_brackets_mean_what_they_say(load):
    text = "axes:\n  sampling:\n    - &a {kind: uniform, frames: 4, name: '[/a]'}\n    - {<<: *a, frames: 8, name: b}\n"
    assert [t.design_label for t in expand(load(text)).trials] == ["[/a]", "b"]


def test_every_trial_has_a_value_of_every_axis_of_every_grid(load):
    grids = "grids: [{axes: {sampling.frames: [4]}}, {axes: {resampler.tokens_per_frame: [4]}}]\n"
    axes = [t.axes for t in expand(load(grids)).trials]
    both = ("sampling.frames", "resampler.tokens_per_frame")
    assert axes == [dict(zip(both, v, strict=True)) for v in ((4, 2), (8, 4))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("design,scale,score\na,1B,1,9\n", "csv:2: 4 cells, but the header has 3"),
        ("design,scale,score\n\n\na,1B,x\n", "csv:4: score 'x'"),
        ("design,scale,score\na,1B,1_0\n", "score '1_0' is not a number"),
        ("design,scale,seed,score\na,1B,1e30,1\n", "seed '1e30' is not a non-negative integer"),
        ("design,scale,seed,score\na,1B,NA,1\n", "seed 'NA' is not a non-negative integer"),
        ("design,scale,score,modality\na,1B,1,audio\n", "allowed: video, frame, text"),
        ("design,scale,score,benchmark,samples\na,1B,1,b,10\na,1B,1,c,20\n", "other `samples`"),
        ("design,design,scale,score\na,a,1B,1\n", "duplicate columns"),
    ],
)
def test_a_table_is_read_strictly(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError) as error:
        import_scores(tmp_path / "t.csv", "s", lower_is_better=False, replace=False)
    assert says in str(error.value)


def test_a_byte_order_mark_and_designs_called_none_are_fine(tmp_path):
    (tmp_path / "t.csv").write_text("design,scale,score\nNone,1B,1\nNA,1B,2\n", encoding="utf-8-sig")
    assert import_scores(tmp_path / "t.csv", "s", lower_is_better=False, replace=False).trials == 2
    assert set(load_table("s").frame["design"]) == {"None", "NA"}


def test_a_record_of_wrong_types_is_refused_by_name(tmp_path):
    (tmp_path / "t.csv").write_text("design,scale,score\na,1B,1\n")
    import_scores(tmp_path / "t.csv", "s", lower_is_better=False, replace=False)
    (record,) = scan(study_paths("s"))
    (record.path.parent / ".DS_Store").write_text("")
    assert len(list(scan(study_paths("s")))) == 1
    for file, change in (("trial.json", {"seed": "zero"}), ("result.json", {"scores": [1]})):
        good = json.loads((record.path / file).read_text())
        (record.path / file).write_text(json.dumps(good | change))
        with pytest.raises(RecordError, match="not a readable record"):
            TrialFolder(record.path).read()
        (record.path / file).write_text(json.dumps(good))


def test_reserved_names_and_folders_that_are_no_studies(tmp_path, monkeypatch):
    for name in ("mlflow.db", "artifacts", "Default", "x" * 101):
        with pytest.raises(UsageError, match="study name"):
            study_paths(name)
    (tmp_path / "runs" / ".trash" / "trials").mkdir(parents=True)
    assert studies(tmp_path / "runs") == []


def test_a_damaged_study_file_is_reported_with_what_it_contains():
    paths = study_paths("s")
    remember(paths, StudyFacts(lower_is_better=True))
    assert facts(paths).lower_is_better
    paths.about.write_text("{")
    with pytest.raises(AblateError, match="whether lower is better"):
        facts(paths)
