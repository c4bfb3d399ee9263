"""One driver per study: leases of processes that run, have ended, or belong to other machines."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ablate.record.driver as module
from ablate.errors import AblateError
from ablate.paths import StudyPaths
from ablate.record import latest_driver, latest_end, sole_driver

HOLD = """
import sys, time
from pathlib import Path
import ablate.record.driver as module
from ablate.paths import StudyPaths
module.LEASE_S, module.RENEW_S = 2.0, 0.2
with module.sole_driver(StudyPaths(name="s", root=Path(sys.argv[1]))) as claim:
    claim.begin()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyPaths:
    """A study whose leases last 2 s."""
    monkeypatch.setattr(module, "LEASE_S", 2.0)
    monkeypatch.setattr(module, "RENEW_S", 0.2)
    return StudyPaths(name="s", root=tmp_path)


@contextmanager
def driver_process(paths: StudyPaths) -> Iterator[subprocess.Popen[str]]:
    """Another process that is the study's driver."""
    command = [sys.executable, "-c", HOLD, str(paths.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def forge(paths: StudyPaths, silent_s: float) -> None:
    """The lease of a driver on another machine, which was last renewed `silent_s` seconds ago."""
    paths.folder.mkdir(parents=True, exist_ok=True)
    paths.lock.write_text("filelock/2\npid=4242\nhost=node17\nmode=lease\ntoken=abc\nduration=2.0\nstart=1\n")
    os.utime(paths.lock, (time.time() - silent_s,) * 2)
    paths.driver.write_text(
        '{"host": "node17", "pid": 4242, "user": "ada", "started_at": 1795910000.0, "command": "ablate sweep a.yaml"}'
    )


def refusal(paths: StudyPaths, *, take_over: bool = False) -> str:
    with pytest.raises(AblateError) as error, sole_driver(paths, take_over=take_over):
        pass
    return str(error.value)


def test_a_second_driver_learns_who_has_the_study_and_what_to_type(paths: StudyPaths):
    with driver_process(paths) as first:
        assert latest_driver(paths)[1]
        for take_over in (False, True):  # also --take-over leaves a driver that runs alone
            message = refusal(paths, take_over=take_over)
            assert f"study 's' belongs to process {first.pid} of" in message
            assert f"on {socket.gethostname()}, started 20" in message
            assert "last sign of life was 0 s ago" in message
            assert f"`ablate attach s`, or end it with `kill {first.pid}`" in message
            assert "--take-over" not in message


def test_the_driver_that_was_killed_is_replaced_silently(paths: StudyPaths):
    with driver_process(paths) as first:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert paths.lock.exists()
    driver, is_running = latest_driver(paths)
    assert driver is not None
    assert (driver.pid, is_running) == (first.pid, False)
    with sole_driver(paths) as claim:
        claim.begin()
        assert latest_driver(paths) == (claim.driver, True)
    assert not paths.lock.exists()


def test_a_driver_of_another_machine_is_left_alone_while_it_renews_its_lease(paths: StudyPaths):
    forge(paths, silent_s=1)
    assert latest_driver(paths)[1]
    for take_over in (False, True):
        message = refusal(paths, take_over=take_over)
        assert "process 4242 of ada on node17" in message
        assert "`ablate sweep a.yaml`" in message
        assert "`kill 4242` on node17" in message
        assert "--take-over" not in message


def test_an_expired_lease_of_another_machine_is_taken_over_only_on_request(paths: StudyPaths):
    forge(paths, silent_s=600)
    assert not latest_driver(paths)[1]
    message = refusal(paths)
    assert "last sign of life was 10 min ago" in message
    assert "`ablate sweep SPEC --take-over`" in message
    began = time.monotonic()
    with sole_driver(paths, take_over=True):
        assert time.monotonic() - began >= module.LEASE_S  # it has watched that nobody renews the lease
        assert str(os.getpid()) in paths.lock.read_text()


def test_a_lease_that_is_renewed_while_it_is_watched_is_not_taken_over(paths: StudyPaths):
    """The machines' clocks differ: the lease looks expired, but its driver lives."""
    forge(paths, silent_s=600)
    code = "import os, sys, time; time.sleep(0.7); os.utime(sys.argv[1], (1, 1))"  # a clock that is decades late
    with subprocess.Popen([sys.executable, "-c", code, str(paths.lock)]):
        refusal(paths, take_over=True)
    assert "node17" in paths.lock.read_text()


def test_a_driver_that_was_replaced_notices_and_records_nothing_more(paths: StudyPaths):
    losses: list[float] = []
    with sole_driver(paths, on_lost=lambda: losses.append(time.monotonic())) as claim:
        assert not claim.is_lost
        paths.lock.unlink()
        forge(paths, silent_s=0)
        until = time.monotonic() + 10
        while not claim.is_lost and time.monotonic() < until:
            time.sleep(0.05)
        assert claim.is_lost
        assert len(losses) == 1
        claim.end(0)
    assert latest_end(paths) is None
    assert "node17" in paths.lock.read_text()  # the successor's lease stays


def test_a_sync_is_named_as_such(paths: StudyPaths):
    with sole_driver(paths):
        assert f"belongs to process {os.getpid()} on" in refusal(paths)
        assert "an `ablate sync`, an `ablate import`, or a sweep that starts" in refusal(paths)


def test_the_end_of_a_driver_is_recorded(paths: StudyPaths):
    with sole_driver(paths) as claim:
        claim.begin(log_start=7)
        claim.end(130)
    end = latest_end(paths)
    assert end is not None
    assert (end.exit_code, end.driver) == (130, claim.driver)
    assert end.driver.log_start == 7


def test_passwords_are_not_recorded(paths: StudyPaths, monkeypatch: pytest.MonkeyPatch):
    uri = "http://me:secret@host:5000"
    monkeypatch.setattr(sys, "argv", ["/bin/ablate", "sweep", "a.yaml", "--tracking-uri", uri, "--detached=4"])
    with sole_driver(paths) as claim:
        claim.begin()
    driver, _ = latest_driver(paths)
    assert driver is not None
    assert driver.command == "ablate sweep a.yaml --tracking-uri http://***@host:5000 --detach"
