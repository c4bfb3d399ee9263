"""The entry point: an error of the user is one line on stderr and an exit code.

Exit codes: 0 all done, 1 something failed, 2 wrong usage or spec, 3 cannot be satisfied, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress

from ablate.cli.app import app
from ablate.errors import AblateError


def main() -> None:
    """Run `ablate` with the arguments of this process, and exit."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 - closed by the caller: `ablate ... >&-`
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # characters that the terminal lacks are escaped instead of raising
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except AblateError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except OSError as error:  # a folder that cannot be written, a full disk
        _complain(error)
        sys.exit(1)
    finally:
        _flush()


def _complain(error: Exception) -> None:
    with suppress(OSError):  # the terminal was closed
        print(f"ablate: {error}", file=sys.stderr)


def _flush() -> None:
    """Write what is buffered; where nobody reads it, let Python find nothing to write when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # `ablate ... | head`, a closed terminal, a full disk
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
