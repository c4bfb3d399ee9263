"""Sizes of modules and functions, part of `make check`: `python -m tests.sizes [--folders]`.

A module has at most 400 lines, a function at most 40 from `def` to its last line. ruff counts parameters (PLR0913).
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

MODULE_LINES, FUNCTION_LINES = 400, 40
PACKAGES = ("ablate", "models", "analysis", "benchmarks")
EXCEPTIONS: dict[str, str] = {
    "ablate/cli/commands/study.py:consistency": "a typer declaration: one parameter for each option",
    "ablate/cli/commands/promotion.py:promote": "a typer declaration: one parameter for each option",
}
"""`path` or `path:function` -> why it is longer."""


def modules() -> dict[Path, str]:
    """Path -> text of every module."""
    paths = (path for package in PACKAGES for path in sorted(Path(package).rglob("*.py")))
    return {path: path.read_text(encoding="utf-8") for path in paths}


def too_long(path: Path, text: str) -> dict[str, str]:
    """`path` or `path:function` -> what is too long about it."""
    found = {}
    if (lines := text.count("\n")) > MODULE_LINES:
        found[str(path)] = f"{lines} lines, at most {MODULE_LINES}: split it along a purpose"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                found[f"{path}:{node.name}"] = f"line {node.lineno}: {lines} lines, at most {FUNCTION_LINES}"
    return found


def folders() -> list[str]:
    """Each folder with its modules and lines."""
    counts: dict[Path, list[int]] = defaultdict(list)
    for path, text in modules().items():
        counts[path.parent].append(text.count("\n"))
    return [f"{folder!s:28} {len(lines):3} modules {sum(lines):6,} lines" for folder, lines in sorted(counts.items())]


def main() -> None:
    """Print what is too long, exit with 1 if anything is; with `--folders`, print the folders instead."""
    if "--folders" in sys.argv:
        print("\n".join(folders()))
        return
    problems = {key: why for path, text in modules().items() for key, why in too_long(path, text).items()}
    unused = [key for key in EXCEPTIONS if key not in problems]
    for key, why in problems.items():
        if key not in EXCEPTIONS:
            print(f"{key}: {why}")
    for key in unused:
        print(f"{key}: no longer too long, remove it from EXCEPTIONS in tests/sizes.py")
    sys.exit(bool(unused or problems.keys() - EXCEPTIONS.keys()))


if __name__ == "__main__":
    main()
