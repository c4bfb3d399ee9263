"""Records are read one by one, wherever the pieces of the file end, and errors name file, line and record."""

from __future__ import annotations

import codecs
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.data import ManifestError, json_stream
from models.data.json_stream import JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), min_size=1, max_size=6)


@settings(max_examples=60)
@given(
    records=RECORDS,
    layout=st.sampled_from(["list", "indented list", "lines", "lines with a last break"]),
    chunk=st.integers(min_value=1, max_value=40),
    is_ascii=st.booleans(),
    mark=st.booleans(),
)
def test_every_record_comes_once_in_order(tmp_path_factory, records, layout, chunk, is_ascii, mark):
    if layout.startswith("lines"):
        text = "\n".join(json.dumps(record, ensure_ascii=is_ascii) for record in records)
        text += "\n" * (layout != "lines")
    else:
        text = json.dumps(records, ensure_ascii=is_ascii, indent=2 if layout == "indented list" else None)
    content = codecs.BOM_UTF8 * mark + text.encode("utf-8", "surrogatepass")
    file = tmp_path_factory.mktemp("stream") / "train.json"
    file.write_bytes(content)
    sizes: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK_BYTES", chunk)
        stream = JsonStream(file, sizes.append)
        try:
            text.encode()
        except UnicodeEncodeError:  # half of a surrogate pair is not valid UTF-8
            with pytest.raises(ManifestError, match="is not UTF-8"):
                list(stream)
            return
        result = list(stream)
    assert [record.data for record in result] == records
    assert [json.loads(record.text) for record in result] == records
    assert [record.number for record in result] == list(range(len(records)))
    assert stream.digest == hashlib.sha256(content).hexdigest()
    assert sizes[-1] == len(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "train.json:1: must be a JSON list of records, or JSON lines"),
        (b"  \n", "train.json:2: must be a JSON list of records, or JSON lines"),
        (b"[]", "must have at least one record"),
        (b'"text"', "must be a JSON list of records"),
        (b'[{"a": 1},\n{"a": 2}', "train.json:2: ends within its list: it is truncated"),
        (b'[{"a": 1},\n{"a": ', "train.json:2: is not valid JSON in record 1: Expecting value"),
        (b'[{"a": 1}\n{"a": 2}]', "train.json:2: is not valid JSON: a comma is missing between two records"),
        (b'[{"a": 1},\n]', "train.json:2: is not valid JSON: a comma without a record after it"),
        (b'[{"a": 1}]\n{"a": 2}', "train.json:2: has text after its list"),
        (b'{"a": 1}\n\n{"a" 2}', "train.json:3: is not valid JSON in record 1: Expecting ':' delimiter"),
        (b'[{"a": 1}, [2]]', "record 1 must be an object, not"),
        (b'[{"a": "\xe9"}]', "is not UTF-8"),
        ('[{"a": 1}]'.encode("utf-16"), "is UTF-16 or UTF-32; manifests are UTF-8: `iconv"),
        (b"[" * 100_000, "is not readable JSON in record 0|must be an object"),
    ],
)
def test_what_is_no_list_of_records_is_refused_with_its_line(tmp_path: Path, content, message):
    (tmp_path / "train.json").write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        list(JsonStream(tmp_path / "train.json"))


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ManifestError, match=r"cannot read .*train\.json: No such file"):
        list(JsonStream(tmp_path / "train.json"))
