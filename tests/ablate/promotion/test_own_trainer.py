"""Promotion in a study of the user's own trainer: the same decisions, and a spec for the same trainer."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ablate.errors import UsageError
from ablate.imports import import_scores
from ablate.paths import study_paths
from ablate.plan import make_plan
from ablate.promotion import Request, backtests, choose, next_steps, prepare, write
from ablate.record import Result, Score, StudyFacts, facts, folder_of, remember
from ablate.run import about
from ablate.spec import load_spec
from ablate.study import checked_predictions, load_study, overview, rankings, report_on
from analysis import consistency
from analysis.promotion import Policy

SPEC = """\
study: mine
trainer:
  command: [python, train.py, "{config}"]
  code: [train.py]
  env: {TOKEN: secret}
axes:
  data.fps: [1, 2, 4]
  model.projector: [mlp, {name: perceiver, kind: perceiver, tokens: 64}]
scales:
  - {label: 0.5B, set: {model.size: s}}
  - {label: 1.5B, set: {model.size: m}}
  - {label: 7B, set: {model.size: l}, resources: {gpus: 8}}
metric: {name: val/loss, lower_is_better: true}
cost: {gpu_hours: {0.5B: 3, 7B: 60}}
resources: {gpus: 1}
"""
TWO = Policy(rule="top-k", value=2)
SMALL = ["0.5B", "1.5B"]


def finish(spec: Path, scales: list[str] | None = None, *, hours: float = 2.0) -> None:
    """Write trials of a spec as if they had run, with losses from the designs' qualities."""
    plan = make_plan(load_spec(spec, scales=scales))
    study_facts = facts(plan.paths).with_sweep(
        metric=plan.metric,
        lower_is_better=plan.lower_is_better,
        samples=plan.spec.trial_samples,
        spec=str(spec.resolve()),
        scales=plan.spec.declared_labels,
    )
    remember(plan.paths, study_facts)
    for p in plan.missing:
        folder = folder_of(plan.paths, p.trial.key)
        folder.describe(about(plan, p.trial))
        quality = np.random.default_rng(int(p.trial.design_key, 16)).normal(0, 0.3)
        value = 3 - quality - 0.2 * len(str(p.trial.config.scale_set["model.size"]))
        scores = [Score(benchmark="val", category="loss", modality="video", score=float(value)),
                  Score(benchmark="mme", category="overall", modality="video", score=50 + 10 * quality)]  # fmt: skip
        seconds = 3600 * hours
        folder.finish(
            Result(key=p.trial.key, attempt=0, scores=scores, seconds=seconds, started_at=0, ended_at=1, environment={})
        )


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("pass")
    path = tmp_path / "mine.yaml"
    path.write_text(SPEC)
    finish(path, SMALL)
    return path


def promoted(request: Request, policy: Policy = TWO):
    prepared = prepare(request)
    selection = choose(prepared, policy)
    return prepared, selection, write(prepared, selection, None, lambda key: "")


def test_the_lowest_losses_are_promoted_as_trials_of_the_studys_spec(spec):
    prepared, selection, written = promoted(Request(study="mine", large="7B"))
    best = rankings(load_study("mine").table)[1]["design"].tolist()[:2]
    assert list(selection.promoted) == best
    again = load_spec(written.spec)
    assert again.user_trainer.identity == load_spec(spec).user_trainer.identity
    assert again.user_trainer.trainer.env == {"TOKEN": "secret"}
    plan = make_plan(again)
    assert plan.lower_is_better
    assert [p.gpus for p in plan.planned] == [8, 8]
    declared = {p.trial.key for p in make_plan(load_spec(spec, scales=["7B"])).planned}
    assert {p.trial.key for p in plan.planned} < declared  # so that finished ones do not run again
    assert {p.trial.design_label for p in plan.planned} == set(best)
    assert "secret" not in "".join(path.read_text() for path in study_paths("mine").folder.rglob("*.json"))
    text = written.spec.read_text()
    assert "learning rates of the LLM" not in text
    assert all(f"# {name}: 0.5B/s0 " in text for name in best)


def test_predictions_are_checked_when_the_promoted_trials_have_run(spec):
    _, selection, written = promoted(Request(study="mine", large="7B"), Policy(rule="top-k", value=3))
    finish(written.spec)
    scores = load_study("mine")
    report = report_on(scores, consistency.Request(small="", large=""))
    assert (report.consistency.lower_is_better, report.consistency.large) == (True, "7B")
    (checked,) = checked_predictions(scores, report)
    assert {o.design for o in checked.check.outcomes} == set(selection.promoted)
    second = promoted(Request(study="mine", large="7B"))[1]
    assert not set(second.promoted) & set(selection.promoted)


def test_costs_are_those_of_the_spec_until_trials_are_measured(spec):
    prepared = prepare(Request(study="mine", large="7B", seeds=(0, 1)))
    assert (prepared.unit, set(prepared.costs_n)) == ("GPU-hours", {120.0})
    # small scales: measured on 1 GPU, 2 hours each
    assert {scale: set(cost) for scale, cost in prepared.run_costs().items()} == {
        "7B": {60.0},
        "0.5B": {2.0},
        "1.5B": {2.0},
    }
    with pytest.raises(UsageError, match="the cheapest design costs 60 GPU-hours"):
        choose(prepare(Request(study="mine", large="7B")), Policy(rule="gpu-hours", value=50))
    _, selection, written = promoted(Request(study="mine", large="7B"), Policy(rule="gpu-hours", value=130))
    assert (len(selection.promoted), selection.cost) == (2, 120.0)
    finish(written.spec, hours=5)
    assert set(prepare(Request(study="mine", large="7B")).costs_n) == {40.0}  # 8 GPUs


def test_without_costs_designs_are_promoted_by_number(spec):
    spec.write_text(SPEC.replace("cost: {gpu_hours: {0.5B: 3, 7B: 60}}\n", ""))
    prepared, selection, written = promoted(Request(study="mine", large="7B"))
    assert (prepared.unit, len(selection.promoted)) == ("designs", 2)
    assert any("the cost of a trial at 7B is neither stated nor measured" in note for note in prepared.notes)
    with pytest.raises(
        UsageError, match=r"mine.yaml, e.g. cost: \{gpu_hours: \{7B: 60\}\}, or promote by number: --top-k"
    ):
        choose(prepared, Policy(rule="gpu-hours", value=100))
    assert written.spec is not None


def test_measured_trials_without_gpus_are_named_as_the_reason_for_an_unknown_cost(spec):
    text = SPEC.replace("cost: {gpu_hours: {0.5B: 3, 7B: 60}}\n", "").replace(
        "resources: {gpus: 8}", "resources: {gpus: 0}"
    )
    spec.write_text(text)
    prepared = promoted(Request(study="mine", large="7B"))[0]
    assert any("at 7B is not stated, nor measured in GPU-hours, since it has no GPU" in note for note in prepared.notes)


def test_a_scale_that_no_spec_declares_must_be_declared(spec):
    message = (
        "mine.yaml declares no scale '72B' (it has 0.5B, 1.5B, 7B), so what your trainer trains there is unknown; "
        "declare it, e.g. scales: [..., {label: 72B, set: {model.size: ...}, resources: {gpus: 8}}]"
    )
    with pytest.raises(UsageError, match=re.escape(message)):
        prepare(Request(study="mine", large="72B"))
    with pytest.raises(UsageError, match="its spec states what a scale sets: declare it in .*mine.yaml"):
        prepare(Request(study="mine", large="72B", llm="Qwen/Qwen2.5-72B"))
    text = SPEC.replace("metric:", "  - {label: 72B, set: {model.size: xl}}\nmetric:")
    spec.write_text(text)
    plan = make_plan(load_spec(promoted(Request(study="mine", large="72B"))[2].spec))
    assert [p.trial.config.scale_set for p in plan.planned] == [{"model.size": "xl"}] * 2


def test_a_second_promotion_finds_scales_in_the_first_spec(spec):
    """The latest spec of the study is then the promoted one, which declares one scale."""
    _, _, written = promoted(Request(study="mine", large="1.5B", scales=("0.5B",), blind=True))
    finish(written.spec)
    assert facts(study_paths("mine")).specs[-1] == str(written.spec.resolve())
    assert load_spec(promoted(Request(study="mine", large="7B"))[2].spec).labels == ["7B"]


def test_a_spec_that_is_gone_is_named_and_another_may_be_given(spec):
    text = spec.read_text()
    spec.unlink()
    prepared, selection, written = promoted(Request(study="mine", large="7B"))
    assert len(selection.promoted) == 2  # the choice needs no spec
    assert written.spec is None
    assert re.search(r"cannot read .*mine.yaml.*name one with --designs SPEC", written.why_not)
    (spec.parent / "moved.yaml").write_text(text)
    request = Request(study="mine", large="7B", designs=str(spec.parent / "moved.yaml"))
    assert promoted(request)[1].promoted == selection.promoted
    assert promoted(request)[2].spec is not None


def test_a_changed_trainer_is_noted(spec):
    assert not any("the trainer of" in note for note in prepare(Request(study="mine", large="7B")).notes)
    (spec.parent / "train.py").write_text("print()")
    (note,) = [note for note in prepare(Request(study="mine", large="7B")).notes if "the trainer of" in note]
    assert "differs from that of the study's trials (its command, code or version has changed)" in note
    assert load_study("mine").trainer_note is None
    finish(spec, ["7B"])
    note = load_study("mine").trainer_note
    assert note.startswith("trials used different versions of your trainer (command, code or version)")
    assert "fps1-mlp@7B" in note.split(";")[1]


def test_another_benchmark_of_the_program_has_its_own_direction(spec):
    """The program reports a loss, which the study ranks by, and an accuracy: both rank the designs alike here."""
    scores = load_study("mine")
    loss, accuracy = rankings(scores.table)[0], rankings(scores.table, "mme/overall")[0]
    assert loss["design"].tolist() == accuracy["design"].tolist()
    report = report_on(scores, consistency.Request(small="0.5B", large="1.5B", metric="mme/overall"))
    assert not report.consistency.lower_is_better
    _, selection, written = promoted(Request(study="mine", large="7B", metric="mme/overall"))
    assert list(selection.promoted) == loss["design"].tolist()[:2]
    assert make_plan(load_spec(written.spec)).metric == "val/loss"  # of the spec: the only score a trial must report


def test_next_and_backtest(spec):
    advice = next_steps(prepare(Request(study="mine", large="7B")), 0.01)
    assert not advice.is_enough
    assert {step.kind for step in advice.steps} >= {"design", "seed"}
    assert {step.cost for step in advice.steps if step.kind == "design"} == {60.0}
    finish(spec)
    results = backtests(Request(study="mine", large="7B"), subsets=3)
    assert [one.rows[0].proxy for one in results] == ["0.5B", "1.5B", "0.5B+1.5B"]
    assert {row.policy: row.whole for row in results[0].rows}["top-1"][1:] == (0.0, True)  # scores have no noise


def test_imported_scores_of_declared_open_designs(spec):
    names = list(rankings(load_study("mine").table)[0]["design"])
    rows = "".join(f"{name},0.5B,{n}\n" for n, name in enumerate(names))
    Path("scores.csv").write_text(f"design,scale,score\n{rows}")
    import_scores(Path("scores.csv"), "theirs", lower_is_better=True, replace=False, designs=str(spec))
    prepared, selection, written = promoted(Request(study="theirs", large="7B", designs=str(spec)))
    assert list(selection.promoted) == names[:2]
    assert prepared.unit == "GPU-hours"
    assert make_plan(load_spec(written.spec)).spec.study == "theirs"


def test_designs_of_both_trainers_in_one_study_are_refused(spec):
    Path("own.yaml").write_text(
        "study: mine\nbase: tiny\naxes:\n  sampling: [{kind: uniform, frames: 4}]\nscales: [0.05M]\n"
    )
    before = facts(study_paths("mine"))
    remember(study_paths("mine"), StudyFacts())  # as written before plans refused this
    plan = make_plan(load_spec(Path("own.yaml")))
    remember(plan.paths, before)
    trial = plan.missing[0].trial
    folder = folder_of(plan.paths, trial.key)
    folder.describe(about(plan, trial))
    score = Score(benchmark="tinybench", category="overall", modality="video", score=1.0)
    folder.finish(Result(key=trial.key, attempt=0, scores=[score], seconds=1, started_at=0, ended_at=1, environment={}))
    with pytest.raises(UsageError, match="trials of ablate's own trainer and of yours"):
        prepare(Request(study="mine", large="7B"))


def test_labels_that_are_no_sizes_keep_the_order_of_the_spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("pass")
    text = SPEC.replace("0.5B", "small").replace("1.5B", "medium").replace("7B", "huge")
    Path("mine.yaml").write_text(text)
    finish(Path("mine.yaml"), ["medium", "small"])
    finish(Path("mine.yaml"), ["huge"])
    assert load_study("mine").table.scales == ("small", "medium", "huge")
    assert overview()[0]["scales"] == ["small", "medium", "huge"]
    report = report_on(load_study("mine"), consistency.Request(small="", large=""))
    assert (report.consistency.small, report.consistency.large) == ("small", "huge")
    assert [pair.small for pair in report.scaling.pairs] == ["small", "small", "medium"]
    with pytest.raises(UsageError, match="'huge' is not a size such as 7B.*a label may end in its size: huge-7B"):
        prepare(Request(study="mine", large="huge"))
    Path("mine.yaml").write_text(text.replace("huge", "huge-7B").replace("small", "small-0.5B"))
    finish(Path("mine.yaml"), ["small-0.5B"])
    assert len(promoted(Request(study="mine", large="huge-7B"))[1].promoted) == 2


def test_the_order_of_scales_grows_with_the_sweeps_of_a_study():
    def order(*sweeps: list[str]) -> list[str]:
        study = StudyFacts()
        for labels in sweeps:
            study = study.with_sweep(metric="a/b", lower_is_better=False, samples=None, spec=None, scales=labels)
        return study.scales

    assert order(["s", "m"], ["l"]) == ["s", "m", "l"]  # a promotion
    assert order(["s", "m", "l"], ["l"], ["s"]) == ["s", "m", "l"]
    assert order(["l"], ["s", "l"]) == ["s", "l"]
    assert order(["l", "s"], ["s", "l"]) == ["s", "l"]
