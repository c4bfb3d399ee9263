"""What can go wrong for a user. Each message names the place and the mend; the CLI prints it without a traceback.

AblateError
  UsageError        exit code 2: the spec, an option or a file is wrong
    SpecError       ... with file and line
  InfeasibleError   exit code 3: no node can satisfy what a trial asks for
"""

from __future__ import annotations


class AblateError(Exception):
    """Base of every error that is meant for users."""

    exit_code = 1


class UsageError(AblateError, ValueError):
    """Wrong usage: nothing was run, nothing was written."""

    exit_code = 2


class SpecError(UsageError):
    """A sweep spec is wrong; the message starts with `file:line: key`."""


class InfeasibleError(AblateError):
    """What is asked for cannot be had here, however long one waits."""

    exit_code = 3


class NoStudyError(UsageError):
    """There is no such study in a store."""
