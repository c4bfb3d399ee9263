"""Errors of weights: files that cannot be loaded, models without a card; and how both are put into one sentence."""

from __future__ import annotations

from collections.abc import Sequence


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message names the checkpoint, the reason and the fix."""


class UncountedError(ValueError):
    """The sizes of a part are unknown, so it cannot be priced; it may well run."""


def first_line(error: Exception) -> str:
    """The first line of an error's message without its final point; the name of its type where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .:") if lines else type(error).__name__


def abbreviated(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile put before all names."""


def misfit(*, missing: Sequence[str], mismatched: Sequence[str], unexpected: Sequence[str]) -> str | None:
    """What is wrong with the tensors of a file, after "the file ..."; None if nothing is.

    Args:
        missing: names of the model that the file lacks.
        mismatched: names with both shapes, where they differ.
        unexpected: names of the file that the model does not have.
    """
    if missing and unexpected:
        wrapper = next((one for one in WRAPPERS if all(name.startswith(one) for name in unexpected)), None)
        fix = f"; save it without {wrapper!r} before its names" if wrapper else ""
        return f"lacks {abbreviated(missing)}, and has {abbreviated(unexpected)} instead{fix}"
    for what, names in (
        ("lacks", missing),
        ("has another shape for", mismatched),
        ("also holds", unexpected),
    ):
        if names:
            return f"{what} {abbreviated(names)}"
    return None
