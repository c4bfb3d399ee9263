"""Options that docs/reliability.md promises exist."""

import inspect
import re
from pathlib import Path

from ablate.cli.commands.sweep import sweep


def test_options_of_sweeps_in_the_table_of_faults_exist():
    text = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text()
    named = {name.replace("-", "_") for name in re.findall(r"`--([a-z-]+)", text)}
    assert named
    assert named <= set(inspect.signature(sweep).parameters)
