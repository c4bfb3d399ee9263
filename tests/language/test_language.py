"""Plain technical English: phrases and variable names that are not used.

Single words are in words.txt, for codespell.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = sorted(path for top in ("ablate", "models", "analysis", "benchmarks") for path in (ROOT / top).rglob("*.py"))
TEXTS = [
    *PYTHON,
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "sweeps").rglob("*.yaml")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml")),
]
PHRASES = {
    r"\bbut for\b": "except for",
    r"\bthe prior's word\b": "assumed from the prior",
    r"\bno number any more\b": "NaN or infinite",
    r"\bas ever\b": "as always",
    r"\bwhat is known of the transfer\b": "transfer model",
    r"\bwho is (in|out|promoted)\b": "which designs are ...",
    r"\bthat the (data|study|scores?) (has|have) not\b": "the data contain no ...",
    r"\bas it is\b": "unchanged",
    r"\bfiles? of others\b": "files of other programs",
}
"""Pattern -> what to write."""
PARTICIPLES = re.compile(
    "told|said|held|kept|given|known|wanted|shown|seen|asked|answered|tested|taken|found|made",
)
"""Names that do not say what a value is."""


def variables(tree: ast.AST) -> set[tuple[str, int]]:
    """Names that a module binds: variables, parameters, attributes of self."""
    bound = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add((name.strip("_"), node.lineno))
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                bound.add((name.strip("_"), node.lineno))
    return bound


def docstrings(tree: ast.AST) -> list[tuple[str, int]]:
    """Every string that stands alone as a statement: of modules, classes, functions and fields."""
    return [
        (node.value.value, node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [path for path in TEXTS if path.exists()], ids=relative)
def test_no_phrase_of_our_own_making(path):
    text = path.read_text(encoding="utf-8")
    hits = [
        f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]!r}: write {better!r}"
        for pattern, better in PHRASES.items()
        for hit in re.finditer(pattern, text, re.IGNORECASE)
    ]
    assert not hits, "\n".join(hits)


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_variables_are_nouns(path):
    hits = [
        f"{path}:{line}: {name}" for name, line in variables(ast.parse(path.read_text())) if PARTICIPLES.fullmatch(name)
    ]
    assert not hits, "name what the value is:\n" + "\n".join(sorted(hits))


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_docstrings_are_whole_phrases(path):
    hits = [
        f"{path}:{line}: {text[:60]!r}"
        for text, line in docstrings(ast.parse(path.read_text()))
        if text.startswith("Of ")
    ]
    assert not hits, "write what it is, 'Learning rate of the encoders.':\n" + "\n".join(hits)
