"""The live view counts right, says what is waited for, and estimates the time that is left."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ablate.cli.views.live import View, draw
from ablate.cli.views.out import clock_time
from ablate.record import Failure, FailureClass
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


def failure(kind: FailureClass, message: str) -> Failure:
    return Failure(attempt=0, kind=kind, message=message, traceback="", seconds=1, ended_at=2, node="n1")


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
    board.attempt_failed(job("a"), retried=True)
    assert "0 running / 4 waiting / 0 failed" in text(board)
    board.started(job("a"))
    board.attempt_failed(job("a"), retried=False)
    assert "0 running / 3 waiting / 1 failed" in text(board)


def test_a_retried_trial_waits_behind_the_others(board):
    board, _ = board
    for key in ("a", "b", "d"):
        board.started(job(key))
    board.attempt_failed(job("a"), retried=True)
    assert "next: c@0.7M/s0 waits" in board.waits_for()
    board.started(job("c", "0.7M"))
    assert "next: a@0.15M/s0 waits for 1 CPU; running trials use 3 CPU" in board.waits_for()


def test_what_is_waited_for_names_nodes_and_max_running():
    large = Job(key="l", label="l@7B/s0", config={"scale": "7B"}, folder="", cache="", cpus=4, gpus=8, nodes=2)
    board = Board([job("a"), large], max_running=1)
    board.started(job("a"))
    assert board.waits_for() == "next: l@7B/s0 waits for one of 1 running trials to end (--max-running)"
    board.finished(job("a"))
    assert board.waits_for() == "next: l@7B/s0 waits for a worker to start (8 CPU + 16 GPU on 2 nodes)"
    board.stop()
    assert board.waits_for() == "no more trials start; 0 go on"


@given(st.data())
def test_counts_stay_right_whatever_happens(data):
    """Each trial is waiting, running, done or failed, and the time left is not negative."""
    jobs = {key: job(key, scale) for key, scale in zip("abcdef", ["0.15M", "0.7M"] * 3, strict=True)}
    clock = iter(range(1000))
    board = Board(list(jobs.values()), lambda: next(clock))
    open_keys = set(jobs)
    for _ in range(data.draw(st.integers(0, 30))):
        if not open_keys:
            break
        key = data.draw(st.sampled_from(sorted(open_keys)))
        match data.draw(st.sampled_from(["start", "progress", "finish", "retry", "fail"])):
            case "start":
                board.started(jobs[key])
            case "progress":
                board.progressed(jobs[key], Progress(phase="training", step=1, steps=4))
            case "finish":
                board.finished(jobs[key])
                open_keys.remove(key)
            case "retry":
                board.attempt_failed(jobs[key], retried=True)
            case "fail":
                board.attempt_failed(jobs[key], retried=False)
                open_keys.remove(key)
        assert board.num_waiting + len(board.running) + board.num_done + board.num_failed == len(jobs)
        assert (board.seconds_left() or 0) >= 0
        assert 0 <= board.ended() <= len(jobs)


def test_drawing_does_not_walk_all_jobs():
    """Ten thousand jobs draw as quickly as ten: four times a second, beside the sweep."""

    def calls(count: int) -> int:
        board, lines = Board([job(f"j{n}") for n in range(count)]), 0

        def trace(_frame, event, _argument):
            nonlocal lines
            lines += event == "call"

        board.started(job("j0"))
        text(board)
        sys.setprofile(trace)
        try:
            text(board)
        finally:
            sys.setprofile(None)
        return lines

    # the least of several: garbage may be collected, and rich redraws when a second passes
    assert min(calls(10_000) for _ in range(3)) == min(calls(10) for _ in range(3))


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
        view.attempt_failed(job("b"), failure("killed", "signal 9"), retried=True)
        view.started(job("b"))
        view.progressed(job("b"), Progress(phase="training", step=1, steps=2))
        view.attempt_failed(job("b"), failure("code", "exit code 3"), retried=False)
        view.note("node n2 is left out")
        view.stopped("no more trials are started")
    assert console.file.getvalue().splitlines() == [
        "[0/4] a@0.15M/s0 started",
        "[0/4] a@0.15M/s0 training",
        "[1/4] a@0.15M/s0 done in 1:01: tinybench/overall 61.5, about 3:03 left",
        "[1/4] b@0.15M/s0 started",
        "[1/4] b@0.15M/s0 failed (killed on n1): signal 9; it is retried",
        "[1/4] b@0.15M/s0 started",
        "[1/4] b@0.15M/s0 training",
        "[1/4] b@0.15M/s0 failed (code on n1): exit code 3; not retried",
        "note: node n2 is left out",
        "no more trials are started",
    ]


def test_clock_time():
    assert [clock_time(s) for s in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]
