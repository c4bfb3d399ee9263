"""Scores of options: what is summed, what decides, and that nothing but the model's probabilities does."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

from models.architecture import VideoLMM
from models.architecture.resamplers import PerceiverResampler
from models.data import (
    VIDEO_TOKEN,
    Corpus,
    ManifestError,
    Modality,
    Prompter,
    Question,
    TestItem,
    Text,
    TrainingSample,
    Turn,
    VisualReader,
)
from models.data.integration import IMAGE_TOKEN
from models.design import Design, ManifestData, Perceiver, Uniform
from models.encoders import CombinedEncoder, Visual
from models.encoders.siglip import SiglipEncoder
from models.presets import PRESETS
from models.scoring import MODALITIES, evaluate, letter_shares, scores
from models.video import Medium, Stored
from tests.models.data.families import tokenizer_of

CPU = torch.device("cpu")
RESAMPLER = Perceiver(kind="perceiver", tokens_per_frame=2, heads=2, head_dim=8, kv_heads=1)
CLIP, LEFT, RIGHT = (
    Medium(path="v.mp4", kind="video"),
    Medium(path="i.png", kind="image"),
    Medium(path="j.png", kind="image"),
)
COLORS = ("red", "red and blue", "blue", "12", "1", "left and right")


def question(text: Text, options: tuple[str, ...], answer: int = 0, id: str = "q") -> Question:
    return Question(id, text, options, answer, "ocr", "color")


ITEMS = [
    TestItem(
        "a", "video", (CLIP,), (question((0, "Which color?"), ("red", "blue")), question((0, "Left?"), COLORS, 3))
    ),
    TestItem("b", "multi_image", (LEFT, RIGHT), (question(("Is ", 0, " redder than ", 1, "?"), ("yes", "no"), 1),)),
    TestItem(
        "c", "image", (LEFT,), (question((0, "What is it?"), ("1", "10", "12")), question(("And ", 0), ("1", "2")))
    ),
]


def design_of(**changes: Any) -> Design:
    data = ManifestData(kind="manifest", benchmark="mine", folder="/data", **changes)
    return PRESETS["tiny"].design.model_copy(update={"data": data, "sampling": Uniform(kind="uniform", frames=3)})


@cache
def llm(seed: int) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer_of("qwen2_5")),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            initializer_range=0.3,  # so that options differ clearly
        )
    ).eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VideoLMM:
    folder = tmp_path_factory.mktemp("siglip")
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    SiglipVisionModel(vision).save_pretrained(folder)
    encoder = SiglipEncoder(PRESETS["tiny"].design.encoders[0].model_copy(update={"weights": str(folder)}))
    return VideoLMM(CombinedEncoder([encoder]), PerceiverResampler(RESAMPLER, 16, 32, 2), llm(0)).eval()


def corpus_of(model: VideoLMM, items: list[TestItem], **changes: Any) -> Corpus:
    frames = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8)
    index = {"v.mp4": (0, 8), "i.png": (8, 1), "j.png": (9, 1)}
    design = design_of(**changes)
    assert isinstance(design.data, ManifestData)
    prompter = Prompter(tokenizer_of("qwen2_5"), design.data.scoring, design.data.instruction)
    source = Stored(index, np.append(np.arange(8) / 4, [0.0, 0.0]), frames)
    return Corpus(prompter, [], items, VisualReader(design, model.encoder, source))


def outcomes_of(
    model: VideoLMM, corpus: Corpus, modality: Modality = "video", max_positions: int = 10**6
) -> pd.DataFrame:
    return pd.concat(list(evaluate(model, corpus, CPU, modality, max_positions))).sort_index()


def answered(options: tuple[str, ...], model: Qwen2ForCausalLM | None = None, **changes: Any) -> pd.Series:
    """The outcome of one question about nothing, by an LLM, by default one with random weights."""
    item = TestItem("t", "image", (LEFT,), (question(("Which color?",), options),))
    lmm = VideoLMM(torch.nn.Identity(), torch.nn.Identity(), model or llm(0))  # type: ignore[arg-type]
    return outcomes_of(lmm, corpus_of(lmm, [item], **{"scoring": "text"} | changes), "text").iloc[0]


# --- by hand ------------------------------------------------------------------------------------


def by_hand(text: str, answer: str) -> list[float]:
    """Log-probability of each token of an answer after the template's own prompt, by the LLM alone."""
    tokenizer = tokenizer_of("qwen2_5")
    messages = [{"role": "user", "content": text}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    answer_ids = tokenizer.encode(answer, add_special_tokens=False)
    with torch.inference_mode():
        logits = llm(0)(torch.tensor([[*ids, *answer_ids]]), use_cache=False).logits[0].log_softmax(-1)
    return [float(logits[len(ids) - 1 + i, token]) for i, token in enumerate(answer_ids)]


def test_an_options_text_is_scored_with_the_end_of_its_turn():
    outcome = answered(COLORS)
    expected = [by_hand("Which color?", f"{option}<|im_end|>") for option in COLORS]
    assert outcome["log_likelihoods"] == pytest.approx([sum(one) for one in expected], abs=1e-3)
    assert outcome["num_tokens"] == [len(one) for one in expected]
    assert outcome["predicted"] == int(np.argmax([sum(one) for one in expected]))
    likelihoods = np.exp([sum(one) for one in expected])
    assert outcome["probability"] == pytest.approx(likelihoods[0] / likelihoods.sum(), rel=1e-3)


def test_the_mean_over_tokens_decides_where_the_config_says_so():
    sums, means = answered(COLORS), answered(COLORS, reduce="mean")
    assert sums["log_likelihoods"] == means["log_likelihoods"]
    by_token = np.array(means["log_likelihoods"]) / means["num_tokens"]
    assert means["predicted"] == int(by_token.argmax())
    assert means["probability"] == pytest.approx(float(np.exp(by_token[0]) / np.exp(by_token).sum()))
    assert means["probability"] != pytest.approx(sums["probability"])


def test_letters_are_scored_after_the_list_of_options():
    outcome = answered(COLORS, scoring="letters")
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCDEF", COLORS, strict=True))
    text = f"Which color?\n{lines}\nAnswer with the option's letter from the given choices directly."
    assert outcome["log_likelihoods"] == pytest.approx([by_hand(text, letter)[0] for letter in "ABCDEF"], abs=1e-3)
    assert outcome["num_tokens"] == [1] * 6
    bare = answered(COLORS, scoring="letters", instruction="")
    assert bare["log_likelihoods"][0] == pytest.approx(by_hand(f"Which color?\n{lines}", "A")[0], abs=1e-3)


# --- what must not decide -----------------------------------------------------------------------

texts = st.lists(st.sampled_from(["red", "blue", " and", "1", "2", ".", " left"]), min_size=1, max_size=4).map("".join)


@cache
def trained_to_answer(answer: str) -> Qwen2ForCausalLM:
    """The LLM after some steps of a trial's own training on one answer to `Which color?`."""
    model = VideoLMM(torch.nn.Identity(), torch.nn.Identity(), deepcopy(llm(0)))  # type: ignore[arg-type]
    corpus = corpus_of(model, [], scoring="text")
    sample = TrainingSample("r", "text", (), (Turn(("Which color?",), answer),), independent=False)
    batch = corpus.collate([corpus.training_row(sample, 1, np.random.default_rng(0))])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    return model.llm.eval()


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize(
    "options",
    [("red", "red and blue"), ("1", "12"), ("1", "10", "12"), ("blue", "blue and left", "blue and left and right")],
)
def test_the_start_of_another_option_has_no_advantage(options: tuple[str, ...], reduce: str):
    """Whichever of them a model learned to answer, it is chosen: without the end of the turn the first always wins."""
    for answer in options:
        outcome = answered(options, model=trained_to_answer(answer), reduce=reduce)
        assert options[outcome["predicted"]] == answer
        assert outcome["log_likelihoods"][options.index(answer)] > math.log(0.5)


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_word_appended_to_the_right_option_does_not_decide(reduce: str):
    """The other options are as wrong as before, and the right one is still chosen for what it says."""
    for right in ("red", "red and left", "red and left and right", "red and left and right and left"):
        options = ("blue", right, "12")
        assert answered(options, model=trained_to_answer(right), reduce=reduce)["predicted"] == 1
        assert answered(options, model=trained_to_answer("blue"), reduce=reduce)["predicted"] == 0


@settings(max_examples=25)
@given(st.sets(texts.map(str.strip).filter(bool), min_size=2, max_size=8), st.integers(0, 3))
def test_probabilities_of_different_answers_sum_to_at_most_one(options: set[str], seed: int):
    """So no option's probability contains that of another."""
    outcome = answered(tuple(sorted(options)), model=llm(seed))
    assert sum(math.exp(value) for value in outcome["log_likelihoods"]) <= 1 + 1e-4


@settings(max_examples=25)
@given(st.permutations(COLORS), st.integers(0, 3), st.sampled_from(["sum", "mean"]))
def test_the_order_of_options_does_not_change_the_scores_of_texts(order: list[str], seed: int, reduce: str):
    one, other = (answered(tuple(options), llm(seed), reduce=reduce) for options in (COLORS, order))
    assert order[other["predicted"]] == COLORS[one["predicted"]]
    likelihoods = dict(zip(COLORS, one["log_likelihoods"], strict=True))
    assert other["log_likelihoods"] == pytest.approx([likelihoods[option] for option in order], abs=1e-3)


# --- rows and micro-batches ---------------------------------------------------------------------


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("scoring", ["letters", "text"])
def test_results_do_not_depend_on_the_size_of_micro_batches(model: VideoLMM, modality: Modality, scoring: str):
    corpus = corpus_of(model, ITEMS * 2, scoring=scoring)
    whole = outcomes_of(model, corpus, modality)
    assert whole["item"].tolist() == ["a", "a", "b", "c", "c"] * 2
    for max_positions in (1, 150, 400):
        tables = list(evaluate(model, corpus, CPU, modality, max_positions))
        outcomes = pd.concat(tables).sort_index()
        assert len(tables) > 1
        pd.testing.assert_frame_equal(
            outcomes.drop(columns=["log_likelihoods", "probability"]),
            whole.drop(columns=["log_likelihoods", "probability"]),
        )
        for column in ("log_likelihoods", "probability"):
            np.testing.assert_allclose(np.hstack(outcomes[column]), np.hstack(whole[column]), atol=1e-4)


def test_media_are_read_one_micro_batch_at_a_time(model: VideoLMM, monkeypatch: pytest.MonkeyPatch):
    corpus = corpus_of(model, ITEMS)
    sizes: list[int] = []
    monkeypatch.setattr(
        Corpus,
        "collate",
        lambda self, rows, collate=Corpus.collate: (sizes.append(len(rows)), collate(self, rows))[1],
    )
    tables = evaluate(model, corpus, CPU, "video", 1)
    next(tables)
    assert sizes == [1]


def test_a_long_item_is_split_into_rows_that_share_their_media(model: VideoLMM):
    questions = tuple(question((0, f"Which color {i}?"), ("red", "blue"), id=str(i)) for i in range(40))
    corpus = corpus_of(model, [TestItem("a", "video", (CLIP,), questions)])
    rows = corpus.scored_rows(corpus.test[0], "video", 500)
    assert len(rows) > 2
    assert all(scored.row.length <= 500 for scored in rows)
    assert all(scored.row.prefix.count(VIDEO_TOKEN) == 6 for scored in rows)
    assert [number for scored in rows for number, _ in scored.questions] == list(range(40))
    one_row, split = (outcomes_of(model, corpus, "video", size) for size in (10**6, 500))
    assert split["question"].tolist() == one_row["question"].tolist()
    np.testing.assert_allclose(np.hstack(split["log_likelihoods"]), np.hstack(one_row["log_likelihoods"]), atol=1e-4)


# --- media in their places ----------------------------------------------------------------------


def spelled(corpus: Corpus, ids: list[int]) -> str:
    return "".join("*" if i == VIDEO_TOKEN else tokenizer_of("qwen2_5").decode([i]) for i in ids)


def test_media_at_the_start_are_shared_and_others_stand_in_their_question(model: VideoLMM):
    corpus = corpus_of(model, ITEMS, scoring="text")
    (video,), (pair,), (mixed,) = (corpus.scored_rows(item, "video", 10**6) for item in ITEMS)
    assert spelled(corpus, video.row.prefix).endswith("<|im_start|>user\n" + "*" * 6)
    assert spelled(corpus, list(video.row.branches[0].ids)).startswith("Which color?<|im_end|>")
    assert "*" not in spelled(corpus, pair.row.prefix)
    assert spelled(corpus, list(pair.row.branches[0].ids)).startswith("Is ** redder than **?<|im_end|>")
    assert [one.medium for one in pair.row.visual] == [LEFT, RIGHT]
    # Questions that start differently share nothing: each has the image of its own.
    assert "*" not in spelled(corpus, mixed.row.prefix)
    first, second = (b for b in mixed.row.branches if not b.parent)
    assert spelled(corpus, list(first.ids)).startswith("**What is it?")
    assert spelled(corpus, list(second.ids)).startswith("And **<|im_end|>")
    assert [one.medium for one in mixed.row.visual] == [LEFT, LEFT]


def test_swapped_places_swap_what_the_model_sees(model: VideoLMM):
    """The pictures of a question are those at its places, whatever the order of the record."""

    def likelihoods(media: tuple[Medium, ...], text: Text) -> list[float]:
        item = TestItem("b", "multi_image", media, (question(text, ("yes", "no")),))
        result: list[float] = outcomes_of(model, corpus_of(model, [item])).iloc[0]["log_likelihoods"]
        return result

    one = likelihoods((LEFT, RIGHT), ("Is ", 0, " redder than ", 1, "?"))
    assert likelihoods((RIGHT, LEFT), ("Is ", 1, " redder than ", 0, "?")) == pytest.approx(one, abs=1e-4)
    assert likelihoods((LEFT, RIGHT), ("Is ", 1, " redder than ", 0, "?")) != pytest.approx(one, abs=1e-4)
    assert likelihoods((LEFT, RIGHT), (0, 1, "Is  redder than ?")) != pytest.approx(one, abs=1e-4)


def pixels(visual: Visual) -> np.ndarray:
    """Frames (C, height, width, 3) that an image encoder gets, one a clip; all of one size."""
    (frames,), (units,) = visual.frames, visual.inputs[0].frames_UN
    return frames[units[visual.inputs[0].units_CM[:, 0]][:, 0]].numpy()


def test_training_reads_media_in_every_turn_at_their_places(model: VideoLMM):
    corpus = corpus_of(model, [])
    turns = (Turn((0, "Is ", 1, " red?"), "yes"), Turn(("And ", 0, "?"), "no"))
    sample = TrainingSample("r", "multi_image", (LEFT, RIGHT), turns, independent=False)
    row = corpus.training_row(sample, 9, np.random.default_rng(0))
    assert [one.medium for one in row.visual] == [LEFT, RIGHT, LEFT]
    assert (row.prefix.count(VIDEO_TOKEN), row.count(VIDEO_TOKEN)) == (2, 6)
    batch = corpus.collate([row])
    assert batch.clips is not None
    frames = corpus.visual.frames
    pictures = [frames.read(medium, [0])[0] for medium in (LEFT, RIGHT, LEFT)]
    assert np.array_equal(pixels(batch.clips), np.stack(pictures))
    cut = corpus.training_row(replace(sample, turns=turns[:1]), 9, np.random.default_rng(0))
    assert [one.medium for one in cut.visual] == [LEFT, RIGHT]


def test_a_split_image_path_keeps_the_places_too(model: VideoLMM):
    corpus = corpus_of(model, [])
    split = corpus.design.model_dump() | {"image_path": {"kind": "split", "tokens_per_image": 3}}
    corpus = replace(corpus, visual=replace(corpus.visual, design=Design.model_validate(split)))
    turns = (Turn((0, "Is ", 1, " in ", 2, "?"), "yes"),)
    sample = TrainingSample("r", "video", (CLIP, LEFT, CLIP), turns, independent=False)
    row = corpus.training_row(sample, 9, np.random.default_rng(0))
    assert (row.prefix.count(VIDEO_TOKEN), row.count(VIDEO_TOKEN), row.count(IMAGE_TOKEN)) == (6, 12, 3)
    batch = corpus.collate([row])
    assert batch.clips is not None
    assert batch.images is not None
    assert len(pixels(batch.clips)) == 6
    assert np.array_equal(pixels(batch.images), corpus.visual.frames.read(LEFT, [0]))


def test_data_that_the_prompts_cannot_show_are_refused_as_a_whole(model: VideoLMM):
    many = tuple(str(number) for number in range(27))
    corpus = corpus_of(model, [TestItem("t", "image", (LEFT,), (question((0, "Which?"), many),))])
    with pytest.raises(ManifestError, match="27 options"):
        corpus.check()
    record = TrainingSample("r", "text", (), (Turn(("Which?",), "3", many),), independent=False)
    with pytest.raises(ManifestError, match="27 options"):
        replace(corpus, train=[record], test=[]).check()
    replace(corpus_of(model, ITEMS, scoring="text"), train=[record]).check()


def test_the_centre_frame_and_text_alone_show_less(model: VideoLMM):
    corpus = corpus_of(model, ITEMS)
    (frame,), (text,) = (corpus.scored_rows(ITEMS[0], modality, 10**6) for modality in ("frame", "text"))
    clips = corpus.collate([frame.row]).clips
    assert clips is not None
    assert np.array_equal(pixels(clips), corpus.visual.frames.read(CLIP, [4]))
    assert not text.row.visual
    assert text.row.count(VIDEO_TOKEN) == 0
    (pair,) = corpus.scored_rows(ITEMS[1], "text", 10**6)
    assert spelled(corpus, list(pair.row.branches[0].ids)).startswith("Is  redder than ?")


# --- scores -------------------------------------------------------------------------------------


def test_shares_of_letters_show_a_position_bias():
    outcomes = pd.DataFrame(
        {"predicted": [0, 0, 0, 1], "log_likelihoods": [[0.0] * 4, [0.0] * 2, [0.0] * 3, [0.0] * 4]}
    )
    assert letter_shares(outcomes) == {"A": 0.75, "B": 0.25, "C": 0.0, "D": 0.0}


def test_scores_are_percent_per_category_and_modality():
    rows = pd.DataFrame(
        [
            {"category": c, "modality": m, "answer": 0, "predicted": p, "probability": q}
            for c, m, p, q in (
                ("ocr", "video", 0, 0.9),
                ("ocr", "video", 1, 0.3),
                ("spatial", "video", 0, 0.6),
                ("ocr", "text", 1, 0.1),
            )
        ]
    )
    by_group = {(s["benchmark"], s["category"], s["modality"]): s["score"] for s in scores(rows, "b")}
    assert by_group[("b", "overall", "video")] == pytest.approx(200 / 3)
    assert by_group[("b", "ocr", "video")] == 50
    assert by_group[("b", "spatial", "video")] == 100
    assert by_group[("b", "overall", "text")] == 0
    assert by_group[("b_prob", "overall", "video")] == pytest.approx(60)
    assert ("b_prob", "overall", "text") not in by_group
