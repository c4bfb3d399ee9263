"""Errors of weights: files that cannot be loaded, models that no card counts."""

from __future__ import annotations


class CheckpointError(ValueError):
    """A checkpoint cannot be used; says which, why, and the mend."""


class UncountedError(ValueError):
    """Nothing is known of the sizes of a part, so it cannot be priced; it may well run."""
