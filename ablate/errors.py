"""Errors meant for users. Each message names the cause and the fix; the CLI prints it without a traceback.

AblateError
  UsageError        exit code 2: the spec, an option or a file is wrong
    SpecError       ... with file and line
  InfeasibleError   exit code 3: no node has the resources that a trial requests
"""

from __future__ import annotations

import re


class AblateError(Exception):
    """Base class of all errors that are meant for users."""

    exit_code = 1


class UsageError(AblateError, ValueError):
    """Wrong usage: nothing was run, nothing was written."""

    exit_code = 2


class SpecError(UsageError):
    """A sweep spec is wrong; the message starts with `file:line: key`."""


class InfeasibleError(AblateError):
    """The requested resources do not exist here, so that waiting does not help."""

    exit_code = 3


class NoStudyError(UsageError):
    """There is no such study in a store."""


_CONTROL = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """A text of another program without what controls a terminal: colours, movements of the cursor, bells."""
    return _CONTROL.sub("", text)


def first_line(error: object) -> str:
    """The first line of an error's message, at most 300 characters; its type's name if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
