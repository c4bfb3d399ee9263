"""Promotion: a spec that runs exactly the chosen designs; predictions compared with observed scores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from ablate.cli.views.promotion import policy_of
from ablate.errors import UsageError
from ablate.imports import import_scores
from ablate.imports.layout import Layout
from ablate.paths import study_paths
from ablate.plan import make_plan
from ablate.promotion import Request, backtests, choose, next_steps, prepare, write
from ablate.record import Result, Score, folder_of
from ablate.run import about
from ablate.spec import Chosen, SpecFields, design_key, expand, load_spec, sweep_text
from ablate.study import checked_predictions, known_designs, load_study, report_on
from analysis import consistency
from analysis.promotion import Policy
from models.ladder import scale_card_of

SPEC = """\
study: own
base: tiny
axes:
  sampling:
    - {kind: uniform, frames: 4}
    - {kind: uniform, frames: 8}
    - {kind: fps, fps: 1}
    - {kind: fps, fps: 2}
  resampler.tokens_per_frame: [1, 2, 4]
scales: [0.05M, 0.15M]
seeds: [0]
"""


def finish(spec: Path, level: float, slope: float, noise: float) -> None:
    """Write trials of a spec as if they had run, with scores from the designs' qualities."""
    plan = make_plan(load_spec(spec))
    rng = np.random.default_rng(5)
    for p in plan.missing:
        folder = folder_of(plan.paths, p.trial.key)
        folder.describe(about(plan, p.trial))
        quality = np.random.default_rng(int(p.trial.design_key, 16)).normal(0, 3)
        value = level + slope * quality + rng.normal(0, noise)
        score = Score(benchmark="tinybench", category="overall", modality="video", score=float(value))
        folder.finish(
            Result(key=p.trial.key, attempt=0, scores=[score], seconds=1, started_at=0, ended_at=1, environment={})
        )


@pytest.fixture
def studied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    spec = tmp_path / "own.yaml"
    spec.write_text(SPEC)
    finish(spec, 60, 1.0, 0.4)
    return spec


def promoted(request: Request, policy: Policy, output: Path | None = None):
    prepared = prepare(request)
    selection = choose(prepared, policy)
    return prepared, selection, write(prepared, selection, output, lambda key: f"run-of-{key}")


def test_the_spec_runs_exactly_the_chosen_designs(studied):
    request = Request(study="own", large="0.7M")
    prepared, selection, written = promoted(request, Policy(rule="top-k", value=3))
    assert written.spec == Path("sweeps/own.promoted-0.7M.yaml")
    plan = make_plan(load_spec(written.spec))
    design_keys = {design_key(prepared.study_designs.configs[name]) for name in selection.promoted}
    assert {p.trial.design_key for p in plan.planned} == design_keys
    assert [(p.trial.config.scale, p.trial.config.seed, p.status) for p in plan.planned] == [("0.7M", 0, "new")] * 3
    assert {p.trial.config.samples for p in plan.planned} == {22_750}
    assert {scale_card_of(p.trial.config).llm_lr_factor for p in plan.planned} == {64 / 112}
    assert plan.spec.study == "own"
    assert plan.metric == "tinybench/overall"
    # labels are those of the study, so that tables show one name for each design
    assert {p.trial.design_label for p in plan.planned} == set(selection.promoted)


def test_a_factor_stated_at_the_large_scale_is_carried_along(studied, tmp_path: Path):
    """Trials at the large scale with another learning rate than those measured there would not be comparable."""
    few = SPEC.replace("scales: [0.05M, 0.15M]", "scales: [{label: 0.7M, llm_lr_factor: 0.25}]")
    assert few != SPEC
    (tmp_path / "large.yaml").write_text(few.replace("uniform, frames: 4", "uniform, frames: 2"))
    finish(tmp_path / "large.yaml", 60, 1.0, 0.4)
    request = Request(study="own", large="0.7M", blind=True)
    prepared, _, written = promoted(request, Policy(rule="top-k", value=3))
    assert prepared.llm_lr_factor == 0.25
    assert "scales: [{label: 0.7M, llm_lr_factor: 0.25}]" in written.spec.read_text()
    assert "0.25 times those below" in written.spec.read_text()
    trials = expand(load_spec(written.spec)).trials
    assert {scale_card_of(trial.config).llm_lr_factor for trial in trials} == {0.25}


def test_scores_of_several_factors_at_the_large_scale_are_refused(studied, tmp_path: Path):
    for name, scale, frames in (("a", "0.7M", 4), ("b", "{label: 0.7M, llm_lr_factor: 0.25}", 2)):
        text = SPEC.replace("[0.05M, 0.15M]", f"[{scale}]").replace("uniform, frames: 4", f"uniform, frames: {frames}")
        (tmp_path / f"{name}.yaml").write_text(text)
        finish(tmp_path / f"{name}.yaml", 60, 1.0, 0.4)
    with pytest.raises(UsageError, match=r"trials at 0.7M with several `llm_lr_factor` \(0.25 and none\)"):
        prepare(Request(study="own", large="0.7M", blind=True))
    (note,) = [note for note in load_study("own").notes if "llm_lr_factor" in note]
    assert note.startswith("trials at 0.7M (0.25 and none) state different `llm_lr_factor`")


def test_the_spec_says_why_and_from_which_runs(studied):
    _, selection, written = promoted(Request(study="own", large="0.7M"), Policy(rule="confidence", value=0.9))
    text = written.spec.read_text()
    assert text.startswith("# Promoted from study own, 0.05M and 0.15M, by `ablate promote --to 0.7M`")
    assert "Transfer model: 100% prior (apollo (21 designs, 4 sizes)), 0 designs measured at 0.7M." in " ".join(
        line.removeprefix("# ") for line in text.splitlines()
    )
    assert "0.571 times those below" in text
    for name in selection.promoted:
        line = next(line for line in text.splitlines() if line.startswith(f"# {name}: 0.05M/s0 "))
        assert "run-of-" in line
    rows = [row for row in selection.candidates if not row.is_promoted]
    assert all(f"# {row.design} left out: " in text for row in rows)


def test_predictions_are_checked_against_observed_scores(studied):
    _, selection, written = promoted(Request(study="own", large="0.7M"), Policy(rule="top-k", value=5))
    scores = load_study("own")
    before = report_on(scores, consistency.Request(small="0.05M", large="0.15M"))
    assert checked_predictions(scores, before) == []
    finish(written.spec, 75, 1.3, 0.3)
    scores = load_study("own")
    (checked,) = checked_predictions(scores, report_on(scores, consistency.Request(small="0.15M", large="0.7M")))
    assert {o.design for o in checked.check.outcomes} == set(selection.promoted)
    assert checked.promotion.is_relative
    assert checked.check.level is not None
    assert checked.check.inside >= 4
    # now the level is known: the next promotion is not relative, and trains no design again
    prepared, second, _ = promoted(Request(study="own", large="0.7M"), Policy(rule="top-k", value=2))
    assert not prepared.transfer.is_relative
    assert not set(second.promoted) & set(selection.promoted)
    assert prepared.transfer.num_known == 5
    files = sorted(path.name for path in (study_paths("own").folder / "promotions").glob("*.json"))
    assert files == ["1.json", "2.json"]
    assert json.loads((study_paths("own").folder / "promotions" / "1.json").read_text())["large"] == "0.7M"


def test_one_promoted_design_makes_a_spec_too(studied):
    _, selection, written = promoted(Request(study="own", large="0.7M"), Policy(rule="top-k", value=1))
    plan = make_plan(load_spec(written.spec))
    assert [p.trial.design_label for p in plan.planned] == list(selection.promoted)


def test_a_scale_of_ones_own_and_other_seeds(studied):
    request = Request(study="own", large="2M", llm="tiny/llm-0.7M@2", seeds=(3, 4), train_samples=640)
    _, _, written = promoted(request, Policy(rule="top-k", value=2))
    plan = make_plan(load_spec(written.spec))
    assert {(p.trial.config.llm, p.trial.config.seed, p.trial.config.samples) for p in plan.planned} == {
        ("tiny/llm-0.7M@2", seed, 640) for seed in (3, 4)
    }


def test_calibration_designs_lie_at_the_ends_of_the_scores(studied):
    prepared, selection, written = promoted(Request(study="own", large="0.7M"), Policy(rule="calibrate", value=4))
    assert written.spec == Path("sweeps/own.calibrate-0.7M.yaml")
    ranked = sorted(zip(prepared.transfer.index_n, prepared.candidates.designs, strict=True))
    thirds = {name for _, name in ranked[:4]}, {name for _, name in ranked[-4:]}
    assert all(set(selection.promoted) & third for third in thirds)


def test_files_of_other_programs_are_not_overwritten(studied):
    mine = Path("mine.yaml")
    mine.write_text("study: mine\n")
    with pytest.raises(UsageError, match=r"mine.yaml exists and was not written by `ablate promote`"):
        promoted(Request(study="own", large="0.7M"), Policy(rule="top-k", value=1), mine)
    assert mine.read_text() == "study: mine\n"
    for _ in range(2):  # its own file is
        promoted(Request(study="own", large="0.7M"), Policy(rule="top-k", value=1))


def test_imported_scores_need_a_spec_that_declares_their_designs(tmp_path, studied):
    names = list(known_designs("own").configs)
    rows = "".join(f"{name},1B,{50 + i}\n" for i, name in enumerate(names))
    (tmp_path / "scores.csv").write_text(f"design,scale,score\n{rows}")
    import_scores(tmp_path / "scores.csv", "theirs", Layout(), lower_is_better=False, replace=False)
    prepared, selection, written = promoted(Request(study="theirs", large="7B"), Policy(rule="top-k", value=2))
    assert written.spec is None
    assert "name a spec that declares them by these names with --designs" in written.why_not
    assert set(prepared.costs_n) == {1.0}
    again = Request(study="theirs", large="7B", designs=str(studied))
    prepared, selection, written = promoted(again, Policy(rule="top-k", value=2))
    assert prepared.unit == "GPU-hours"
    plan = make_plan(load_spec(written.spec))
    assert {p.trial.design_label for p in plan.planned} == set(selection.promoted)
    assert plan.spec.study == "theirs"


def test_trials_join_the_imported_scores_of_the_designs_that_a_spec_declares(tmp_path, studied):
    names = list(known_designs("own").configs)
    file = tmp_path / "scores.csv"
    file.write_text(
        "design,scale,benchmark,score\n" + "".join(f"{name},0.15M,tinybench,{50 + i}\n" for i, name in enumerate(names))
    )
    request = Request(study="theirs", large="0.7M", designs=str(studied))
    import_scores(file, "theirs", lower_is_better=False, replace=False)
    assert any(
        "were imported by name alone: import their file again with --designs" in n for n in prepare(request).notes
    )
    again = import_scores(file, "theirs", lower_is_better=False, replace=False, designs=str(studied))
    assert (again.trials, again.unchanged) == (12, 0)
    prepared, selection, written = promoted(request, Policy(rule="top-k", value=4))
    assert not any("by name alone" in note for note in prepared.notes)
    finish(written.spec, 70, 1.0, 0.3)
    scores = load_study("theirs")
    assert set(scores.table.frame["design"]) == set(names)
    (checked,) = checked_predictions(scores, report_on(scores, consistency.Request(small="0.15M", large="0.7M")))
    assert {o.design for o in checked.check.outcomes} == set(selection.promoted)
    file.write_text("design,scale,score\nuniform4-tpf3,0.15M,1\n")
    with pytest.raises(UsageError, match=r"declares no design 'uniform4-tpf3'; did you mean 'uniform4-tpf[124]'\?"):
        import_scores(file, "theirs", lower_is_better=False, replace=False, designs=str(studied))


def test_apollo_as_the_paper_could_have_done():
    """From 1.5B, without 7B scores and by the vague prior: five designs include the best, v20."""
    prepared = prepare(Request(study="apollo", large="7B", scales=("1.5B",), blind=True))
    selection = choose(prepared, Policy(rule="top-k", value=5))
    assert "v20" in selection.promoted
    assert prepared.unit == "GPU-hours"
    assert choose(prepared, Policy(rule="gpu-hours", value=100.0)).cost <= 100
    with pytest.raises(UsageError, match="the cheapest design costs"):
        choose(prepared, Policy(rule="gpu-hours", value=1.0))


def test_backtest_of_apollo():
    results = {one.rows[0].proxy: one for one in backtests(Request(study="apollo", large="7B"), subsets=4)}
    assert list(results) == ["0.5B", "1.5B", "4B", "0.5B+1.5B+4B"]
    top = {row.policy: row for row in results["1.5B"].rows}
    assert top["top-5"].whole == (5, 0.0, True)
    assert top["top-1"].whole == (1, 0.22, False)
    assert top["top-5"].small_cost == pytest.approx(1.5 / 7)
    assert all(math.isfinite(row.regret) for one in results.values() for row in one.rows)


def test_next_is_worth_something_until_it_is_enough(studied):
    prepared = prepare(Request(study="own", large="0.7M"))
    advice = next_steps(prepared, 0.25)
    assert not advice.is_enough
    assert advice.steps[0].worth > 0
    assert {step.kind for step in advice.steps} >= {"design", "seed"}
    finish_all = studied.parent / "all.yaml"
    finish_all.write_text(SPEC.replace("[0.05M, 0.15M]", "[0.7M]"))
    finish(finish_all, 75, 1.3, 0.3)
    assert next_steps(prepare(Request(study="own", large="0.7M")), 0.25).is_enough


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"large": "70B"}, r"--to 70B: unknown scale '70B'.*--to 70B=HUB-ID-OR-FOLDER"),
        ({"large": "0.05M"}, "no scores at a scale smaller than 0.05M"),
        ({"large": "0.7M", "scales": ("1B",)}, "no scores at 1B below 0.7M; smaller scales are: 0.05M, 0.15M"),
        ({"large": "0.7M", "metric": "x/y"}, "no scores for x/y"),
        ({"large": "0.7M", "designs": "nope.yaml"}, "no sweep spec nope.yaml"),
    ],
)
def test_what_cannot_be_promoted_is_refused(studied, fields, match):
    with pytest.raises(UsageError, match=match):
        prepare(Request(study="own", **fields))


def test_one_rule_at_a_time():
    assert policy_of({"regret": None, "top-k": 3}) == Policy(rule="top-k", value=3)
    assert policy_of({}) == Policy(rule="confidence", value=0.95)
    for values, match in (
        ({"regret": 1.0, "gpu-hours": 5.0}, "give one rule, not --regret and --gpu-hours"),
        ({"confidence": 1.5}, "a probability above 0 and up to 1"),
        ({"regret": math.nan}, "a number from 0"),
    ):
        with pytest.raises(UsageError, match=match):
            policy_of(values)


@pytest.mark.parametrize(
    "name",
    ["sampling", "encoders", "schedules", "mixes", "integration", "apollo/sampling_uniform", "apollo/encoders"],
)
def test_every_shipped_sweep_can_be_promoted_from(name, tmp_path):
    """Whatever a sweep varies, the spec of its designs reads back as the same designs."""
    found = known_designs("any", name)
    sheet = SpecFields(study="s", question="which: now?", heading=["x"], scale="7B", seeds=[0], samples=10, metric=None)
    names = list(found.configs)
    for some in (names, names[:1], names[::2]):
        chosen = [Chosen(name=n, design=found.configs[n], reason="best", axes=found.values[n]) for n in some]
        (tmp_path / "again.yaml").write_text(sweep_text(sheet, chosen, found.axes))
        again = known_designs("any", str(tmp_path / "again.yaml"))
        assert [again.values[label] for label in again.configs] == [found.values[n] for n in some]
        assert list(again.configs) == some  # the same labels, since the axes stand in the same order
