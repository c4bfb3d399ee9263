"""Multiple-choice questions written with letters: the options on lines of their own, then an instruction.

No torch here, since plans count this text too.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.data.manifest import ManifestError, Text, question_text

Count = TypeVar("Count", int, NDArray[np.int64])
LETTERS: tuple[str, ...] = tuple(ascii_uppercase)


def with_options(question: Text, options: Sequence[str], instruction: str) -> Text:
    """A question, then each option on its line (`A. red`), then the instruction on its line if there is one.

    Raises:
        ManifestError: there are more options than letters.
    """
    if len(options) > len(LETTERS):
        raise ManifestError(
            f"the question {question_text(question)!r} has {len(options)} options, but there are {len(LETTERS)} "
            "letters; set `data.scoring: text`, or give it fewer options"
        )
    lines = [f"{letter}. {option.strip()}" for letter, option in zip(LETTERS, options, strict=False)]
    return (*trimmed(question), "\n" + "\n".join([*lines, *([instruction] if instruction else [])]))


def letters_characters(options: Count, choices: Count, instruction: str) -> Count:
    """Characters that `with_options` adds to questions, beside the options' own.

    Args:
        options: number of options of all questions.
        choices: number of questions with options.
        instruction: the line after the options.
    """
    return options * len("\nA. ") + choices * (len("\n" + instruction) if instruction else 0)


def without_media(text: Text) -> Text:
    """A text without its media."""
    return (question_text(text),)


def trimmed(text: Text) -> Text:
    """A text with neighbouring strings joined, without empty ones and without white space at either end.

    The chat templates of Llama and Gemma remove that white space, so it is removed for every template.
    """
    joined: list[str | int] = []
    for piece in text:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    if joined and isinstance(joined[0], str):
        joined[0] = joined[0].lstrip()
    if joined and isinstance(joined[-1], str):
        joined[-1] = joined[-1].rstrip()
    return tuple(piece for piece in joined if piece != "")
