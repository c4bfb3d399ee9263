"""The file that users copy: pure Python 3.8, and what it writes is what the contract wants."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from ablate.record import Result
from ablate.run.program import ProgressFile, outcome, program_schema, reporter, stated_failure
from ablate.run.start import Start
from tests.ablate.run.program.programs import job, program

SOURCE = Path(reporter.__file__)
SCRIPT = """
import math, sys
sys.path.insert(0, {folder!r})
import reporter
reporter.report(phase="preparing")
reporter.report(step=1, steps=2, loss=2.5, learning_rate=1e-4, nothing=None)
reporter.report(step=2, steps=2, loss=math.nan)
reporter.finish({{"mine/overall": 61, "other": 3.5}}, counts={{"samples": 10}})
"""


def run(code, **env):
    """Run code with a Python that finds no ablate and no installed package."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "ABLATE_OUT", "RANK")}
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, env=clean | env, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path):
    (tmp_path / "code").mkdir()
    return str(shutil.copy(SOURCE, tmp_path / "code"))


def test_it_is_python_3_8_and_imports_only_the_standard_library():
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "json", "os", "sys", "tempfile", "typing"}
    ruff = [
        Path(sys.executable).with_name("ruff"),
        "check",
        "-q",
        "--isolated",
        "--select=E9,F",
        "--target-version=py38",
        SOURCE,
    ]
    subprocess.run(ruff, check=True)


def test_what_it_writes_is_read_back(attempt, copied, tmp_path):
    done = run(SCRIPT.format(folder=str(Path(copied).parent)), ABLATE_OUT=str(attempt.out))
    assert (done.returncode, done.stderr) == (0, "")
    file = ProgressFile(attempt)
    assert [(progress.phase, progress.step, progress.loss) for progress in file.new()] == [
        ("preparing", 0, None),
        ("training", 1, 2.5),
        ("training", 2, 2.5),
    ]
    assert file.garbage == 0
    result = outcome(job(tmp_path / "trial", program(workdir=tmp_path)), attempt, Start())
    assert isinstance(result, Result)
    assert [(score.benchmark, score.category, score.score) for score in result.scores] == [
        ("mine", "overall", 61.0),
        ("other", "overall", 3.5),
    ]
    assert result.counts == {"samples": 10}
    assert sorted(path.name for path in attempt.out.iterdir()) == ["progress.jsonl", "result.json"]


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "NODE_RANK"])
def test_other_processes_write_nothing_but_failures(attempt, copied, variable):
    folder = str(Path(copied).parent)
    done = run(SCRIPT.format(folder=folder), ABLATE_OUT=str(attempt.out), **{variable: "1"})
    assert done.returncode == 0
    assert list(attempt.out.iterdir()) == []
    code = f"import sys; sys.path.insert(0, {folder!r}); import reporter; reporter.fail('oom', 'rank 1'); "
    run(code + "reporter.fail('code', 'a consequence')", ABLATE_OUT=str(attempt.out), **{variable: "1"})
    assert json.loads((attempt.out / "failure.json").read_text()) == {"class": "oom", "message": "rank 1"}


def test_a_stated_failure_is_read_back(attempt, tmp_path):
    reporter.fail("diverged", "loss is NaN", out=str(attempt.out))
    failure = stated_failure(job(tmp_path / "trial", program(workdir=tmp_path)), attempt, Start())
    assert (failure.kind, failure.message) == ("diverged", "loss is NaN")


def test_without_a_folder_it_says_so_once_and_the_program_goes_on(copied):
    done = run(SCRIPT.format(folder=str(Path(copied).parent)))
    assert done.returncode == 0
    assert done.stderr == "reporter.py: neither `out` nor ABLATE_OUT is set; nothing is reported\n"


def test_the_config_is_that_of_the_trial(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text('{"model": {"lr": 1e-5}, "seed": 3}')
    monkeypatch.setenv("ABLATE_CONFIG", str(tmp_path / "config.json"))
    assert reporter.config() == {"model": {"lr": 1e-5}, "seed": 3}


def test_the_json_schema_accepts_what_it_writes_and_refuses_what_is_malformed(tmp_path):
    reporter.report(step=1, steps=2, loss=2.5, lr=0.1, out=str(tmp_path))
    reporter.finish([{"benchmark": "mine", "modality": "frame", "score": 1}], out=str(tmp_path))
    reporter.fail("oom", "x", out=str(tmp_path))
    schema = program_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, model in {
        "progress.jsonl": "ProgressLine",
        "result.json": "ResultFile",
        "failure.json": "FailureFile",
    }.items():
        validator = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{model}", "$defs": schema["$defs"]})
        validator.validate(json.loads((tmp_path / name).read_text()))
        assert not validator.is_valid({"scores": [{"benchmark": "mine"}], "class": "bad", "step": "ten"})
