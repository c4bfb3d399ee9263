"""The config files of a program: JSON, and a YAML that parsers of YAML 1.1 and 1.2 read as the same values."""

from __future__ import annotations

import json

import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ablate.run.program import write_inputs
from ablate.run.program.inputs import _yaml
from tests.ablate.run.program.programs import job, program

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1, max_size=20), PLAIN, max_size=5))
def test_both_versions_of_yaml_read_the_same_values(config):
    text = _yaml(config)
    assert yaml.safe_load(text) == config
    assert YAML(typ="safe").load(text) == config


def test_json_and_yaml_have_the_same_content_and_out_exists(tmp_path):
    config = {"model": {"lr": 1e-5, "name": "no", "ratio": "1:30"}, "scale": "7B", "seed": 1, "samples": None}
    trial = job(tmp_path / "trial", program(config=config))
    from ablate.record import TrialFolder

    attempt = TrialFolder(tmp_path / "trial").begin()
    write_inputs(trial, attempt)
    inputs = attempt.path / "inputs"
    assert json.loads((inputs / "config.json").read_text()) == config
    assert yaml.safe_load((inputs / "config.yaml").read_text()) == config
    assert attempt.out.is_dir()
    assert not (attempt.path / "config.json").exists()  # the agent's own, of the same name
