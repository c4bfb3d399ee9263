"""A plan prints the share of empty positions, and what `max_length` leaves out."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ablate.cli.app import app
from ablate.plan import Price, Pricing, gpu, price
from models.design import Design, TrialConfig
from models.presets import PRESETS

APOLLO = PRESETS["apollo"].design


def priced(design: Design) -> Price:
    return price(TrialConfig(design=design, scale="3B", seed=0, samples=10_000), "t", Pricing(gpu=gpu("h100-80gb")))


def limited(most: int | None) -> Design:
    return Design.model_validate(APOLLO.model_dump() | {"max_length": most})


@pytest.mark.parametrize("name", PRESETS)
def test_few_positions_are_expected_to_be_empty(name: str):
    design = PRESETS[name].design
    config = TrialConfig(design=design, scale="0.15M" if name == "tiny" else "3B", seed=0, samples=10_000)
    shares = price(config, "t", Pricing(gpu=None)).empty_positions
    assert 0 < shares["cuda"] <= 0.08
    assert 0 < shares["cpu"] <= 0.25


def test_a_limit_shortens_the_longest_videos_and_is_noted():
    whole, short = priced(limited(None)), priced(limited(2048))
    assert not any("max_length" in note for note in whole.notes)
    assert any("`max_length: 2048` shortens 50.0% of the samples of stage 'align'" in note for note in short.notes)
    assert short.visual_tokens < whole.visual_tokens
    assert short.text_tokens == whole.text_tokens
    assert short.flops < whole.flops
    assert priced(limited(100_000)) == whole


def test_a_limit_below_one_clip_and_one_turn_counts_what_stays_longer():
    notes = priced(limited(128)).notes
    assert any("still longer with one clip of each video and one question" in note for note in notes)


def test_the_plan_prints_both_shares(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    table = CliRunner().invoke(app, ["plan", "apollo/schedules"])
    assert "empty positions in micro-batches, expected: " in table.stdout.replace("\n", " ")
    trials = json.loads(CliRunner().invoke(app, ["plan", "apollo/schedules", "--json"]).stdout)["trials"]
    assert all(0 < one["price"]["empty_positions"]["cuda"] < 0.05 for one in trials)
