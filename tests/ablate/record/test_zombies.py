"""Several processes at one trial: attempts that were given up but go on, drivers on two machines."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ablate.record import TrialFolder
from tests.ablate.record.test_trial import description, failure, result

BEGIN = """
import sys, time
from pathlib import Path
from ablate.record import TrialFolder
folder, start = TrialFolder(Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
for _ in range(5):
    print(folder.begin().number)
"""

FINISH = """
import sys, time
from pathlib import Path
from ablate.record import Result, Score, TrialFolder
folder, start, number = TrialFolder(Path(sys.argv[1])), Path(sys.argv[2]), int(sys.argv[3])
score = Score(benchmark="b", category="overall", modality="video", score=float(number))
one = Result(key="k", attempt=number, scores=[score], seconds=1, started_at=1, ended_at=2, environment={})
print("ready", flush=True)
while not start.exists():
    time.sleep(0.001)
try:
    folder.finish(one)
    print("finished")
except FileExistsError:
    print("late")
"""


def at_once(code: str, folder: TrialFolder, start: Path, processes: int) -> list[list[str]]:
    """The lines that processes print which begin at the same time, after they have imported what they need."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder.path), str(start), str(number)], stdout=subprocess.PIPE, text=True
        )
        for number in range(processes)
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        start.write_text("")
        return [process.communicate(timeout=60)[0].split() for process in running]
    finally:
        for process in running:
            process.kill()


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    folder = TrialFolder(tmp_path / "trials" / "k")
    folder.describe(description())
    return folder


def test_attempts_of_eight_processes_have_numbers_of_their_own(folder, tmp_path):
    numbers = [int(number) for lines in at_once(BEGIN, folder, tmp_path / "start", 8) for number in lines]
    assert sorted(numbers) == list(range(40))
    assert [attempt.number for attempt in folder.attempts()] == list(range(40))


def test_of_processes_that_finish_at_once_exactly_one_does(folder, tmp_path):
    for _ in range(4):
        folder.begin()
    lines = at_once(FINISH, folder, tmp_path / "start", 4)
    assert sorted(word for (word,) in lines) == ["finished", "late", "late", "late"]
    record = folder.read()
    assert record.result.attempt == lines.index(["finished"])
    assert record.result.scores[0].score == record.result.attempt
    assert list(record.damage()) == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(order=st.permutations(range(3)), failed=st.sets(st.integers(0, 2), max_size=2))
def test_whatever_the_order_the_first_result_stays(tmp_path_factory, order, failed):
    """Attempts fail or finish in any order; later ones change nothing that was recorded."""
    folder = TrialFolder(tmp_path_factory.mktemp("t") / "k")
    folder.describe(description())
    attempts = [folder.begin() for _ in range(3)]
    first = None
    for number in order:
        attempts[number].event({"step": number})
        if number in failed:
            attempts[number].fail(failure(attempts[number], "killed"))
        elif first is None:
            first = number
            folder.finish(result(attempt=number, score=number))
            content = (folder.path / "result.json").read_bytes()
        else:
            with pytest.raises(FileExistsError):
                folder.finish(result(attempt=number, score=number))
    assert (folder.path / "result.json").read_bytes() == content
    record = folder.read()
    assert (record.result.attempt, {one.attempt for one in record.failures}) == (first, failed)
    assert folder.events() == [{"step": first}]
    assert list(record.damage()) == []


def test_a_zombie_writes_into_its_own_folder_only(folder):
    zombie, successor = folder.begin(), folder.begin()
    successor.log.write_text("successor\n")
    successor.predictions.write_bytes(b"PAR1")
    folder.finish(result(attempt=1))
    files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    zombie.event({"step": 1})
    zombie.log.write_text("zombie\n")
    zombie.predictions.write_bytes(b"other")
    zombie.configured({"seed": 1})
    zombie.fail(failure(zombie, "killed"))
    assert {path: path.read_bytes() for path in files} == files
    record = folder.read()
    assert (record.status, record.file("log.txt").read_text()) == ("done", "successor\n")
    assert list(record.damage()) == []


def test_a_result_is_never_seen_in_part(folder):
    """Readers poll while the result is written."""

    def poll() -> set[str]:
        statuses = set()
        while (record := folder.read()) is None or record.result is None:
            statuses.add(record.status if record else "none")
        json.loads((folder.path / "result.json").read_text())
        return statuses

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(poll) for _ in range(2)]
        folder.finish(result())
        assert all(reader.result(timeout=60) <= {"unfinished"} for reader in readers)
