"""Digests of weights: of content, not of paths and times; a large file is read once, a changed one again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.weights import combined_digest, digests, encoder_files, file_digest, llm_files
from models.weights.locations import SHIPPED_PARTS

ENCODER, LLM, TOKENIZER = (SHIPPED_PARTS / name for name in ("image-encoder", "llm-0.05M", "tokenizer"))


@pytest.fixture
def llm(tmp_path: Path) -> Path:
    """A folder with an LLM and its tokenizer."""
    shutil.copytree(LLM, tmp_path / "llm")
    return Path(shutil.copytree(TOKENIZER, tmp_path / "llm", dirs_exist_ok=True))


def digest(folder: Path, cache: Path) -> str:
    return combined_digest(llm_files(str(folder)), cache)


def aged(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file once its times are old enough to show every later change, in this file system's steps."""
    monkeypatch.setattr(digests, "SETTLED_S", 0.1)
    time.sleep(0.15)
    return path


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    reads: list[Path] = []
    whole = digests._hash
    monkeypatch.setattr(digests, "_hash", lambda path, size: reads.append(path) or whole(path, size))
    return reads


def test_a_copy_elsewhere_is_the_same_content(llm, tmp_path):
    other = shutil.copytree(llm, tmp_path / "moved" / "deeper")
    os.utime(other / "config.json", (1, 1))
    assert digest(llm, tmp_path) == digest(other, tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_each_file_that_a_result_depends_on_counts(llm, tmp_path, name):
    before = digest(llm, tmp_path)
    content = bytearray((llm / name).read_bytes())
    content[-1] ^= 1
    (llm / name).write_bytes(bytes(content))  # of the same size
    assert digest(llm, tmp_path) != before


def test_files_that_are_not_read_do_not_count(llm, tmp_path):
    before = digest(llm, tmp_path)
    for name in ("README.md", "generation_config.json", "pytorch_model.bin", "optimizer.pt"):
        (llm / name).write_text("{}")
    assert digest(llm, tmp_path) == before  # transformers takes model.safetensors and never looks at the .bin
    assert set(encoder_files(str(llm), "siglip")) == {"config.json", "model.safetensors"}


def test_shards_are_those_of_the_index(llm, tmp_path):
    (llm / "model.safetensors").rename(llm / "a.safetensors")
    (llm / "stray.safetensors").touch()
    index = llm / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    (llm / "b.safetensors").write_bytes(b"b")
    names = {"config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors"}
    assert set(encoder_files(str(llm), "siglip")) == names
    index.write_text("{")  # damaged: everything counts
    assert set(encoder_files(str(llm), "siglip")) == names | {"stray.safetensors"}


def test_a_file_of_our_own_towers_is_its_bytes_and_not_its_name(tmp_path):
    file = tmp_path / "InternVideo2-stage2_1b-224p-f4.pt"
    file.write_bytes(b"tensors")
    (tmp_path / "other.pt").write_bytes(b"tensors")
    of_folder, of_file, renamed = (
        combined_digest(encoder_files(str(path), "internvideo2"), tmp_path)
        for path in (tmp_path, file, tmp_path / "other.pt")
    )
    assert of_folder == of_file == renamed
    (tmp_path / "config.json").write_text("{}")
    assert combined_digest(encoder_files(str(file), "internvideo2"), tmp_path) == of_file  # it is not read
    assert set(encoder_files(str(file), "languagebind_image")) == {"weights", "config.json"}  # it is read


def test_a_large_file_is_read_once_also_by_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "STORED_BYTES", 10)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * 100)
    aged(path, monkeypatch)
    reads = count_reads(monkeypatch)
    first = file_digest(path, tmp_path / "cache")
    digests._settled_digest.cache_clear()  # as in another process
    assert file_digest(path, tmp_path / "cache") == first
    assert len(reads) == 1
    path.write_bytes(b"y" * 100)
    os.utime(path, (1, 1))
    aged(path, monkeypatch)
    assert file_digest(path, tmp_path / "cache") != first


def test_a_change_of_equal_size_and_time_is_noticed(tmp_path, monkeypatch):
    """A copy that keeps times (`cp -p`, rsync) over a file of the same size."""
    monkeypatch.setattr(digests, "STORED_BYTES", 10)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * 100)
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    aged(path, monkeypatch)
    first = file_digest(path, tmp_path / "cache")
    path.write_bytes(b"y" * 100)
    os.utime(path, ns=times)
    assert file_digest(path, tmp_path / "cache") != first


@given(contents=st.lists(st.binary(min_size=4, max_size=4), min_size=2, max_size=6))
def test_a_file_that_is_written_again_and_again_is_never_mistaken(tmp_path_factory, contents):
    """Within the resolution of its times two contents may have equal stamps: nothing is stored then."""
    import hashlib

    folder = tmp_path_factory.mktemp("written")
    for content in contents:
        (folder / "f").write_bytes(content)
        assert file_digest(folder / "f", folder / "cache") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("damage", ["{", "[]", '{"sha256": "x"}', ""])
def test_a_damaged_entry_is_written_again(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(digests, "STORED_BYTES", 10)
    monkeypatch.setattr(digests, "SETTLED_S", -1.0)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"x" * 100)
    first = file_digest(path, tmp_path / "cache")
    (entry,) = (tmp_path / "cache" / "digests").iterdir()
    entry.write_text(damage)
    digests._settled_digest.cache_clear()
    assert file_digest(path, tmp_path / "cache") == first
    assert json.loads(entry.read_text())["sha256"] == first


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "STORED_BYTES", 10)
    monkeypatch.setattr(digests, "SETTLED_S", -1.0)
    (tmp_path / "file").write_bytes(b"x" * 100)
    (tmp_path / "cache").write_text("no folder")
    assert len(file_digest(tmp_path / "file", tmp_path / "cache")) == 64


def test_reading_a_long_file_is_shown(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(digests, "LONG_BYTES", 10)
    monkeypatch.setattr(digests, "PORTION_BYTES", 10)
    monkeypatch.setattr(digests, "REPORT_EVERY_S", -1.0)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 20)
    with caplog.at_level(logging.WARNING):
        file_digest(tmp_path / "model.safetensors", tmp_path / "cache")
    assert [record.getMessage().rsplit(": ", 1)[-1] for record in caplog.records[1:]] == ["50% read", "100% read"]
    assert "for its digest; unless it changes, this happens once" in caplog.text


def test_no_torch_is_loaded():
    code = (
        "import sys; from pathlib import Path; from models.weights import combined_digest, llm_files\n"
        f"combined_digest(llm_files({str(LLM)!r}), Path('/nonexistent'))\n"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_a_file_that_has_just_changed_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """File systems store times in steps: a second change may leave them as they are."""
    stamp = digests._Stamp(size=3, mtime_ns=time.time_ns(), ctime_ns=0)
    monkeypatch.setattr(digests._Stamp, "of", lambda _: stamp)
    file = tmp_path / "w.bin"
    hashes = {file.write_text(text) and file_digest(file, tmp_path) for text in ("abc", "xyz")}
    assert len(hashes) == 2


def test_a_hash_of_a_file_that_changed_while_it_was_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(digests, "STORED_BYTES", 0)
    file = tmp_path / "w.bin"
    file.write_bytes(b"old")
    aged(file, monkeypatch)
    read = digests._hash

    def edited(path: Path, size: int) -> str:
        result = read(path, size)
        path.write_bytes(b"new")
        return result

    monkeypatch.setattr(digests, "_hash", edited)
    file_digest(file, tmp_path)
    assert not (tmp_path / "digests").exists()
