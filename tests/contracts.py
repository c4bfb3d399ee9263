"""A contract for import-linter: a folder is reached through its face."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


class FacesContract(Contract):
    """Modules of a folder are imported by that folder; all others import the folder itself.

    What a folder offers stands in its `__init__.pyi`; a module that is listed there as a whole (`from . import x`) may
    be imported from outside. The top-level packages are no folders in this sense.
    """

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Collect the imports that pass a face by."""
        trespasses = []
        for importer in sorted(graph.modules):
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                face = self._face_passed_by(importer, imported, graph)
                if face is not None:
                    trespasses.append(f"{importer} imports {imported}: import it from {face}, and list it in its face")
        return ContractCheck(kept=not trespasses, metadata={"trespasses": trespasses})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line for each import."""
        for trespass in check.metadata["trespasses"]:
            output.print_error(trespass)

    @staticmethod
    def _face_passed_by(importer: str, imported: str, graph: ImportGraph) -> str | None:
        """The outermost folder that holds the imported module and not the importer, unless it offers that module."""
        pieces = imported.split(".")
        for depth in range(2, len(pieces)):
            folder = ".".join(pieces[:depth])
            if importer != folder and not importer.startswith(f"{folder}."):
                is_offered = depth == len(pieces) - 1 and pieces[-1] in _modules_offered(folder)
                return None if is_offered or folder not in graph.modules else folder
        return None


def _modules_offered(folder: str) -> set[str]:
    """Modules that a face lists as a whole."""
    spec = find_spec(folder)
    assert spec is not None
    assert spec.origin is not None
    stub = Path(spec.origin).with_suffix(".pyi")
    lines = ast.parse(stub.read_text(encoding="utf-8")).body if stub.exists() else []
    return {name.name for line in lines if isinstance(line, ast.ImportFrom) and not line.module for name in line.names}
