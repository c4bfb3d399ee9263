"""Batches of symbolic transcripts for the pre-training of LLMs, with the structure of a trial's video input.

A transcript is `<user>`, then a group of tokens for each sampled frame. All questions about a scene follow it as
branches that attend only to the transcript and to themselves, with positions that start behind the transcript. In most
batches the words of a group are combined in fewer tokens, each the normalised sum of several words' embeddings, as each
token of a resampler must carry several attributes.

Legend: `B` scene, `L` position, `T` frame, `S` slot, `R` token of a frame, `N` such tokens of a batch, `K` target, `Q`
question.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.data import VIDEO_TOKEN, Batch, Branch, Row, collate, timestamp
from models.tiny.world import (
    FPS,
    LONGEST_S,
    Scene,
    WorldSplit,
    auxiliary_turns,
    generator,
    image_turns,
    make_scene,
    read_slots,
    video_questions,
    words,
)

Ints = NDArray[np.int64]

IDS = {word: i for i, word in enumerate(words.vocabulary())}
_WIDEST = max(len(slot.words) for slot in words.SLOTS)
SLOT_IDS = np.array([[IDS[w] for w in slot.words] + [0] * (_WIDEST - len(slot.words)) for slot in words.SLOTS])
"""Token ids of each slot's words, padded with 0: (S, words of the largest slot)."""

EASY = ("first_digit", "last_digit", "still_place", "shape_color", "color_shape")
"""Tasks that are learned first; later steps are better used for the others."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How the scenes of a batch are converted to tokens."""

    frames: int = 0
    """Number of evenly spaced frames; 0: a constant rate instead."""
    fps: float = 0.0
    """Frames per second, if `frames` is 0."""
    tokens: int = 2
    """Number of tokens of a frame; with as many tokens as slots each token is a plain word."""
    separators: bool = False
    """Whether the tokens of a frame are enclosed by `<vid_start>` and `<vid_end>`."""
    timestamps: bool = False
    """Whether the start and end of its time precede the tokens of a frame."""
    image: bool = False
    """A single frame, with the questions of an image."""
    longest_s: float = LONGEST_S
    """Longest duration of a scene in s."""
    easy: float = 1.0
    """Probability of each question of a task in `EASY`."""
    auxiliary: float = 0.0
    """Probability of each auxiliary question."""


def draw_form(rng: np.random.Generator, progress: float) -> Form:
    """Draw a form: single frames first, then short videos, then all samplings, densities, integrations.

    Args:
        rng: source of randomness.
        progress: share of the training steps so far. Lookup in one frame must be learned before the order of several
            frames: without this curriculum a 0.15M decoder stayed at chance (measured).
    """
    plain = len(words.SLOTS)
    tokens = 4 if progress < 0.12 else int(rng.choice([2, 4, plain], p=[0.55, 0.3, 0.15]))
    separators = bool(rng.random() < 0.5)
    if rng.random() < (1.0 if progress < 0.2 else 0.15):
        return Form(frames=1, tokens=tokens, separators=separators, image=True)
    if progress < 0.45:  # short and dense, so that the frames show all answers
        return Form(fps=4.0, tokens=tokens, separators=separators, longest_s=3.0, easy=0.4, auxiliary=0.4)
    timestamps = bool(rng.random() < 0.15)
    short = timestamps or tokens > 4
    if rng.random() < 0.5:
        fps = float(rng.choice([1, 2] if short else [1, 2, 4]))
        return Form(fps=fps, tokens=tokens, separators=separators, timestamps=timestamps, easy=0.4, auxiliary=0.2)
    frames = int(rng.integers(4, 13 if short else 33))
    return Form(frames=frames, tokens=tokens, separators=separators, timestamps=timestamps, easy=0.4, auxiliary=0.2)


@dataclass(frozen=True)
class TextSample:
    """One scene under one form: the content of its frames, and questions about it."""

    slots_TS: Ints
    spans_s: NDArray[np.float64]
    """Start and end of each frame's span of time: (T, 2)."""
    turns: list[tuple[str, str]]
    """Questions and answers: those of `tasks` first, then auxiliary ones."""
    tasks: list[str]
    pools: list[tuple[str, ...]]


def make_sample(scene: Scene, form: Form, rng: np.random.Generator) -> TextSample:
    """Sample the frames of a scene, as models/video/sampling.py does, and draw questions about it."""
    if form.image:
        time_s = float(rng.uniform(0, scene.duration_s))
        turns = image_turns(scene, time_s)
        slots = read_slots(scene, np.array([time_s]))
        return TextSample(slots, np.zeros((1, 2)), turns, ["image"] * len(turns), [()] * len(turns))
    num = form.frames or max(1, int(scene.duration_s * form.fps + 0.5))
    step = scene.duration_s / num if form.frames else 1 / form.fps
    instants = np.minimum((np.arange(num) + 0.5) * step, scene.duration_s - 1 / FPS)
    slots = read_slots(scene, np.floor(instants * FPS) / FPS)
    starts = np.arange(num) * step
    questions = [q for q in video_questions(scene, rng) if q.task not in EASY or rng.random() < form.easy]
    auxiliary = [turn for turn in auxiliary_turns(scene, slots) if rng.random() < form.auxiliary]
    return TextSample(
        slots,
        np.stack([starts, np.minimum(starts + step, scene.duration_s)], axis=1),
        [*((question.text, question.answer) for question in questions), *auxiliary],
        [question.task for question in questions],
        [question.pool for question in questions],
    )


@dataclass(frozen=True)
class TextBatch:
    """A batch in which the visual tokens of frames are symbolic."""

    text: Batch
    """Token ids, positions, attention mask and targets; without clips."""
    bags_BTS: torch.Tensor
    """Token ids of each frame's words."""
    carries_RS: torch.Tensor
    """1 where a frame's token carries a slot."""
    frame_at_N: torch.Tensor
    """Flat positions (b * L + l) of frames' tokens, in the order of (B, T, R) without padded frames."""
    real_BT: torch.Tensor
    """False for padded frames."""
    answer_at_Q: torch.Tensor
    """Flat positions that predict the first word of each answer, in the order of scenes and questions."""


def _frame_block(form: Form, span_s: NDArray[np.float64]) -> list[int]:
    """Token ids of one frame's group, `VIDEO_TOKEN` for its visual tokens."""
    ids: list[int] = []
    if form.timestamps and not form.image:
        start, end = (timestamp(s) for s in span_s)
        ids += [IDS["clip"], IDS["from"], *(IDS[c] for c in f"{start}-{end}:")]
    visual = [VIDEO_TOKEN] * form.tokens
    return ids + ([IDS[words.CLIP_START], *visual, IDS[words.CLIP_END]] if form.separators else visual)


def _row(form: Form, sample: TextSample) -> Row:
    """The transcript as the prefix, and a branch for each question."""
    prefix = [IDS[words.USER], *(i for span in sample.spans_s for i in _frame_block(form, span))]
    return Row(prefix, [_branch(question, answer) for question, answer in sample.turns])


def _branch(question: str, answer: str) -> Branch:
    question_ids = [*(IDS[w] for w in question.split()), IDS[words.ASSISTANT]]
    answer_ids = [*(IDS[w] for w in answer.split()), IDS[words.EOS]]
    first = len(question_ids) - 1
    return Branch((*question_ids, *answer_ids), tuple((first + i, token) for i, token in enumerate(answer_ids)))


def carried(form: Form) -> NDArray[np.float32]:
    """1 where a token of a frame carries a slot: (R, S), with each slot in one token."""
    if form.tokens == len(words.SLOTS):
        return np.eye(form.tokens, dtype=np.float32)
    owner = np.empty(len(words.SLOTS), dtype=int)
    for i, slots in enumerate(words.THINGS):
        owner[list(slots)] = i % form.tokens
    return (owner == np.arange(form.tokens)[:, None]).astype(np.float32)


def collate_samples(form: Form, samples: list[TextSample]) -> TextBatch:
    """Pad samples of one form to one batch."""
    rows = [_row(form, sample) for sample in samples]
    text = collate(rows)
    frames = max(len(sample.slots_TS) for sample in samples)
    bags = np.zeros((len(samples), frames, len(words.SLOTS)), dtype=np.int64)
    real = np.zeros((len(samples), frames), dtype=bool)
    for b, sample in enumerate(samples):
        num = len(sample.slots_TS)
        bags[b, :num] = SLOT_IDS[np.arange(len(words.SLOTS)), sample.slots_TS]
        real[b, :num] = True
    lengths = [len(branch.targets) for row in rows for branch in row.branches]
    return TextBatch(
        text=text,
        bags_BTS=torch.from_numpy(bags),
        carries_RS=torch.from_numpy(carried(form)),
        frame_at_N=text.is_video_BL.flatten().nonzero().flatten(),
        real_BT=torch.from_numpy(real),
        answer_at_Q=text.target_at_K[np.cumsum(lengths) - lengths],
    )


def draw_samples(form: Form, split: WorldSplit, first: int, num: int) -> list[TextSample]:
    """Samples of scenes `first` to `first + num` of a split, under one form."""
    samples = []
    for i in range(first, first + num):
        rng = generator(1, split, i)
        samples.append(make_sample(make_scene(rng, form.longest_s), form, rng))
    return samples
