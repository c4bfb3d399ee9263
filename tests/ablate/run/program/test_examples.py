"""docs/trainers.md: its examples run as they stand there, its specs are valid, its tables are complete."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ablate.paths import StudyPaths, study_paths
from ablate.plan import make_plan
from ablate.record import AttemptFolder, facts
from ablate.run import job_of
from ablate.run.program import STATED_CLASSES, Context, command_line, reporter
from ablate.spec import PLACEHOLDERS, load_spec
from tests.ablate.cli.test_app import ablate
from tests.ablate.run.program.programs import EXAMPLES

PAGE = (EXAMPLES.parent / "trainers.md").read_text(encoding="utf-8")
SPECS = sorted(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_the_page_shows_each_file_as_it_is(path):
    if path.is_file():
        assert f"```{ {'.py': 'python', '.yaml': 'yaml', '.sh': 'bash'}[path.suffix] }\n{path.read_text()}```" in PAGE


def test_the_page_names_every_placeholder_and_class():
    assert {name for name in PLACEHOLDERS if f"`{{{name}}}`" not in PAGE} == set()
    assert {name for name in STATED_CLASSES if f"`{name}`" not in PAGE} == set()


def test_a_program_that_knows_nothing_of_ablate_is_short_and_imports_nothing_of_it():
    text = (EXAMPLES / "train_torch.py").read_text()
    assert text.count("\n") <= 60
    assert "reporter" not in text
    assert "ABLATE" not in text


@pytest.fixture
def folder(tmp_path):
    """The examples with the reporter beside them, as a user has them."""
    shutil.copytree(EXAMPLES, tmp_path / "work", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(reporter.__file__, tmp_path / "work")
    for path in (tmp_path / "work").glob("*.yaml"):
        path.write_text(re.sub(r"\bpython\b", sys.executable, path.read_text()))
    return tmp_path / "work"


@pytest.mark.parametrize("name", [path.name for path in SPECS])
def test_specs_are_valid_and_their_commands_are_complete(folder, tmp_path, name):
    plan = make_plan(load_spec(folder / name))
    assert len(plan.planned) >= 4
    job = job_of(plan, plan.planned[0])
    attempt = AttemptFolder(tmp_path / "trial" / "attempts" / "0")
    line = command_line(job.program, Context(attempt=attempt, gpus=job.gpus, nodes=job.nodes))
    assert not [argument for argument in line if re.search(r"\{[a-z_]+\}", argument)]
    assert "" not in line
    assert any(str(attempt.out) in argument for argument in line)


def test_commands_of_the_described_trainers(folder, tmp_path):
    def line(name):
        job = job_of(plan := make_plan(load_spec(folder / name)), plan.planned[0])
        return command_line(job.program, Context(attempt=AttemptFolder(tmp_path / "0"), gpus=8, master_port=29500))

    out = str(tmp_path / "0" / "out")
    llava = line("llava_next.yaml")
    assert llava[:5] == ["bash", "train_and_score.sh", out, "8", "29500"]
    assert llava[llava.index("--bf16") + 1] == "true"
    assert llava[llava.index("--frames_upbound") + 1] == "16"
    assert llava[-2:] == ["--seed", "0"]
    engine = line("lmms_engine.yaml")
    assert "dataset_config.video_max_frames=32" in engine
    assert "model_config.load_from_pretrained_path=llava-hf/llava-onevision-qwen2-0.5b-ov-hf" in engine
    assert engine[-1] == f"trainer_args.output_dir={out}"
    assert "freeze_vision_tower=true" in line("llama_factory.yaml")
    swift = line("ms_swift.yaml")
    assert swift[:4] == ["env", "NPROC_PER_NODE=8", "swift", "sft"]
    assert json.loads(swift[swift.index("--model_kwargs") + 1]) == {"fps_max_frames": 12}
    assert swift[swift.index("--dataset") + 1] == "/data/train.jsonl"


def records(study: str) -> list[Path]:
    paths: StudyPaths = study_paths(study)
    return sorted(paths.trials.glob("*/attempts/*"))


@pytest.mark.slow
def test_the_program_in_plain_pytorch(folder):
    done = json.loads(ablate("trial", folder / "torch.yaml", "frames8@0.1M/s0", "--json").stdout)
    assert done["scores"][0]["score"] > 90
    (attempt,) = records("frames")
    curve = [json.loads(line) for line in (attempt / "events.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == list(range(10, 201, 10))
    assert curve[-1]["loss"] < curve[0]["loss"]


@pytest.mark.slow
def test_the_program_in_plain_pytorch_resumes(folder, tmp_path):
    def train(out, steps, *resume):
        config = {"sampling": {"frames": 8}, "model": {"width": 16}, "lr": 0.01, "seed": 0, "steps": steps}
        (tmp_path / "config.json").write_text(json.dumps(config))
        out.mkdir()
        command = [sys.executable, folder / "train_torch.py", "--config", tmp_path / "config.json", "--out", out]
        subprocess.run([*command, *resume], check=True)
        return [json.loads(line)["step"] for line in (out / "progress.jsonl").read_text().splitlines()]

    assert train(tmp_path / "0", 20) == [10, 20]
    assert train(tmp_path / "1", 40, "--resume", tmp_path / "0") == [30, 40]


@pytest.mark.slow
def test_the_program_that_drives_the_trainer_of_transformers(folder):
    pytest.importorskip("accelerate")  # Trainer needs it; ablate does not
    done = json.loads(ablate("trial", folder / "transformers.yaml", "period2@0.1M", "--json").stdout)
    (score,) = done["scores"]
    assert (score["benchmark"], score["category"]) == ("patterns", "loss")
    assert 0 < score["score"] < 2.08  # of 8 equally likely tokens
    (attempt,) = records("patterns")
    curve = [json.loads(line) for line in (attempt / "events.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve if "loss" in point] == [5, 10, 15, 20]
    assert "learning_rate" in curve[0]
    assert any("eval_loss" in point for point in curve)
    assert facts(study_paths("patterns")).is_lower_better("patterns/loss")


def test_scores_of_lmms_eval(folder, tmp_path):
    results = {
        "videomme": {
            "alias": "videomme",
            "videomme_perception_score,none": 61.2,
            "videomme_perception_score_stderr,none": "N/A",
            "videomme_perception_score_stderr_clt,none": 1.1,
        },
        "mvbench": {"mvbench_accuracy,none": 50, "samples": 4000},
    }
    (tmp_path / "eval" / "model").mkdir(parents=True)
    (tmp_path / "eval" / "model" / "20261129_101010_results.json").write_text(json.dumps({"results": results}))
    command = [sys.executable, folder / "lmms_eval_scores.py", tmp_path / "eval", tmp_path / "out"]
    subprocess.run(command, check=True)
    scores = json.loads((tmp_path / "out" / "result.json").read_text())["scores"]
    assert scores == [
        {"benchmark": "videomme", "category": "videomme_perception_score", "score": 61.2},
        {"benchmark": "mvbench", "category": "mvbench_accuracy", "score": 50.0},
    ]
