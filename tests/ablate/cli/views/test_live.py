"""The live view counts right, says what is waited for, and estimates the time that is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from ablate.cli.views.live import View, draw
from ablate.cli.views.out import clock_time
from ablate.run import Board, Job, Progress


def job(key: str, scale: str = "0.15M") -> Job:
    return Job(key=key, label=f"{key}@{scale}/s0", config={"scale": scale}, folder="", cache="", cpus=1, gpus=0)


@pytest.fixture
def board():
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    return Board([job("a"), job("b"), job("c", "0.7M"), job("d")], clock), clock


def text(board: Board) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(draw(board, "sampling"))
    return console.file.getvalue()


def test_counts_progress_and_what_is_waited_for(board):
    board, clock = board
    for key in "ab":
        board.started(job(key))
    board.progressed(
        job("a"), Progress(phase="training", detail="align", step=50, steps=100, loss=1.25, samples_per_s=321)
    )
    clock.now = 65
    shown = text(board)
    assert "0 done / 2 running / 2 waiting / 0 failed" in shown
    assert "1:05 elapsed" in shown
    assert any(line.startswith("running ") and "samples/s" in line for line in shown.splitlines())
    for cell in ("a@0.15M/s0", "training: align", "50/100", "1.250", "321", "preparing"):
        assert cell in shown
    assert "next: c@0.7M/s0 waits for 1 CPU; running trials use 2 CPU" in shown


def test_the_time_left_comes_from_what_is_known(board):
    board, clock = board
    assert board.seconds_left() is None
    board.started(job("a"))
    clock.now = 10
    board.finished(job("a"))
    board.started(job("b"))
    assert board.seconds_left() == pytest.approx(30)  # b, d as long as a; c unknown, so as long as the others
    board.started(job("c", "0.7M"))
    clock.now = 30
    half = Progress(phase="training", step=50, steps=100)
    board.progressed(job("c", "0.7M"), half)
    assert 0 < board.seconds_left() < 40


def test_a_failure_is_tried_again_then_counted(board):
    board, _ = board
    board.started(job("a"))
    board.attempt_failed(job("a"), "boom", retried=True)
    assert job("a") in board.waiting
    board.started(job("a"))
    board.attempt_failed(job("a"), "boom", retried=False)
    assert "1 failed" in text(board)


def test_without_a_terminal_each_event_is_a_plain_line(board):
    board, clock = board
    console = Console(file=io.StringIO(), width=40)
    with View(board, "sampling", console) as view:
        view.started(job("a"))
        view.progressed(job("a"), Progress(phase="training", step=1, steps=2))
        view.progressed(job("a"), Progress(phase="training", step=2, steps=2))
        clock.now = 61
        view.finished(job("a"), "tinybench/overall 61.5")
        view.started(job("b"))
        view.attempt_failed(job("b"), "no such file", retried=True)
    assert console.file.getvalue().splitlines() == [
        "[0/4] a@0.15M/s0 started",
        "[0/4] a@0.15M/s0 training",
        "[1/4] a@0.15M/s0 done in 1:01: tinybench/overall 61.5, about 3:03 left",
        "[1/4] b@0.15M/s0 started",
        "[1/4] b@0.15M/s0 failed: no such file; retrying once",
    ]


def test_clock_time():
    assert [clock_time(s) for s in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]
