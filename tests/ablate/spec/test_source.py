"""The text of a spec that leaves the machine."""

from __future__ import annotations

from pathlib import Path

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


def test_a_spec_without_any_stays_unchanged():
    path = Path(__file__).parents[3] / "sweeps" / "sampling.yaml"
    assert read_yaml(path).public_text() == path.read_text()
