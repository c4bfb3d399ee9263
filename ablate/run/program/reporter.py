"""Reports the progress and the result of a training program to ablate. Copy this file beside your program.

It needs Python 3.8 and nothing else: neither ablate nor any package. The files are written below the folder of the
argument `out` or, without it, of $ABLATE_OUT, which ablate sets. Without both, nothing is reported, so that the
program also runs by itself. Of several processes, only the first reports progress and scores, as RANK, LOCAL_RANK and
NODE_RANK determine; any of them may report a failure.

    import reporter
    config = reporter.config()
    reporter.report(step=10, steps=100, loss=2.3, learning_rate=1e-4)
    reporter.finish({"videomme/overall": 61.2})
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any, Dict, List, Optional, Set, Union

_notes: Set[str] = set()


def config() -> Any:
    """The config that ablate wrote for this trial: the nested design, and `scale`, `seed`, `samples`, `data`."""
    with open(os.environ["ABLATE_CONFIG"], encoding="utf-8") as file:
        return json.load(file)


def report(
    step: Optional[int] = None,
    steps: Optional[int] = None,
    loss: Any = None,
    phase: Optional[str] = None,
    out: Optional[str] = None,
    **metrics: Any,
) -> None:
    """Append a line to progress.jsonl.

    Args:
        step: training steps so far.
        steps: training steps of the whole trial.
        loss: a number, or a tensor with one element, as the other metrics.
        phase: "preparing", "training" or "testing".
        out: the folder, instead of $ABLATE_OUT.
        metrics: name -> number; None is left out.
    """
    folder = _folder(out)
    if folder is None or not _is_first():
        return
    line: Dict[str, Any] = {name: int(value) for name, value in (("step", step), ("steps", steps)) if value is not None}
    line.update({name: float(value) for name, value in (("loss", loss), *metrics.items()) if value is not None})
    if phase is not None:
        line["phase"] = phase
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "progress.jsonl"), "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def finish(
    scores: Union[Dict[str, Any], List[Dict[str, Any]]],
    counts: Optional[Dict[str, Any]] = None,
    out: Optional[str] = None,
) -> None:
    """Write result.json: the last thing that a program does.

    Args:
        scores: {"benchmark/category": score}, or [{"benchmark": ..., "category": ..., "modality": ..., "score": ...}]
            where category ("overall") and modality ("video") may be left out.
        counts: name -> number, such as {"samples": 10000, "steps": 625}.
        out: the folder, instead of $ABLATE_OUT.
    """
    folder = _folder(out)
    if folder is None or not _is_first():
        return
    if isinstance(scores, dict):
        names = {name: name.partition("/") for name in scores}
        scores = [
            {"benchmark": names[name][0], "category": names[name][2] or "overall", "score": float(score)}
            for name, score in scores.items()
        ]
    else:
        scores = [dict(entry, score=float(entry["score"])) for entry in scores]
    result = {"scores": scores, "counts": {name: float(value) for name, value in (counts or {}).items()}}
    _write(os.path.join(folder, "result.json"), result)


def fail(kind: str, message: object, out: Optional[str] = None) -> None:
    """Write failure.json, before the program exits with a code other than 0. The first process that fails is reported.

    Args:
        kind: "usage", "data", "diverged" or "code", which are not retried; "oom", "node", "preempted", ..., which are.
        message: what happened, for people.
        out: the folder, instead of $ABLATE_OUT.
    """
    folder = _folder(out)
    if folder is not None and not os.path.exists(os.path.join(folder, "failure.json")):
        _write(os.path.join(folder, "failure.json"), {"class": kind, "message": str(message)})


def _folder(out: Optional[str]) -> Optional[str]:
    folder = out or os.environ.get("ABLATE_OUT")
    if not folder and not _notes:
        _notes.add("printed")
        sys.stderr.write("reporter.py: neither `out` nor ABLATE_OUT is set; nothing is reported\n")
    return folder or None


def _is_first() -> bool:
    return all(os.environ.get(name, "0") in ("", "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def _write(path: str, data: Any) -> None:
    """Write a file as a whole, so that nobody reads half of it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".ablate-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(data, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
