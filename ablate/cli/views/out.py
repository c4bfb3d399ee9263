"""Output on the terminal: tables, figures, numbers, `--json`. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from ablate.errors import UsageError

if TYPE_CHECKING:
    from analysis.figures import Figure


PIPE_WIDTH = 1000  # wide enough that no line of a pipe is cut


class _Results(Console):
    """Raises BrokenPipeError where nobody reads stdout, as print does; rich itself would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class _Messages(Console):
    """Falls silent where nobody reads stderr: the command goes on."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


OUT = _Results(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)
ERR = _Messages(stderr=True, highlight=False, markup=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def print_json(data: Any) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(data, indent=1, allow_nan=False))


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """A table without borders.

    Args:
        columns: their headers.
        right: headers of the columns that are aligned to the right.
    """
    result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        result.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    return result


def save_plot(draw: Callable[[], Figure], path: Path) -> None:
    """Draw a figure and write it to a file.

    Raises:
        UsageError: the format is not supported, or the file cannot be written.
    """
    from analysis.figures import save_figure

    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--plot {path}: use .png, .pdf or .svg")
    try:
        save_figure(draw(), path)
    except OSError as error:
        raise UsageError(f"--plot {path}: {error.strerror}") from None


def short_number(count: float) -> str:
    """A count with three significant digits and a unit: 1.23M, 4.5B."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= 0.9995 * size:
            return f"{three_digits(count / size)}{unit}"
    return three_digits(count)


def three_digits(value: float) -> str:
    """Three significant digits, or all before the decimal point, with commas: 0.00472, 49.4, 1,234."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.3g}"


def clock_time(seconds: float) -> str:
    """A duration as `2:05` or `1:02:05`."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
