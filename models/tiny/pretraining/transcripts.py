"""Batches of symbolic transcripts for the LLMs' text stage, in the shape of a trial's video input.

A transcript is `<user>`, then a group of tokens for each sampled frame; all questions of a scene
follow it as branches that see the transcript and themselves only, their positions starting behind it.
In most batches a group's words are squeezed into fewer tokens, each the normalised sum of several
words' embeddings, as a resampler's few tokens must carry several things each.
Legend: `B` scene, `L` place, `T` frame, `S` slot, `R` token of a frame, `K` target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.tiny.world import (
    FPS,
    LONGEST_S,
    Scene,
    WorldSplit,
    generator,
    image_turns,
    make_scene,
    read_slots,
    stepping_stones,
    video_questions,
    words,
)

Ints = NDArray[np.int64]

IDS = {word: i for i, word in enumerate(words.vocabulary())}
_WIDEST = max(len(slot.words) for slot in words.SLOTS)
SLOT_IDS = np.array([[IDS[w] for w in slot.words] + [0] * (_WIDEST - len(slot.words)) for slot in words.SLOTS])
"""Token id of each slot's words: (S, widest slot), 0 where a slot has fewer."""

EASY = ("first_digit", "last_digit", "still_place", "shape_color", "color_shape")
"""Tasks that are learnt first, so that later steps are better spent on the others."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a batch's scenes become tokens."""

    frames: int = 0
    """Frames spread evenly over the video; 0: a constant rate instead."""
    fps: float = 0.0
    tokens: int = 2
    """Tokens of a frame; as many as there are slots means plain words."""
    separators: bool = False
    timestamps: bool = False
    image: bool = False
    """One frame alone, with an image's questions."""
    longest_s: float = LONGEST_S
    easy: float = 1.0
    """Chance that a question of `EASY` is asked."""
    stones: float = 0.0
    """Chance that a stepping stone is asked."""


def draw_form(rng: np.random.Generator, progress: float) -> Form:
    """Draw a form: single frames first, then short videos, then all samplings, densities, integrations.

    Args:
        rng: Where chance comes from.
        progress: Share of the training that is done. Lookup in one frame must be learnt before order
            over many can be: without this curriculum a 0.15M decoder stayed at chance (measured).
    """
    plain = len(words.SLOTS)
    tokens = 4 if progress < 0.12 else int(rng.choice([2, 4, plain], p=[0.55, 0.3, 0.15]))
    separators = bool(rng.random() < 0.5)
    if rng.random() < (1.0 if progress < 0.2 else 0.15):
        return Form(frames=1, tokens=tokens, separators=separators, image=True)
    if progress < 0.45:  # short and dense, so that the frames show all that is asked
        return Form(fps=4.0, tokens=tokens, separators=separators, longest_s=3.0, easy=0.4, stones=0.4)
    timestamps = bool(rng.random() < 0.15)
    short = timestamps or tokens > 4
    if rng.random() < 0.5:
        fps = float(rng.choice([1, 2] if short else [1, 2, 4]))
        return Form(fps=fps, tokens=tokens, separators=separators, timestamps=timestamps, easy=0.4, stones=0.2)
    frames = int(rng.integers(4, 13 if short else 33))
    return Form(frames=frames, tokens=tokens, separators=separators, timestamps=timestamps, easy=0.4, stones=0.2)


@dataclass(frozen=True)
class Asked:
    """One scene under one form: what its frames show and what is asked."""

    slots_TS: Ints
    spans_s: NDArray[np.float64]
    """Begin and end of the time that each frame stands for: (T, 2)."""
    turns: list[tuple[str, str]]
    """Those of `tasks` first, then stepping stones."""
    tasks: list[str]
    pools: list[tuple[str, ...]]


def ask(scene: Scene, form: Form, rng: np.random.Generator) -> Asked:
    """Sample a scene's frames as models/video/sampling.py does, and ask everything about it."""
    if form.image:
        time_s = float(rng.uniform(0, scene.duration_s))
        turns = image_turns(scene, time_s)
        slots = read_slots(scene, np.array([time_s]))
        return Asked(slots, np.zeros((1, 2)), turns, ["image"] * len(turns), [()] * len(turns))
    num = form.frames or max(1, int(scene.duration_s * form.fps + 0.5))
    step = scene.duration_s / num if form.frames else 1 / form.fps
    instants = np.minimum((np.arange(num) + 0.5) * step, scene.duration_s - 1 / FPS)
    slots = read_slots(scene, np.floor(instants * FPS) / FPS)
    starts = np.arange(num) * step
    questions = [q for q in video_questions(scene, rng) if q.task not in EASY or rng.random() < form.easy]
    stones = [turn for turn in stepping_stones(scene, slots) if rng.random() < form.stones]
    return Asked(
        slots,
        np.stack([starts, np.minimum(starts + step, scene.duration_s)], axis=1),
        [*((question.text, question.answer) for question in questions), *stones],
        [question.task for question in questions],
        [question.pool for question in questions],
    )


@dataclass(frozen=True)
class TextBatch:
    """Sequences padded to one length."""

    ids_BL: torch.Tensor
    """Token ids; 0 where a frame's token or padding stands."""
    bags_BTS: torch.Tensor
    """Token ids of each frame's words."""
    carries_RS: torch.Tensor
    """1 where a frame's token carries a slot."""
    frame_at_N: torch.Tensor
    """Flat places (b * L + l) of frames' tokens, in the order of (B, T, R) where a frame is real."""
    real_BT: torch.Tensor
    positions_BL: torch.Tensor
    sees_B1LL: torch.Tensor
    """True where a token may attend to another."""
    target_at_K: torch.Tensor
    """Flat places whose output predicts each target."""
    targets_K: torch.Tensor
    answer_at_Q: torch.Tensor
    """Flat places that predict an answer's first word, in the order of scenes and questions."""


def _frame_block(form: Form, span_s: NDArray[np.float64]) -> list[int]:
    """Tokens of one frame's group, -1 where its own tokens stand."""
    ids: list[int] = []
    if form.timestamps and not form.image:
        first, last = (f"{int(s) // 60:02d}:{int(s) % 60:02d}" for s in span_s)
        ids += [IDS["clip"], IDS["from"], *(IDS[c] for c in f"{first}-{last}:")]
    middle = [-1] * form.tokens
    return ids + ([IDS[words.CLIP_START], *middle, IDS[words.CLIP_END]] if form.separators else middle)


def _lay_out(form: Form, asked: Asked) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    """Ids, branch of each (0: transcript), positions, places of predictors, and of answers' predictors."""
    ids = [IDS[words.USER], *(i for span in asked.spans_s for i in _frame_block(form, span))]
    length = len(ids)
    branches, positions = [0] * length, list(range(length))
    predictors: list[int] = []
    answers: list[int] = []
    for branch, (question, answer) in enumerate(asked.turns, start=1):
        before = [*(IDS[w] for w in question.split()), IDS[words.ASSISTANT]]
        said = [*(IDS[w] for w in answer.split()), IDS[words.EOS]]
        begin = len(ids) + len(before) - 1
        answers.append(begin)
        predictors += range(begin, begin + len(said))
        positions += range(length, length + len(before) + len(said))
        branches += [branch] * (len(before) + len(said))
        ids += before + said
    return ids, branches, positions, predictors, answers


def carried(form: Form) -> NDArray[np.float32]:
    """Which token of a frame carries which slot: (R, S), each slot once, in the order of `words.SLOTS`."""
    if form.tokens == len(words.SLOTS):
        return np.eye(form.tokens, dtype=np.float32)
    owner = np.empty(len(words.SLOTS), dtype=int)
    for i, slots in enumerate(words.THINGS):
        owner[list(slots)] = i % form.tokens
    return (owner == np.arange(form.tokens)[:, None]).astype(np.float32)


def collate(form: Form, batch: list[Asked]) -> TextBatch:
    """Pad scenes of one form to one batch."""
    rows = [_lay_out(form, asked) for asked in batch]
    length, frames = max(len(row[0]) for row in rows), max(len(asked.slots_TS) for asked in batch)
    ids = np.zeros((len(batch), length), dtype=np.int64)
    branches, positions = np.full_like(ids, -1), np.zeros_like(ids)
    bags = np.zeros((len(batch), frames, len(words.SLOTS)), dtype=np.int64)
    real = np.zeros((len(batch), frames), dtype=bool)
    for b, ((row, branch, position, _, _), asked) in enumerate(zip(rows, batch, strict=True)):
        ids[b, : len(row)], branches[b, : len(row)], positions[b, : len(row)] = row, branch, position
        num = len(asked.slots_TS)
        bags[b, :num] = SLOT_IDS[np.arange(len(words.SLOTS)), asked.slots_TS]
        real[b, :num] = True
    same = (branches[:, :, None] == branches[:, None]) | (branches[:, None] == 0)
    sees = np.tril(np.ones((length, length), dtype=bool)) & same
    target_at = np.concatenate([np.array(row[3]) + b * length for b, row in enumerate(rows)])
    answer_at = np.concatenate([np.array(row[4]) + b * length for b, row in enumerate(rows)])
    return TextBatch(
        ids_BL=torch.from_numpy(np.maximum(ids, 0)),
        bags_BTS=torch.from_numpy(bags),
        carries_RS=torch.from_numpy(carried(form)),
        frame_at_N=torch.from_numpy(np.flatnonzero(ids == -1)),
        real_BT=torch.from_numpy(real),
        positions_BL=torch.from_numpy(positions),
        sees_B1LL=torch.from_numpy(sees[:, None]),
        target_at_K=torch.from_numpy(target_at),
        targets_K=torch.from_numpy(ids.reshape(-1)[target_at + 1]),
        answer_at_Q=torch.from_numpy(answer_at),
    )


def draw_scenes(form: Form, split: WorldSplit, first: int, num: int) -> list[Asked]:
    """Scenes `first` to `first + num` of a split, asked about under one form."""
    made = []
    for i in range(first, first + num):
        rng = generator(1, split, i)
        made.append(ask(make_scene(rng, form.longest_s), form, rng))
    return made
