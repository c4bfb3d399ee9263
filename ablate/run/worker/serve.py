"""A process of ablate's own trainer: runs trials one after another, alone or as one of several. It imports torch once.

`python -m ablate.run.worker.serve JOBS PROGRESS BEAT_S`; the first two are numbers of open file descriptors. JOBS
gives a line for each attempt, `{"attempt": FOLDER, "env": {...}}`, whose folder has the job in config.json; the process
ends with the first failed attempt, and when there are no more lines. PROGRESS receives lines `{"alive": true}` each
BEAT_S seconds, `{"progress": {...}}`, and `{"ended": "done"}` or `{"ended": "failed"}`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablate.record import AttemptFolder
from ablate.run.job import Progress, job_from

_REPORT_S = 0.2
"""Seconds between two reports of progress in the same phase: small models take hundreds of steps a second."""


class _Reports:
    """Writes lines to the agent; used by two threads. A line is shorter than what a pipe takes at once."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._phase, self._next = "", 0.0

    def beat(self, interval_s: float) -> None:
        """Give signs of life until the process ends, or is stopped, or its interpreter is blocked."""
        while True:
            self._write({"alive": True})
            time.sleep(interval_s)

    def progress(self, progress: Progress) -> None:
        """Report progress, unless the phase is the same as a moment ago."""
        now = time.monotonic()
        if progress.phase != self._phase or now >= self._next:
            self._phase, self._next = progress.phase, now + _REPORT_S
            self._write({"progress": asdict(progress)})

    def ended(self, phase: str) -> None:
        """Report the end of an attempt."""
        self._phase = ""
        self._write({"ended": phase})

    def _write(self, message: dict[str, Any]) -> None:
        os.write(self._handle, (json.dumps(message) + "\n").encode())


def _write_output_to(stdout: Path | str, stderr: Path | str) -> None:
    """Let this process and its children write to other files, also what does not go through Python."""
    for stream, number, path in ((sys.stdout, 1, stdout), (sys.stderr, 2, stderr)):
        stream.flush()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(handle, number)
        os.close(handle)


def serve(jobs: int, progress: int, beat_s: float) -> None:
    """Run attempts until one fails, or there are no more.

    Args:
        jobs: file descriptor from which attempts are read.
        progress: file descriptor to which progress is written.
        beat_s: seconds between two signs of life.
    """
    for handle in (jobs, progress):
        os.set_inheritable(handle, False)
    reports = _Reports(progress)
    threading.Thread(target=reports.beat, args=(beat_s,), daemon=True).start()
    import torch  # noqa: F401 - takes seconds, once

    from ablate.run.worker.trial import run_trial

    with os.fdopen(jobs, encoding="utf-8") as lines:
        for line in lines:
            message = json.loads(line)
            os.environ.update(message["env"])
            attempt, number = AttemptFolder(Path(message["attempt"])), int(os.environ["RANK"])
            _write_output_to(attempt.stdout(number), attempt.stderr(number))
            job = job_from(json.loads((attempt.path / "config.json").read_text(encoding="utf-8"))["job"])
            for now in run_trial(job, attempt):
                if now.phase == "failed":  # what broke it may break the next trial: a lost CUDA context, for example
                    reports.ended(now.phase)
                    os._exit(0)  # not by the end of the process group, which may wait for others
                if now.phase != "done":
                    reports.progress(now)
            _write_output_to(os.devnull, os.devnull)
            reports.ended(now.phase)
    os._exit(0)  # torch's own end takes a second, and nothing is left to do


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
