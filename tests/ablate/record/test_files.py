"""Writes of records: whole or not at all, durable in the right order, with the permissions of the user's umask."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ablate.record import TrialFolder, files
from ablate.record.files import write_json, write_text
from tests.ablate.record.test_trial import description, finished, result


@pytest.fixture
def trace(monkeypatch) -> list[tuple[str, str]]:
    """Calls that make something durable, or give or take a name, in order, with the file's name."""
    calls: list[tuple[str, str]] = []
    fsync, link, replace, mkdir = os.fsync, os.link, os.replace, os.mkdir

    def traced_fsync(handle: int) -> None:
        calls.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def traced(name, call):
        def run(*arguments, **options):
            call(*arguments, **options)
            calls.append((name, os.fspath(arguments[-1] if name != "mkdir" else arguments[0])))

        return run

    monkeypatch.setattr(os, "fsync", traced_fsync)
    for name, call in (("link", link), ("replace", replace), ("mkdir", mkdir)):
        monkeypatch.setattr(os, name, traced(name, call))
    return calls


@pytest.fixture
def no_links(monkeypatch) -> None:
    """As on FAT."""

    def link(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)


# --- durability ---------------------------------------------------------------------------------------------


def test_all_that_a_result_covers_is_durable_before_it_exists(tmp_path, trace):
    folder = TrialFolder(tmp_path / "trials" / "k")
    folder.describe(description())
    attempt = finished(folder)
    calls = [(call, Path(path)) for call, path in trace]
    named = calls.index(("link", folder.path / "result.json"))
    before, after = calls[:named], calls[named + 1 :]
    for name in folder.result().files:
        assert ("sync", folder.path / name) in before, name
    for path in (attempt.path, attempt.out):
        assert ("sync", path) in before
    call, temporary = before[-1]  # the content, then its name, then the folder
    assert (call, temporary.parent, temporary.name.startswith(".result.json.")) == ("sync", folder.path, True)
    assert after == [("sync", folder.path)]


def test_the_name_of_each_new_folder_is_durable(tmp_path, trace):
    folder = TrialFolder(tmp_path / "s" / "trials" / "k")
    folder.describe(description())
    folder.begin()
    calls = [(call, Path(path)) for call, path in trace]
    folders = [path for call, path in calls if call == "mkdir"]
    assert [path.name for path in folders] == ["s", "trials", "k", "attempts", "0"]
    for path in folders:
        assert calls[calls.index(("mkdir", path)) + 1] == ("sync", path.parent)


def test_a_replaced_file_is_durable_before_it_has_its_name(tmp_path, trace):
    write_text(tmp_path / "x", "old")
    trace.clear()
    write_text(tmp_path / "x", "new")
    assert [call for call, _ in trace] == ["sync", "replace", "sync"]
    assert [trace[1][1], trace[2][1]] == [str(tmp_path / "x"), str(tmp_path)]


# --- whole or not at all ------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


FULL = """
import resource, sys
from pathlib import Path
from ablate.record import write_text
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(Path(sys.argv[1]), "x" * 5000, once=sys.argv[2] == "once")
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize("once", ["once", "replace"])
def test_a_write_that_the_system_cuts_short_leaves_no_temporary_file(tmp_path, once):
    """As on a full disk: the first bytes are written, the others refused."""
    if once == "replace":
        write_text(tmp_path / "x", "old")
    command = [sys.executable, "-c", FULL, str(tmp_path / "x"), once]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout == f"{errno.EFBIG}\n", process.stderr
    assert [path.name for path in tmp_path.iterdir()] == (["x"] if once == "replace" else [])
    assert once == "once" or (tmp_path / "x").read_text() == "old"


def test_a_full_disk_at_the_sync_leaves_no_temporary_file(tmp_path, monkeypatch):
    """Network file systems write, and fail, only then."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "x", "content")
    assert list(tmp_path.iterdir()) == []


def test_the_umask_of_a_group_is_respected(tmp_path):
    """Colleagues can write where the user's umask lets them; a private umask stays private."""
    for mask, file_mode, folder_mode in ((0o002, 0o664, 0o775), (0o077, 0o600, 0o700), (0o022, 0o644, 0o755)):
        old = os.umask(mask)
        try:
            for name, once in (("a", False), ("b", True)):
                write_text(tmp_path / f"{mask}" / name, "x", once=once)
            folder = TrialFolder(tmp_path / f"{mask}" / "k")
            folder.describe(description())
            attempt = folder.begin()
            folder.finish(result())
        finally:
            os.umask(old)
        paths = [tmp_path / f"{mask}" / "a", tmp_path / f"{mask}" / "b", folder.path / "result.json"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [file_mode] * 3
        folders = [tmp_path / f"{mask}", folder.path, attempt.path.parent, attempt.path]
        assert [stat.S_IMODE(path.stat().st_mode) for path in folders] == [folder_mode] * 4


# --- once ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_links", [True, False])
def test_of_many_writers_exactly_one_succeeds(tmp_path, has_links, request):
    if not has_links:
        request.getfixturevalue("no_links")

    def write(number: int) -> bool:
        try:
            write_text(tmp_path / "x", str(number) * 1000, once=True)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        successes = list(threads.map(write, range(8)))
    assert sum(successes) == 1
    assert (tmp_path / "x").read_text() == str(successes.index(True)) * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_claim_of_a_process_that_died_is_given_up(tmp_path, no_links, monkeypatch):
    monkeypatch.setattr(files, "CLAIM_S", 0.05)
    (tmp_path / ".x.claim").write_text("")
    write_text(tmp_path / "x", "content", once=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_link_whose_answer_was_lost_is_no_other_writer(tmp_path, monkeypatch):
    """NFS asks again and hears that the file exists: its own link."""
    link = os.link

    def link_twice(source: str, target: str) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)
    write_text(tmp_path / "x", "content", once=True)
    assert (tmp_path / "x").read_text() == "content"
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "x", "other", once=True)


def test_a_claim_of_a_process_that_died_is_given_up_by_one_of_those_that_wait(tmp_path, no_links, monkeypatch):
    monkeypatch.setattr(files, "CLAIM_S", 0.2)
    (tmp_path / ".x.claim").write_text("")
    replace = os.replace

    def slow(*names):
        time.sleep(0.1)  # shorter than the time after which a process is assumed to have died
        replace(*names)

    monkeypatch.setattr(os, "replace", slow)

    def write(text):
        try:
            write_text(tmp_path / "x", text, once=True)
        except FileExistsError:
            return None
        return text

    with ThreadPoolExecutor(8) as threads:
        written = [text for text in threads.map(write, map(str, range(8))) if text is not None]
    assert written == [(tmp_path / "x").read_text()]


def test_another_error_of_a_link_is_no_reason_to_claim(tmp_path, monkeypatch):
    def link(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "x", "content", once=True)
    assert list(tmp_path.iterdir()) == []
