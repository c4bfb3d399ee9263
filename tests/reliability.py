"""Every promise of docs/reliability.md names a test that pytest collects; part of `make check`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path("docs/reliability.md")
HEAD = "| fault | promise | test |"
TEST = re.compile(r"`(tests/[\w/.-]+\.py::[^`]+)`")
FEWEST = 40
"""Fewer rows than the page has ever had: the tables no longer have this head."""


def rows() -> dict[str, list[str]]:
    """`fault | promise` -> ids of the tests in its row, for all tables of faults."""
    tests: dict[str, list[str]] = {}
    is_row = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        is_row = line.startswith("|") and (is_row or line == HEAD)
        if is_row and line not in (HEAD, "|---|---|---|"):
            name, _, last = line.strip("|").rpartition("|")
            tests[name.strip()] = TEST.findall(last)
    return tests


def main() -> None:
    """Exit with 1 if a row names no test, or a test that pytest does not collect."""
    tests = rows()
    if len(tests) < FEWEST:
        sys.exit(f"{PAGE}: {len(tests)} rows; expected at least {FEWEST} below {HEAD}")
    without = [fault for fault, ids in tests.items() if not ids]
    if without:
        sys.exit(f"{PAGE}: no test is named for: {'; '.join(without)}")
    ids = sorted({name for names in tests.values() for name in names})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *ids]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        missing = [line for line in (process.stdout + process.stderr).splitlines() if line.startswith("ERROR")]
        sys.exit(f"{PAGE} names tests that pytest does not collect:\n" + "\n".join(missing or [process.stdout[-2000:]]))


if __name__ == "__main__":
    main()
