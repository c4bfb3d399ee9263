"""Where weights lie: shipped parts of the embedded study, local folders, hub ids."""

from __future__ import annotations

from models.tiny.sizes import PARTS as TINY_PARTS

PARTS_VERSION = 2
"""Raised when the shipped parts are trained anew: it stands in the configs that name them, so in keys."""


def locate(weights: str) -> str:
    """A path that transformers' `from_pretrained` reads: `tiny/NAME@VERSION` is a shipped part, a folder is
    itself, anything else is taken for a hub id.

    Raises:
        FileNotFoundError: no such shipped part, or not in this version.
    """
    if not weights.startswith("tiny/"):
        return weights
    name, _, version = weights.removeprefix("tiny/").partition("@")
    folder = TINY_PARTS / name
    if not folder.is_dir():
        known = ", ".join(sorted(p.name for p in TINY_PARTS.iterdir() if p.is_dir()))
        raise FileNotFoundError(f"no shipped part {name!r}; there are: {known}")
    if version != str(PARTS_VERSION):
        raise FileNotFoundError(
            f"{weights}: the shipped parts are version {PARTS_VERSION}; write {name}@{PARTS_VERSION}"
        )
    return str(folder)


def locate_tokenizer(weights: str) -> str:
    """Where the tokenizer of these LLM weights lies: the shipped LLMs share one."""
    return str(TINY_PARTS / "tokenizer") if weights.startswith("tiny/") else weights
