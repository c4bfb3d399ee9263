"""Following the log of a sweep that runs elsewhere: every character arrives as it was written."""

from __future__ import annotations

import threading
import time

import pytest

import ablate.cli.views.driver as view
from ablate.paths import study_paths
from ablate.record import sole_driver


def test_a_character_whose_bytes_arrive_one_by_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(view, "POLL_S", 0.02)
    monkeypatch.setattr(view, "LAST_WORDS_S", 0.0)  # the driver is this process, which does not end
    paths, has_begun = study_paths("s"), threading.Event()

    def drive() -> None:
        with sole_driver(paths) as claim, paths.driver_log.open("wb", buffering=0) as log:
            claim.begin(log_start=0)
            has_begun.set()
            for byte in "caf\u00e9 \u2713\n".encode():
                log.write(bytes([byte]))
                time.sleep(0.1)
            claim.end(0)

    driver = threading.Thread(target=drive)
    driver.start()
    assert has_begun.wait(30)
    assert view.follow("s") == 0
    driver.join()
    assert capsys.readouterr().out == "caf\u00e9 \u2713\n"
