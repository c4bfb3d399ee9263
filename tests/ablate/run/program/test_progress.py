"""progress.jsonl as programs write it, also badly."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.run.job import Progress
from ablate.run.program import ProgressFile
from ablate.run.program.progress import POINTS, READ_BYTES
from tests.ablate.run.program import programs


@pytest.fixture
def file(attempt):
    return ProgressFile(attempt)


def write(file, *lines, mode="a", end="\n"):
    with file.path.open(mode, encoding="utf-8") as stream:
        stream.write("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + end)


def log(attempt):
    return attempt.log.read_text() if attempt.log.exists() else ""


def test_nothing_before_the_file_exists(file):
    assert file.new() == []
    file.path.mkdir()  # a program that makes a folder of that name, or a pipe
    assert file.new() == []
    file.path.rmdir()
    os.mkfifo(file.path)
    assert file.new() == []


def test_each_line_is_progress_and_a_point_of_the_curve(file, attempt):
    write(file, {"step": 10, "steps": 100, "loss": 2.3, "grad_norm": 0.5}, {"step": 20, "loss": 2, "samples_per_s": 4})
    assert file.new() == [
        Progress(phase="training", step=10, steps=100, loss=2.3),
        Progress(phase="training", step=20, steps=100, loss=2.0, samples_per_s=4.0),
    ]
    assert file.new() == []
    first, second = attempt.events()
    assert {name: first[name] for name in ("step", "loss", "grad_norm")} == {"step": 10, "loss": 2.3, "grad_norm": 0.5}
    assert second["samples_per_s"] == 4
    assert second["time"] > 0


def test_phases(file):
    write(file, {"phase": "preparing"}, {"step": 1}, {"phase": "testing"}, {"accuracy": 0.5})
    assert [progress.phase for progress in file.new()] == ["preparing", "training", "testing", "testing"]


def test_an_incomplete_last_line_waits_for_its_end(file):
    write(file, '{"step": 1, "lo', end="")
    assert file.new() == []
    write(file, 'ss": 2.5}', end="")
    assert file.new() == []
    assert file.new(has_ended=True) == [Progress(phase="training", step=1, loss=2.5)]
    assert file.garbage == 0


def test_garbage_is_counted_and_named_once(file, attempt):
    garbage = (
        *("Epoch 1/3: 100%|####|", '{"step": 1,', "[1, 2]", '{"step": "ten"}', '{"step": -1}', '{"step": true}'),
        *('{"step": 2, "loss": "low"}', '{"step": 3, "note": "text"}', '{"phase": "warmup"}', "\x00\x01", "12"),
        *("[" * 100_000, '{"step": 1, "loss": 1' + "0" * 400 + "}", '{"step": 1' + "0" * 5000 + "}"),
    )
    write(file, {"step": 1}, "", *garbage, {"step": 9, "grad_norm": None})
    assert [progress.step for progress in file.new()] == [1, 9]
    assert file.garbage == len(garbage)
    assert file.lines == 2
    assert file.first_garbage.startswith("line 3: not JSON (")
    assert "Epoch 1/3" in file.first_garbage
    assert log(attempt).count("\n") == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"step": "ten"}, "step: Input should be a valid integer, not 'ten'"),
        ({"step": 1, "lr": "high"}, "lr: Input should be a valid number, not 'high'"),
        ({"phase": "warmup"}, "phase: Input should be 'preparing', 'training' or 'testing', not 'warmup'"),
    ],
)
def test_garbage_is_explained(file, line, problem):
    write(file, line)
    assert file.new() == []
    assert file.first_garbage == f"line 1: {problem}"


def test_nan_is_left_out_and_named_once(file, attempt):
    write(file, '{"step": 1, "loss": NaN, "lr": 0.1}', '{"step": 2, "loss": Infinity}')
    assert [progress.loss for progress in file.new()] == [None, None]
    assert [(event["step"], event.get("loss"), event.get("lr")) for event in attempt.events()] == [(1, None, 0.1)]
    assert log(attempt).count("loss is nan at step 1") == 1
    assert log(attempt).count("\n") == 1


def test_bytes_that_are_no_text(file):
    file.path.write_bytes(b'\xff\xfe{"step": 1}\n{"step": 2}\n')
    assert [progress.step for progress in file.new()] == [2]


@pytest.mark.parametrize("replace", [False, True])
def test_a_file_that_starts_again_is_read_again(file, attempt, tmp_path, replace):
    write(file, {"step": 1}, {"step": 2}, {"step": 3})
    file.new()
    if replace:
        (tmp_path / "new.jsonl").write_text('{"step": 1, "loss": 1.5, "a_longer_line_than_before": 1.0}\n' * 2)
        os.replace(tmp_path / "new.jsonl", file.path)
        assert [progress.step for progress in file.new()] == [1, 1]
    else:
        write(file, {"step": 1}, mode="w")
        assert [progress.step for progress in file.new()] == [1]
    assert "became shorter or was replaced" in log(attempt)


def test_a_huge_file_is_read_in_blocks(file):
    line = json.dumps({"step": 7, "steps": 9, "loss": 1.0, "padding": 0}) + " " * 9000 + "\n"
    number = 2 * READ_BYTES // len(line) + 10
    with file.path.open("w") as stream:
        stream.writelines(line for _ in range(number))
        stream.write('{"step": 8}')
    assert len(file.new()) < number / 2 + 1
    assert file.new(has_ended=True) == [Progress(phase="training", step=8, steps=9, loss=1.0)]
    assert file.lines == number + 1


def test_a_line_without_end_is_garbage(file):
    with file.path.open("w") as stream:
        stream.write("x" * (READ_BYTES + 10) + "\n")
    write(file, {"step": 1})
    assert file.new() == []
    assert [progress.step for progress in file.new()] == [1]
    assert file.garbage >= 1


@pytest.mark.parametrize("steps", [30_000, None])
def test_a_curve_of_many_steps_is_thinned_but_keeps_rare_metrics_and_the_end(file, attempt, steps):
    with file.path.open("w") as stream:
        for step in range(1, 30_001):
            line = {"step": step, "loss": 1.0} | ({"steps": steps} if steps else {})
            stream.write(json.dumps(line | ({"eval_loss": 2.0} if step % 3_000 == 0 else {})) + "\n")
    file.new(has_ended=True)
    losses = [event["step"] for event in attempt.events() if "loss" in event]
    assert POINTS / 2 < len(losses) <= 8 * POINTS
    assert sum("eval_loss" in event for event in attempt.events()) == 10
    assert file.lines == 30_000
    if steps:
        assert losses[-1] == steps


@pytest.mark.parametrize("steps", [1, 5000])
def test_however_often_the_last_step_is_reported_the_curve_stays_short(file, attempt, steps):
    write(file, *({"step": max(1, step - steps), "steps": steps, "loss": 1.0} for step in range(20_000)))
    file.new(has_ended=True)
    assert len(attempt.events()) <= 8 * POINTS


def test_a_file_that_is_written_anew_each_time_is_logged_once(file, attempt):
    for step in range(20):
        write(file, {"step": step} if step % 2 else {}, mode="w")
        file.new()
    assert log(attempt).count("became shorter or was replaced") == 1


@given(st.lists(st.integers(0, 400), max_size=8), st.integers(1, 20))
def test_however_the_file_grows_each_line_counts_once(tmp_path_factory, cuts, number):
    attempt = programs.attempt(tmp_path_factory.mktemp("trial"))
    file = ProgressFile(attempt)
    text = "".join(json.dumps({"step": step, "loss": step / 2}) + "\n" for step in range(1, number + 1)).encode()
    steps = []
    for end in [*sorted(min(cut, len(text)) for cut in cuts), len(text)]:
        Path(file.path).write_bytes(b"") if not file.path.exists() else None
        with file.path.open("r+b") as stream:
            size = stream.seek(0, 2)
            stream.write(text[size:end])
        steps += [progress.step for progress in file.new()]
    assert steps == list(range(1, number + 1))
    assert [event["loss"] for event in attempt.events()] == [step / 2 for step in steps]
    assert not math.isnan(sum(event["time"] for event in attempt.events()))
