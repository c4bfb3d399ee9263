"""What import-linter cannot see: faces that resolve, and modules that load no torch in a fresh process."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FACES = sorted(path for top in ("ablate", "models", "analysis") for path in (ROOT / top).rglob("__init__.pyi"))
TORCH_FREE = (
    "models/design/*.py",
    "models/families.py",
    "models/presets.py",
    "models/ladder.py",
    "models/cards/*.py",
    "models/costs/*.py",
    "models/weights/locations.py",
    "models/data/manifest/*.py",
    "models/weights/digests.py",
    "models/data/content.py",
    "models/data/layouts.py",
    "models/data/mixing.py",
    "models/data/packing.py",
    "models/data/index.py",
    "models/data/json_stream.py",
    "models/data/letters.py",
    "models/data/media_check.py",
    "models/data/media_facts.py",
    "models/data/presence.py",
    "models/data/skipping.py",
    "models/video/sampling.py",
    "models/video/grids.py",
)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("stub", FACES, ids=dotted)
def test_every_name_of_a_face_is_there_and_is_no_module_by_accident(stub):
    """A function named like its module would be hidden by the module once a sibling has imported that."""
    face = import_module(dotted(stub))
    assert face.__doc__, f"{dotted(stub)} does not say what it is"
    for line in ast.parse(stub.read_text(encoding="utf-8")).body:
        assert isinstance(line, ast.ImportFrom)
        for name in line.names:
            assert hasattr(face, name.name), f"{dotted(stub)} offers {name.name}, which does not exist"
            if line.module:
                assert not (stub.parent / f"{name.name}.py").exists(), f"{name.name} is also a module of {dotted(stub)}"


@pytest.mark.parametrize(
    "folder", ["ablate/spec", "ablate/record", "ablate/check", "ablate/plan", "ablate/imports", "analysis/consistency"]
)
def test_the_orchestrator_plans_without_torch(folder):
    """import-linter sees no chain that passes a lazy face, so the modules are imported."""
    modules = ", ".join(dotted(path) for path in sorted((ROOT / folder).glob("*.py")))
    heavy = {"torch", "transformers", "decord", "ray", "mlflow"}
    code = f"import sys, {modules}; assert not {heavy!r} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_worker_loads_neither_plans_nor_tracking():
    """What a trial's process imports before it has a job: its start is paid by every worker."""
    code = (
        "import sys, ablate.run.worker.trial, ablate.run.worker.video_lmm\n"
        "heavy = ('ablate.plan', 'ablate.spec', 'ablate.tracking', 'ablate.study', 'ablate.cli', 'ruamel', 'mlflow')\n"
        "assert not {name for name in sys.modules if name.startswith(heavy)}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", sorted(p for glob in TORCH_FREE for p in ROOT.glob(glob)), ids=dotted)
def test_planning_loads_no_torch(path):
    code = f"import sys, {dotted(path)}; assert not {{'torch', 'transformers', 'decord'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
