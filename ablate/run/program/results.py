"""How an attempt of a program ended, by the files that it wrote: never by its output."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path

from pydantic import ValidationError

from ablate.environment import describe, git_state
from ablate.errors import plain
from ablate.record import AttemptFolder, Failure, FailureClass, Result, Score
from ablate.run.job import Job, Program
from ablate.run.program.schema import STATED_CLASSES, FailureFile, ResultFile, problem_of
from ablate.run.start import Start

NAMED = 20
"""Most scores that a message lists."""
FILE_BYTES = 64 * 2**20
"""Larger files are not read: no result is as large, and it would have to fit into the agent's memory."""
MESSAGE_CHARACTERS = 2000
"""Longer messages of a failure are cut; the file has the whole one."""


def outcome(job: Job, attempt: AttemptFolder, start: Start) -> Result | Failure:
    """The result of a program that exited with code 0, or why it has none.

    Args:
        job: the trial.
        attempt: the folder whose out/ has the program's files.
        start: the start of the attempt.

    Returns:
        The failure that the program stated in failure.json, if it did; else its result, or a failure of class `code`
        that says what is wrong with result.json or missing in it.
    """
    assert job.program is not None
    failure = stated_failure(job, attempt, start)
    if failure is not None:
        return failure
    path = attempt.out / "result.json"
    try:
        scores, counts = _read_result(path, job.program.metric)
    except ValueError as error:
        return _failure(job.program, attempt, "code", str(error), start)
    return Result(
        key=job.key,
        attempt=attempt.number,
        scores=scores,
        seconds=start.seconds,
        started_at=start.at,
        ended_at=time.time(),
        environment=_environment(job.program),
        counts=counts,
    )


def stated_failure(job: Job, attempt: AttemptFolder, start: Start) -> Failure | None:
    """The failure that a program stated in failure.json; None if there is no such file.

    A file that is not as the contract wants it is a failure of class `code`, with the text of the file.
    """
    assert job.program is not None
    path = attempt.out / "failure.json"
    try:
        text = _text(path, errors="replace")  # its class counts more than each letter of its message
        stated = FailureFile.model_validate(_json(path, text))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = f"{path}: {problem_of(error)}; classes are {', '.join(STATED_CLASSES)}: {plain(text)[:300]}"
        return _failure(job.program, attempt, "code", problem, start)
    except (OSError, ValueError) as error:
        return _failure(job.program, attempt, "code", str(error), start)
    message = plain(stated.message)[:MESSAGE_CHARACTERS].strip() or "the program gave no message"
    return _failure(job.program, attempt, stated.kind, message, start)


def _read_result(path: Path, metric: str) -> tuple[list[Score], dict[str, float]]:
    """Scores and counts of a result.json.

    Raises:
        ValueError: it is missing, malformed or incomplete.
    """
    example = '{"scores": [{"benchmark": "mine", "category": "overall", "score": 61.2}]}'
    try:
        file = ResultFile.model_validate(_json(path, _text(path)))
    except FileNotFoundError:
        raise ValueError(f"the program exited with code 0, but there is no {path}; it must write {example}") from None
    except ValidationError as error:
        raise ValueError(f"{path}: {problem_of(error)}; write {example}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    names = [f"{score.benchmark}/{score.category}" for score in file.scores if score.modality == "video"]
    if metric and metric not in names:
        listed = ", ".join(sorted(names)[:NAMED]) or "none"
        raise ValueError(
            f"{path} has no score {metric} of the modality video, which ranks the designs; it has: {listed}. Write it, "
            "or set `metric` in the spec to one of them"
        )
    return [Score(**score.model_dump()) for score in file.scores], dict(file.counts)


def _text(path: Path, errors: str = "strict") -> str:
    """The content of a file.

    Raises:
        FileNotFoundError: there is none, or it is no file: a pipe would block the agent.
        ValueError: it is too large, or not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(path)
    if (size := path.stat().st_size) > FILE_BYTES:
        raise ValueError(f"{path} has {size:,} bytes; at most {FILE_BYTES:,} are read")
    try:
        return path.read_bytes().decode(errors=errors)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start:,}); write it as UTF-8") from None


def _json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:  # malformed, or a number of thousands of digits
        raise ValueError(f"{path} is not valid JSON ({error}): {text[:100]!r}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None


def _environment(program: Program) -> dict[str, str]:
    """The environment of ablate itself, and the state of the program's code."""
    state = {f"trainer_{name}": value for name, value in git_state(Path(program.workdir)).items()}
    if program.code:
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(program.code.items()))
        state["trainer_code"] = hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
    return describe() | {"trainer_workdir": program.workdir} | state


def _failure(program: Program, attempt: AttemptFolder, kind: FailureClass, message: str, start: Start) -> Failure:
    return Failure(
        attempt=attempt.number,
        kind=kind,
        message=message,
        traceback="",
        seconds=start.seconds,
        ended_at=time.time(),
        node=platform.node(),
        environment=_environment(program),
    )
