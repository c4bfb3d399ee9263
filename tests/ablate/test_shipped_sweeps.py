"""Every shipped spec plans, and those of the study declare what its tables hold."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd
import pytest

from ablate.errors import UsageError
from ablate.plan import make_plan, refuse_assumed, refuse_infeasible
from ablate.spec import expand, find_spec, load_spec
from ablate.spec.shipped import shipped_sweeps
from models.cards import encoder_card, llm_card
from models.ladder import scale_card_of

COUNTS = {
    "sampling_uniform": 8,
    "sampling_fps_tps": 28,
    "encoders": 19,
    "resamplers": 3,
    "token_integration": 4,
    "unified_split": 2,
    "schedules": 17,
    "data_mix": 13,
    "scaling_consistency": 84,
}
"""Rows of Tables 11, 10, 9, 1, 2, 8, 12, 13 and 14 + 15 of arXiv 2412.10360."""


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_the_studys_tables_are_declared_row_by_row(name: str, count: int):
    result = expand(load_spec(find_spec(f"apollo/{name}")))
    assert (result.declared, result.excluded, result.duplicate, len(result.trials)) == (count, 0, 0, count)
    assert len({trial.label for trial in result.trials}) == count


def test_every_spec_of_the_study_is_counted():
    assert sorted(path.stem for path in (shipped_sweeps() / "apollo").glob("*.yaml")) == sorted(COUNTS)


def test_every_shipped_spec_states_its_question_and_its_section():
    for path in sorted(shipped_sweeps().rglob("*.yaml")):
        spec = load_spec(path)
        assert spec.question, path
        assert "Apollo" in spec.source.text.splitlines()[0], path


def test_seventeen_runs_are_seven_schedules_and_a_frozen_llm_sees_video_only():
    trials = expand(load_spec(find_spec("apollo/schedules"))).trials
    shapes = set()
    for trial in trials:
        design = trial.config.design
        for stage in design.schedule:
            assert (design.mix_of(stage).video == 1) == (stage.lr.llm == 0)
        shapes.add(tuple(tuple(rate > 0 for rate in stage.lr.model_dump().values()) for stage in design.schedule))
    assert len(shapes) == 7


def test_tokens_a_second_are_frames_times_tokens_a_frame():
    """Table 10 prints all three."""
    for trial in expand(load_spec(find_spec("apollo/sampling_fps_tps"))).trials:
        design = trial.config.design
        per_second = design.tokens_per_clip / (design.clip_frames / design.sampling.fps)
        assert per_second == trial.axes["sampling.fps"] * trial.axes["resampler.tokens_per_frame"]


def test_designs_of_the_consistency_study_are_the_published_ones():
    """Tokens a clip and its length in seconds, as Tables 14 and 15 print them."""
    table = pd.read_csv(files("analysis") / "published/apollo/scaling_consistency_t14_t15.csv")
    trials = [t for t in expand(load_spec(find_spec("apollo/scaling_consistency"))).trials if t.config.scale == "7B"]
    rows = table[table["llm"] == "Qwen2-7B-Instruct"]
    declared = [
        (t.config.design.tokens_per_clip, t.config.design.clip_frames / t.config.design.sampling.fps) for t in trials
    ]
    assert declared == [(r.tokens_per_clip, r.clip_duration_s) for r in rows.itertuples()]
    trained = [any(stage.lr.vision for stage in t.config.design.schedule) for t in trials]
    assert trained == [r.vision_inferred == "trainable" for r in rows.itertuples()]


@pytest.mark.parametrize("name", COUNTS)
def test_the_studys_sweeps_plan_without_weights_or_data_and_are_refused_to_run(name: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(load_spec(find_spec(f"apollo/{name}")))
    assert len(plan.missing) == COUNTS[name]
    assert {p.gpus for p in plan.planned} == {1}
    refuse_infeasible(plan, nodes=[{"CPU": 2}])  # nothing of it would run, so nothing is infeasible
    with pytest.raises(UsageError, match=r"only assumed, for plans: set `data` to \{kind: manifest, ...\}"):
        refuse_assumed(plan)


def test_every_encoder_and_llm_of_the_study_has_a_card():
    for name in COUNTS:
        for trial in expand(load_spec(find_spec(f"apollo/{name}"))).trials:
            cards = [encoder_card(encoder) for encoder in trial.config.design.encoders]
            assert [card.frames for card in cards] == [e.frames for e in trial.config.design.encoders]
            assert llm_card(scale_card_of(trial.config).llm).params > 4e8
