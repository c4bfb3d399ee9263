"""Docs cannot rot: links lead somewhere, and the commands and options that are shown exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from ablate.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = get_command(app).commands
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
CALL = re.compile(r"ablate ([a-z]+)((?: [^`\n|#()]*)?)")
OF_OTHERS = {"--nproc-per-node", "--a_b", "--output_dir", "--output_path", "--seed", "--studies", "--train"}
"""Options in code that are not ours: of training programs, of benchmarks, of earlier versions."""
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+)")


def anchors(path: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}: {sorted(anchors(target))}"


@pytest.mark.parametrize("page", [page for page in DOCS if page.name != "CHANGELOG.md"], ids=lambda path: path.name)
def test_commands_and_options_exist(page):
    for name, rest in CALL.findall(page.read_text(encoding="utf-8")):
        if name not in COMMANDS:
            continue  # prose: "ablate is ..."
        options = {
            option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        unknown = set(OPTION.findall(rest)) - options - {"--help"}
        assert not unknown, f"{page.name}: ablate {name} has no {', '.join(sorted(unknown))}"


@pytest.mark.parametrize("page", DOCS, ids=lambda path: path.name)
def test_options_without_a_command_are_those_of_some_command(page):
    ours = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    shown = set(re.findall(r"`(--[a-z][\w-]+)", page.read_text(encoding="utf-8")))
    assert shown <= ours | OF_OTHERS, f"{page.name}: no command has {', '.join(sorted(shown - ours - OF_OTHERS))}"


def test_every_command_is_in_the_readme_and_has_help():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        assert command.help
        assert f"ablate {name}" in readme
