"""Answers in free text: the tokens of a plain loop over the whole forward pass, ended where the template ends them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.architecture import VideoLMM, build
from models.data import Branch, Corpus, PlacedMedia, Prompter, Row, VisualReader
from models.design import Design, Integration, Split, TrialConfig, Uniform
from models.presets import PRESETS
from models.scoring import answer, choose, question_with
from models.video import Medium, Stored

CPU = torch.device("cpu")
CLIP, IMAGE = Medium(path="v.mp4", kind="video"), Medium(path="i.png", kind="image")
QUESTION = "what is the first digit"


def model_and_corpus(*, split: bool, seed: int = 0) -> tuple[VideoLMM, Corpus]:
    changes = {
        "sampling": Uniform(kind="uniform", frames=8),
        "test_sampling": Uniform(kind="uniform", frames=4),
        "integration": Integration(separators=True, timestamps=True),
    }
    if split:
        changes["image_path"] = Split(kind="split", tokens_per_image=4)
    design = Design.model_validate(PRESETS["tiny"].design.model_copy(update=changes).model_dump())
    torch.manual_seed(seed)
    model, tokenizer = build(TrialConfig(design=design, scale="0.15M", seed=0, samples=1))
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8)
    source = Stored({"v.mp4": (0, 8), "i.png": (8, 1)}, np.append(np.arange(8) / 4, 0.0), frames)
    return model, Corpus(Prompter(tokenizer), (), (), VisualReader(design, model.encoder, source))


def plain_tokens(model: VideoLMM, corpus: Corpus, medium: Medium, number: int) -> list[int]:
    """Greedy tokens, with all that the forward pass does in each step."""
    media = PlacedMedia(corpus.visual, corpus.prompter.encode, (medium,), Uniform(kind="uniform", frames=4))
    prefix, ids = [*corpus.prompter.opening, *media(0)], list[int]()
    asked = corpus.prompter.question_ids((QUESTION,), media)
    for _ in range(number):
        text = (*asked, *ids)
        row = Row(prefix, [Branch(text, ((len(text) - 1, 0),))], tuple(media.sampled))
        with torch.inference_mode():
            ids.append(int(model(corpus.collate([row])).argmax()))
    return ids


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("medium", [CLIP, IMAGE], ids=["video", "image"])
def test_an_answer_is_that_of_the_whole_forward_pass(split: bool, medium: Medium):
    model, corpus = model_and_corpus(split=split)
    found = answer(model, corpus, CPU, medium, QUESTION, max_tokens=8)
    assert model.source
    tokenizer, end = model.source.tokenizer, corpus.prompter.end.ids[0]
    tokens = plain_tokens(model, corpus, medium, found.num_tokens)
    assert end not in tokens[:-1]
    assert found.is_complete == (tokens[-1] == end)
    assert found.text == tokenizer.decode(tokens, skip_special_tokens=True).strip()


def test_an_answer_is_cut_at_the_largest_number_of_tokens():
    model, corpus = model_and_corpus(split=False)
    whole = answer(model, corpus, CPU, CLIP, QUESTION)
    assert 1 < whole.num_tokens < 64
    assert whole.is_complete
    cut = answer(model, corpus, CPU, CLIP, QUESTION, max_tokens=whole.num_tokens - 1)
    assert (cut.is_complete, cut.num_tokens) == (False, whole.num_tokens - 1)
    assert cut.text == whole.text  # the last token only ended it


def test_the_probabilities_of_options_sum_to_one_and_follow_their_order():
    model, corpus = model_and_corpus(split=False)
    options = ("red", "blue", "green")
    forwards = choose(model, corpus, CPU, CLIP, question_with(QUESTION, options))
    backwards = choose(model, corpus, CPU, CLIP, question_with(QUESTION, options[::-1]))
    assert [one.option for one in forwards] == list(options)
    assert sum(one.probability for one in forwards) == pytest.approx(1)
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert one.probability == pytest.approx(other.probability, rel=1e-4)
