"""One MLflow store for the tests of a module, since creating one takes seconds; each test has its own study."""

from __future__ import annotations

from itertools import count

import pytest

from ablate.paths import StudyPaths

_names = count()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def uri(root):
    return f"sqlite:///{root / 'mlflow.db'}"


@pytest.fixture
def paths(root, monkeypatch):
    """A new study in the shared store."""
    monkeypatch.setenv("ABLATE_RUNS", str(root))
    return StudyPaths(name=f"study{next(_names)}", root=root)
