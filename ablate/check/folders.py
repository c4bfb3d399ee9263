"""The data folders that a user names, directly or by a sweep spec; indexes of their manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablate.errors import UsageError
from ablate.paths import cache_root
from ablate.spec import data_folders, find_spec, load_spec
from models.data import IndexProgress, ManifestError, open_test, open_training


def folders_of(name: str) -> list[Path]:
    """The data folder of this path, or those of the sweep spec of this name.

    Raises:
        UsageError: there is neither, or the spec names no folder.
    """
    if Path(name).is_dir():
        return [Path(name).resolve()]
    spec = load_spec(find_spec(name))
    folders = data_folders(spec)
    if not folders:
        raise UsageError(
            f"{spec.source.path} has no data of kind `manifest`, so there are no media to check; name a data folder "
            "(docs/data.md) or a spec that has one"
        )
    if absent := [folder for folder in folders if not folder.is_dir()]:
        raise UsageError(f"{spec.source.path}: the data folder {absent[0]} does not exist")
    return folders


def index_manifests(folders: Sequence[Path], progress: IndexProgress) -> None:
    """Index the manifests of data folders that are not indexed yet, up to the first that is wrong.

    What is wrong with it is reported where the records are used, in the order of the checks there.
    """
    for folder in folders:
        try:
            open_training(folder, cache_root(), progress)
            open_test(folder, cache_root(), progress)
        except ManifestError:
            return
