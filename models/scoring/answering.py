"""Answers of a trained model to a question about one medium: free text by greedy decoding, or one of some options.

Both take the path of training and testing: the same prompts, sampling and forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from models.architecture import VideoLMM
from models.data import Branch, Corpus, PlacedMedia, Prompter, Question, Row, TestItem, collate
from models.encoders import Visual
from models.scoring.multiple_choice import evaluate
from models.video import Medium


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer in free text."""

    text: str
    is_complete: bool
    """Whether the model ended it; else it was cut at the largest number of tokens."""
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An option of a question."""

    option: str
    probability: float
    """Its likelihood, with those of all options normalised to a sum of 1."""


@torch.inference_mode()
def answer(
    model: VideoLMM, corpus: Corpus, device: torch.device, medium: Medium, question: str, max_tokens: int = 64
) -> Answer:
    """Answer a question by greedy decoding.

    The encoders run once; resampler and LLM run once for each token of the answer.

    Args:
        model: from `open_model`, on the device, in evaluation mode.
        corpus: how media are read and shown; its records are not used.
        device: where the model computes.
        medium: an image or a video.
        question: text.
        max_tokens: most tokens of the answer.

    Raises:
        ValueError: the model was not made by `build`.
        VideoError: the medium cannot be read.
    """
    if model.source is None:
        raise ValueError("only a model that `build` or `open_model` made has a tokenizer")
    prompter, tokenizer = corpus.prompter, model.source.tokenizer
    sampling = corpus.design.test_sampling or corpus.design.sampling
    media = PlacedMedia(corpus.visual, prompter.encode, (medium,), sampling)
    prefix = [*prompter.opening, *media(0)]
    question_ids = prompter.question_ids((question,), media)
    clips, images = _features(model, corpus, Row(prefix, [], tuple(media.sampled)), device)
    ids: list[int] = []
    while len(ids) < max_tokens:
        text = (*question_ids, *ids)
        row = Row(prefix, [Branch(text, ((len(text) - 1, 0),))], tuple(media.sampled))
        ids.append(int(model(collate([row], clips, images).to(device))[0].argmax()))
        if (text_of_answer := _ended(ids, prompter, tokenizer)) is not None:
            return Answer(text=text_of_answer, is_complete=True, num_tokens=len(ids))
    return Answer(text=_text(tokenizer, ids), is_complete=False, num_tokens=len(ids))


def _features(model: VideoLMM, corpus: Corpus, row: Row, device: torch.device) -> tuple[Visual | None, Visual | None]:
    """The features of a row's clips on the video path, and of its images on a path of their own."""
    batch = corpus.collate([row]).to(device)
    clips, images = batch.clips, batch.images
    if clips is not None:
        clips = model.encoder.encoded(range(len(model.encoder.encoders)), clips)
    if images is not None:
        assert model.image_path is not None, "only a split design has a separate image path"
        images = model.encoder.encoded(model.image_path.encoders, images)
    return clips, images


def _ended(ids: list[int], prompter: Prompter, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The answer, if its last token ends it: the first control token behind answers, the text there, or the EOS."""
    end = prompter.end
    if ids[-1] in (*end.ids[:1], tokenizer.eos_token_id):
        return _text(tokenizer, ids[:-1])
    if not end.ids and end.plain and end.plain in (text := tokenizer.decode(ids)):
        return text.partition(end.plain)[0].strip()
    return None


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()


def choose(model: VideoLMM, corpus: Corpus, device: torch.device, medium: Medium, question: Question) -> list[Choice]:
    """The options of a question about a medium, scored as in tests, in their order.

    Args:
        model: on the device.
        corpus: how media are read and questions are shown and scored; its records are not used.
        device: where the model computes.
        medium: an image or a video.
        question: see `question_with`; its answer is not used.

    Raises:
        ManifestError: two options are the same, or there are more than letters.
        VideoError: the medium cannot be read.
    """
    item = TestItem("question", medium.kind, (medium,), (question,))
    alone = replace(corpus, test=[item])
    alone.check()
    outcome = pd.concat(evaluate(model, alone, device, "video")).iloc[0]
    sums = np.array(outcome["log_likelihoods"])
    data = corpus.design.data
    if data.kind == "manifest" and data.scoring == "text" and data.reduce == "mean":
        sums = sums / np.array(outcome["num_tokens"])
    likelihoods = np.exp(sums - sums.max())
    shares = likelihoods / likelihoods.sum()
    return [Choice(option=one, probability=float(p)) for one, p in zip(question.options, shares, strict=True)]


def question_with(text: str, options: Sequence[str]) -> Question:
    """A question about one medium, which stands in front."""
    return Question("question", (0, text), tuple(options), 0, "question", "question")
