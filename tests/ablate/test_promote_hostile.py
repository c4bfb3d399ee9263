"""Invalid and unusual requests: refused in one sentence, or handled; never a traceback, never half of the files."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ablate.cli.main import main
from ablate.imports import import_scores
from ablate.paths import study_paths
from ablate.plan import make_plan
from ablate.promotion import Request, choose, next_steps, prepare, write
from ablate.record import Failure, Result, Score, StudyFacts, folder_of, remember, sole_driver
from ablate.run import about
from ablate.spec import load_spec
from ablate.study import load_study
from ablate.study.answers import item_scores
from analysis.promotion import Policy

SPEC = """\
study: own
base: tiny
axes:
  sampling: [{kind: uniform, frames: 4}, {kind: uniform, frames: 8}, {kind: fps, fps: 1}]
  resampler.tokens_per_frame: [1, 2]
scales: [0.05M, 0.15M]
"""
TWO = Policy(rule="top-k", value=2)
PROMOTE = ("promote", "--study", "own", "--to", "0.7M")


def finish(text: str = SPEC, *, failing: str = "none", correct: int = 5) -> None:
    """Write trials of a spec as if they had run, except those with `failing` in the label; 9 answers each."""
    Path("own.yaml").write_text(text)
    plan = make_plan(load_spec(Path("own.yaml")))
    remember(plan.paths, StudyFacts(metric=plan.metric, samples=plan.spec.trial_samples))
    for p in plan.missing:
        folder = folder_of(plan.paths, p.trial.key)
        folder.describe(about(plan, p.trial))
        if failing in p.trial.label:
            folder.begin().fail(Failure(attempt=0, kind="diverged", message="", traceback="", seconds=1, ended_at=1))
            continue
        value = 60 + np.random.default_rng(int(p.trial.design_key, 16)).normal(0, 3)
        scores = [Score(benchmark="tinybench", category="overall", modality=m, score=value) for m in ("video", "frame")]
        rows = [(f"q{i}", f"i{i}", "ocr", "video", 0, int(i >= correct), 0.5) for i in range(9)]
        columns = ["question", "item", "category", "modality", "answer", "predicted", "probability"]
        pd.DataFrame(rows, columns=columns).to_parquet(folder.path / "predictions.parquet")
        folder.finish(
            Result(key=p.trial.key, attempt=0, scores=scores, seconds=1, started_at=0, ended_at=1, environment={})
        )


@pytest.fixture
def studied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finish()


def ablate(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["ablate", *arguments])
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


def promoted(request: Request, output: Path | None = None):
    prepared = prepare(request)
    return prepared, write(prepared, choose(prepared, TWO), output, lambda key: "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--seeds", "-1"), "--seeds -1: seeds are whole numbers from 0"),
        (("--seeds", "99999999999"), "--seeds 99999999999: seeds are whole numbers from 0"),
        (("--seeds", "0,0"), "0 is given twice"),
        (("--gpu", "H100"), "did you mean h100-80gb?"),
        (("--from", ","), "--from ',': give one or more names"),
        (("--metric", ""), "--metric '' is empty"),
        (("--launch", "--json"), "--launch with --json would print two objects"),
        (("--to", "0.7M="), "give a hub id or folder after the ="),
        (("--to", "a/-7B=tiny/llm-0.7M@2"), "a label has letters"),
    ],
)
def test_invalid_options_are_refused(studied, options, says):
    code, out, err = ablate(*PROMOTE, *options)
    assert (code, out) == (2, "")
    assert err.startswith("ablate: ")
    assert says in err
    assert err.count("\n") == 1
    assert not Path("sweeps").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--noise", "inf"), "--noise inf: give points from"),
        (("--noise", "0"), "--noise 0: give points from"),
        (("--noise", "1e300"), "--noise 1e+300: give points from"),
        (("--resolution", "inf"), "--resolution inf: give points from"),
        (("--csv", "--json"), "--csv with --json: give one of them"),
        (("--within", ""), "--within '' is empty"),
        (("--small", "9B"), "no trials at 9B in study own"),
    ],
)
def test_invalid_questions_are_refused(studied, options, says):
    code, out, err = ablate("consistency", "--study", "own", *options)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_frames_are_compared_and_promoted_like_videos(studied):
    code, out, _ = ablate("consistency", "--study", "own", "--modality", "frame", "--json")
    assert (code, json.loads(out)["modality"]) == (0, "frame")
    code, out, _ = ablate(*PROMOTE, "--modality", "frame", "--top-k", "1")
    assert code == 0
    assert out.startswith("own: 0.05M + 0.15M -> 0.7M   tinybench/overall (frame), 6 designs")


def test_a_study_with_several_numbers_of_samples(studied):
    finish(SPEC + "samples: 640\n", correct=2)
    _, written = promoted(Request(study="own", large="0.7M"))
    assert load_spec(written.spec).samples == 640  # the latest sweep's
    prepared, written = promoted(Request(study="own", large="0.7M", samples=22_750))
    assert load_spec(written.spec).samples == 22_750
    assert prepared.unit == "PFLOPs"
    assert "predicted from scores of 22,750 samples (--samples)" in prepared.notes[0]
    for samples, share in ((640, 2), (22_750, 5)):  # answers of one number of samples are not mixed with another's
        chosen = load_study("own", samples=samples).table.select("tinybench/overall")
        assert item_scores(chosen, "0.05M", "0.15M").x_nI.sum() == 600 * share


def test_all_seeds_of_a_design_are_paid_for(studied):
    one, three = (prepare(Request(study="own", large="0.7M", seeds=seeds)) for seeds in ((0,), (0, 1, 2)))
    assert three.costs_n == pytest.approx(3 * one.costs_n)
    assert next_steps(three, 0.0).steps[0].cost == pytest.approx(next_steps(one, 0.0).steps[0].cost)  # one run


def test_trials_without_scores_are_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finish(failing="fps1-tpf1@0.15M")
    note = "1 trial has no scores, left out: fps1-tpf1@0.15M/s0 failed (diverged)"
    code, out, _ = ablate("consistency", "--study", "own", "--json")
    assert code == 0
    assert note in json.loads(out)["warnings"]
    assert note in prepare(Request(study="own", large="0.7M")).notes


def test_a_running_sweep_does_not_stop_a_promotion(studied):
    paths = study_paths("own")
    with sole_driver(paths):
        _, written = promoted(Request(study="own", large="0.7M"))
    assert written.record == paths.folder / "promotions" / "1.json"


def test_both_files_are_written_or_neither(studied):
    Path("file").write_text("")
    with pytest.raises(OSError, match="exists"):
        promoted(Request(study="own", large="0.7M"), Path("file/spec.yaml"))
    assert list((study_paths("own").folder / "promotions").iterdir()) == []


def test_a_device_is_not_replaced_by_a_spec(studied):
    os.mkfifo("pipe")
    code, out, err = ablate(*PROMOTE, "--output", "pipe")
    assert (code, out) == (2, "")
    assert "is a device or pipe; name a file" in err
    assert Path("pipe").is_fifo()


def test_designs_without_axes_are_candidates_too(studied):
    rows = [f"d{i},{scale},{50 + i}" for i in range(3) for scale in ("0.05M", "0.15M")]
    Path("t.csv").write_text("\n".join(["design,scale,score,benchmark", *(f"{row},tinybench" for row in rows)]))
    import_scores(Path("t.csv"), "own", lower_is_better=False, replace=False)
    prepared = prepare(Request(study="own", large="0.7M"))
    assert len(choose(prepared, Policy(rule="calibrate", value=4)).promoted) == 4
    assert any("not priced" in note for note in prepared.notes)


def test_losses_mirror_scores_and_say_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answers = []
    for study, sign in (("up", 1), ("down", -1)):
        rows = [
            f"d{i},{s},{sign * (20 + 2 * (i * 5 % 7) + k)}" for i in range(7) for k, s in enumerate(("0.5B", "1.5B"))
        ]
        Path("t.csv").write_text("\n".join(["design,scale,score", *rows]))
        import_scores(Path("t.csv"), study, lower_is_better=sign < 0, replace=False)
        code, out, _ = ablate("promote", "--study", study, "--to", "7B", "--json")
        assert code == 0
        answers.append(json.loads(out))
    up, down = answers
    assert (up["lower_is_better"], down["lower_is_better"]) == (False, True)
    for same in ("promoted", "expected_regret", "chance", "curve", "notes"):
        assert up[same] == down[same]
    for gain, loss in zip(up["candidates"], down["candidates"], strict=True):
        assert loss == gain | {"predicted": pytest.approx(-gain["predicted"])}
    assert "down/overall (lower is better), 7 designs" in ablate("promote", "--study", "down", "--to", "7B")[1]


def test_an_impossible_score_is_refused(studied):
    Path("t.csv").write_text("design,scale,score\nd,1B,1e300\n")
    code, _, err = ablate("import", "t.csv", "--study", "far")
    assert code == 2
    assert "t.csv:2: score 1e300 is too large" in err


def test_blind_predictions_are_labelled(studied):
    code, out, _ = ablate("promote", "--study", "own", "--to", "0.15M", "--blind", "--top-k", "1", "--json")
    assert code == 0
    assert json.loads(Path(json.loads(out)["record"]).read_text())["is_blind"]
    assert "ignoring the scores at 0.15M, observed at 0.15M" in ablate("consistency", "--study", "own")[1]


def test_large_ratios_of_scales_are_noted(studied):
    assert any("7B is 46,667 times 0.15M" in note for note in prepare(Request(study="own", large="7B")).notes)
