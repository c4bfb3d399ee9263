"""An attempt whose out/ exists, as a program finds it."""

from __future__ import annotations

import pytest

from tests.ablate.run.program import programs


@pytest.fixture
def attempt(tmp_path):
    return programs.attempt(tmp_path / "trial")
