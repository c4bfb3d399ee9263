"""How quickly `ablate` starts, what it loads, and what a shell is offered."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from ablate.cli.app import app
from ablate.errors import UsageError

EMPTY = """
import typer
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
def command(number):
    def run() -> None:
        "Do nothing."
    run.__name__ = f"command{number}"
    return run
for number in range(%d):
    app.command(rich_help_panel=f"Panel {number %% 4}")(command(number))
app()
"""
"""A typer program of as many commands, which do nothing and take nothing."""


def seconds(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=True)
    return time.perf_counter() - began


@pytest.mark.slow  # timed, so not beside other tests
def test_help_takes_little_more_than_an_empty_typer_program(tmp_path):
    empty = tmp_path / "empty.py"
    empty.write_text(EMPTY % len(app.registered_commands))
    pairs = [(seconds(str(empty), "--help"), seconds("-m", "ablate.cli", "--help")) for _ in range(9)]
    bare, ours = (min(times) for times in zip(*pairs, strict=True))
    print(f"\nablate --help: {ours:.3f} s, {ours / bare:.2f} x an empty typer program")
    assert ours <= 1.25 * bare
    assert ours < 0.5


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (["--help"], ("torch", "transformers", "ray", "mlflow", "pandas", "scipy", "numpy", "pydantic")),
        (["plan", "sampling"], ("torch", "transformers", "ray", "mlflow", "pandas", "scipy")),
        (["plan", "apollo/resamplers"], ("torch", "transformers", "ray", "mlflow", "pandas", "scipy")),
    ],
)
def test_light_commands_load_nothing_heavy(arguments, heavy):
    code = (
        "import sys; from typer.testing import CliRunner; from ablate.cli.app import app\n"
        f"assert CliRunner().invoke(app, {arguments!r}).exit_code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_are_listed_in_groups():
    panels = [command.rich_help_panel for command in app.registered_commands]
    assert list(dict.fromkeys(panels)) == ["Run", "Read", "Decide", "Housekeeping"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["backtest", "--study", "apollo", "--to", "7B=Qwen/Qwen2.5-7B"],
        ["ls", "--metric", "apollo/overall"],
        ["ls", "--samples", "5"],
    ],
)
def test_an_option_that_would_be_ignored_is_refused(arguments):
    assert isinstance(CliRunner().invoke(app, arguments).exception, UsageError)


@pytest.mark.parametrize(("words", "offered"), [("ablate con", "consistency"), ("ablate promote --gpu", "--gpu-hours")])
def test_a_shell_completes_commands_and_options(words, offered):
    completing = os.environ | {
        "_ABLATE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    program = "import sys; sys.argv[0] = 'ablate'; from ablate.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=completing, capture_output=True, text=True)
    assert offered in done.stdout.split()
