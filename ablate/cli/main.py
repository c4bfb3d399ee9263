"""The entry point: an error of the user is one line on stderr and an exit code.

Exit codes: 0 all done, 1 something failed, 2 wrong usage or spec, 3 cannot be satisfied, 130 interrupted.
"""

from __future__ import annotations

import io
import sys

from ablate.cli.app import app
from ablate.errors import AblateError


def main() -> None:
    """Run `ablate` with the arguments of this process, and exit."""
    for stream in (sys.stdout, sys.stderr):  # characters that the terminal lacks are escaped instead of raising
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except AblateError as error:
        print(f"ablate: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `ablate ... | head`
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:  # a folder that cannot be written, a full disk
        print(f"ablate: {error}", file=sys.stderr)
        sys.exit(1)
