"""Kept models of real trials: scored again, asked, exported; and refused where they are not what was kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from ablate.cli.app import app
from ablate.errors import AblateError, UsageError
from ablate.paths import StudyPaths, study_paths
from ablate.record import Record, RecordError, folder_of, scan, trials_of_records, verify
from ablate.record import Result as TrialResult
from ablate.run import EvaluationRequest, about, evaluate_kept, export_kept, job_of, run_single, weights_of
from ablate.run.worker import run_trial
from ablate.study import find_record
from models.architecture import VideoLMM
from tests.ablate.run.worker.studies import Study

ENCODER = "tiny/image-encoder@2"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a study of two trials: the first keeps its weights."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ABLATE_RUNS", str(folder / "runs"))
        patch.setenv("ABLATE_CACHE", str(folder / "cache"))
        plan = Study(folder).plan(ENCODER)
        for planned, keep in zip(plan.planned, ("weights", "none"), strict=True):
            spec = plan.spec.model_copy(update={"keep": keep})
            for name in ("_source", "_base", "_trial_samples", "_stated", "_scale_sets", "_user_trainer"):
                setattr(spec, name, getattr(plan.spec, name))
            assert run_single(replace(plan, spec=spec), planned, None, lambda _: None, lambda _: None).exit_code == 0
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyPaths:
    """A copy of the study that a test may damage."""
    shutil.copytree(finished / "runs", tmp_path / "runs")
    shutil.copytree(finished / "data", tmp_path / "other")
    monkeypatch.setenv("ABLATE_RUNS", str(tmp_path / "runs"))
    return study_paths("s")


def trial(study: StudyPaths, seed: int = 0) -> Record:
    return next(record for record in scan(study) if record.about.seed == seed)


def call(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def printed(*arguments: object) -> dict:
    return json.loads(call(*arguments, "--json").stdout)


def test_the_same_questions_get_the_same_scores(study: StudyPaths, tmp_path: Path):
    record = trial(study)
    before = (record.path / "result.json").read_bytes()
    shown = printed("evaluate", f"s/{record.about.label}", "--data", tmp_path / "other")
    assert record.result
    expected = {(s.benchmark.replace("b", "other", 1), s.category, s.modality): s.score for s in record.result.scores}
    assert {(s["benchmark"], s["category"], s["modality"]): s["score"] for s in shown["scores"]} == expected
    assert (record.path / "result.json").read_bytes() == before
    assert verify(study).damaged == ()
    scores = next(one for one in trials_of_records([trial(study)]))
    assert {"b", "b_prob", "other", "other_prob"} == {score.benchmark for score in scores.scores}


def test_a_benchmark_needs_no_training_data_and_may_have_other_questions(study: StudyPaths, tmp_path: Path):
    (tmp_path / "other" / "train.json").unlink()
    asked = {"question": "what is it", "options": ["red", "blue", "green"], "answer": 2, "category": "thing"}
    (tmp_path / "other" / "test.json").write_text(json.dumps([{"image": "1.png", "questions": [asked] * 2}]))
    request = EvaluationRequest(folder=tmp_path / "other", benchmark="things")
    evaluation, path = evaluate_kept(trial(study), request, lambda _: None)
    assert {score.category for score in evaluation.scores} == {"overall", "thing"}
    assert path == trial(study).path / "evaluations" / "things.json"


def test_one_name_of_a_study_is_one_benchmark(study: StudyPaths, tmp_path: Path):
    request = EvaluationRequest(folder=tmp_path / "other", benchmark="new")
    evaluate_kept(trial(study), request, lambda _: None)
    evaluate_kept(trial(study), request, lambda _: None)  # again, with the same result
    test = tmp_path / "other" / "test.json"
    test.write_text(test.read_text().replace("what color", "which color"))
    with pytest.raises(UsageError, match="'new' is the name of other questions, or of another scoring.*--benchmark"):
        evaluate_kept(trial(study), request, lambda _: None)
    for name in ("b", "b_prob", "a name"):
        with pytest.raises(UsageError, match="give another, e.g. --benchmark b-new"):
            evaluate_kept(trial(study), replace(request, benchmark=name), lambda _: None)
    with pytest.raises(UsageError, match="there is no such folder; give one with a test.json"):
        evaluate_kept(trial(study), replace(request, folder=tmp_path / "no"), lambda _: None)
    (tmp_path / "other" / "test.json").unlink()
    with pytest.raises(UsageError, match="test.json"):
        evaluate_kept(trial(study), replace(request, benchmark="newer"), lambda _: None)


def test_a_model_answers_in_text_and_chooses_among_options(study: StudyPaths, tmp_path: Path):
    key, image = trial(study).about.key, tmp_path / "other" / "0.png"
    options = printed("ask", key[:6], image, "what color", "--option", "red", "--option", "blue")
    # the test question is the same: the probability of its right option is that of the trial
    assert trial(study).result
    stated = {(s.benchmark, s.category): s.score for s in trial(study).result.scores}
    assert options["probabilities"]["red"] == pytest.approx(stated["b_prob", "overall"] / 100, abs=1e-6)
    assert options["answer"] == max(options["probabilities"], key=options["probabilities"].get)
    text = call("ask", f"s/{key}", image, "what color")
    assert text.stdout.strip()
    cut = printed("ask", key, image, "what color", "--max-tokens", 1)
    assert cut["is_complete"] is False or cut["answer"] == ""


def test_an_exported_folder_answers_as_its_trial(study: StudyPaths, tmp_path: Path):
    key, image = trial(study).about.key, tmp_path / "i.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)).save(image)
    question = ("what color", "--option", "red", "--option", "blue")
    assert printed("export", key, tmp_path / "out")["bytes"] > 100_000
    assert printed("ask", tmp_path / "out", image, *question) == printed("ask", key, image, *question)
    model = VideoLMM.from_pretrained(tmp_path / "out")
    assert model.source
    assert model.source.config.model_dump(mode="json") == trial(study).about.resolved
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert (card["key"], card["seed"], card["data"]["benchmark"]) == (key, 0, "b")
    assert card["data"]["digest"] == trial(study).about.config["design.data.digest"]
    assert [part["name"] for part in card["parts"]] == ["tiny/llm-0.05M@2", ENCODER]
    assert all("licence" in part for part in card["parts"])
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "| b | overall | video |" in readme
    assert f"encoder `{ENCODER}`" in readme


def test_a_question_that_cannot_be_asked_is_refused(study: StudyPaths, tmp_path: Path):
    key, image = trial(study).about.key, tmp_path / "other" / "0.png"
    for arguments, message in (
        ((tmp_path / "no.mp4", "what"), "there is no file .*no.mp4"),
        ((image, "what", "--option", "red"), "give at least two options"),
        ((image, "what", "--option", "red", "--option", "red"), "two options are the same"),
        ((image, " "), "--question ' ' is empty"),
    ):
        with pytest.raises(UsageError, match=message):
            call("ask", key, *arguments)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(UsageError, match="broken.mp4"):
        call("ask", key, tmp_path / "broken.mp4", "what")


def test_weights_that_were_not_kept_are_refused_with_the_fix(study: StudyPaths, tmp_path: Path):
    for command in (("export", "s/M/s1", tmp_path / "out"), ("ask", "s/M/s1", tmp_path / "other" / "0.png", "what")):
        with pytest.raises(UsageError, match="not kept: write `keep: weights` into its spec, move .* away, and run"):
            call(*command)
    (trial(study, 1).path / "result.json").unlink()
    with pytest.raises(UsageError, match="is not finished, so it has no final weights"):
        weights_of(trial(study, 1))


def test_damaged_weights_are_noticed(study: StudyPaths, tmp_path: Path):
    path = weights_of(trial(study)) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert any("model.safetensors has changed since the trial finished" in one for one in verify(study).damaged)
    with pytest.raises(RecordError, match="model.safetensors has changed since the trial finished"):
        export_kept(trial(study), tmp_path / "out")
    path.unlink()
    with pytest.raises(AblateError, match="model.safetensors cannot be read"):
        export_kept(trial(study), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trial_is_found_by_label_and_key(study: StudyPaths):
    record = trial(study)
    for text in (f"s/{record.about.label}", f"s/{record.about.key}", record.about.key, record.about.key[:7], "s/M/s0"):
        assert find_record(text).about.key == record.about.key
    for text, message in (
        ("s/0.05M", "means several trials: s/"),
        ("s/nothing", "no trial 'nothing': give STUDY/LABEL, or the start of a key; the nearest are"),
        ("t/x", "no study 't'"),
        ("zz", "no trial 'zz'.*; the nearest are s/"),
        ("", "name a trial"),
    ):
        with pytest.raises(UsageError, match=message):
            find_record(text)


def test_an_attempt_that_comes_second_leaves_no_weights(finished: Path, tmp_path: Path):
    plan = Study(tmp_path).plan(ENCODER)
    planned = plan.planned[0]
    job = replace(job_of(plan, planned), keep="weights")
    folder = folder_of(plan.paths, job.key)
    folder.describe(about(plan, planned.trial))
    first, second = folder.begin(), folder.begin()
    for progress in run_trial(job, second):
        if progress.detail == "weights":
            ended = {"seconds": 1.0, "started_at": 1.0, "ended_at": 2.0, "environment": {}}
            folder.finish(TrialResult(key=job.key, attempt=first.number, scores=[], **ended))
    assert progress.phase == "done"
    assert (second.path / "log.txt").read_text().count(" kept ") == 1
    assert not second.weights.exists()
