"""The text of a spec that leaves the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.errors import SpecError
from ablate.spec.source import read_yaml

TEXT = """\
study: mine  # env: {KEY: not a value}
trainer:
  command: [a, "{out}"]
  env:
    WANDB_API_KEY: abcdef  # of the team
    MULTI: "secret \\
      tail"
    PLAIN: &p 'it''s secret'
    SAME: *p
    BLOCK: |
      secret
      tail
axes: {env: [secret of no trainer]}
"""


def test_values_of_environment_variables_are_hidden_and_nothing_else(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(TEXT)
    public = read_yaml(tmp_path / "a.yaml").public_text()
    (tmp_path / "public.yaml").write_text(public)
    again = read_yaml(tmp_path / "public.yaml").data
    variables = ("WANDB_API_KEY", "MULTI", "PLAIN", "SAME", "BLOCK")
    assert again["trainer"] == {"command": ["a", "{out}"], "env": dict.fromkeys(variables, "***")}
    assert again["axes"] == {"env": ["secret of no trainer"]}
    assert "# env: {KEY: not a value}" in public


@pytest.mark.parametrize(
    "trainer",
    [
        "{<<: {env: {KEY: secret}}, command: [a]}",
        "{<<: [{command: [a]}, {env: {KEY: secret}}]}",
        "{env: {<<: {KEY: secret}, OTHER: secret}}",
        "{<<: {<<: {env: {KEY: secret}}}}",
    ],
)
def test_values_that_a_merge_brings_are_hidden(tmp_path: Path, trainer: str):
    path = tmp_path / "a.yaml"
    for text in (f"trainer: {trainer}\n", f"<<: {{trainer: {trainer}}}\n"):
        path.write_text(text)
        assert "secret" not in read_yaml(path).public_text()


def test_a_key_given_twice_is_named_without_its_values(tmp_path: Path):
    path = tmp_path / "a.yaml"
    path.write_text("trainer:\n  env: {KEY: secret}\n  env: {}\n")
    with pytest.raises(SpecError, match='duplicate key "env"; keep one') as caught:
        read_yaml(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", [r'a: "x\0"', r'a: ["\uD83D"]', r'"a\0": 1'])
def test_a_text_that_no_file_can_contain_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match="a.yaml:1: a text has a character that no file or argument can contain"):
        read_yaml(path)


def test_a_spec_without_any_stays_unchanged():
    path = Path(__file__).parents[3] / "sweeps" / "sampling.yaml"
    assert read_yaml(path).public_text() == path.read_text()
