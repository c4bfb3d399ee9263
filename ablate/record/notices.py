"""Damage that is no reason to stop is logged: without a handler Python writes the lines to stderr."""

from __future__ import annotations

import logging
from functools import cache

from ablate.record.files import RecordError

_log = logging.getLogger(__name__)


def report_damage(error: RecordError) -> None:
    """Log that a damaged file or folder is left out, once in this process: commands read a study several times."""
    _report(str(error))


@cache
def _report(message: str) -> None:
    _log.warning("note: %s; it is left out until then", message)
