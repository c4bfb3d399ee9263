"""A check that the media of a manifest exist: once for each content of the manifest and each folder. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.data.content import path_digest
from models.data.index import ManifestIndex, decode_medium
from models.data.manifest import ManifestError
from models.video import Medium


def refuse_missing(index: ManifestIndex[Any], cache: Path) -> None:
    """Refuse a manifest whose media do not all exist; a manifest that was checked before is not checked again.

    Args:
        index: the manifest.
        cache: folder of reproducible files, in which the check is recorded.

    Raises:
        ManifestError: the message has the number of missing media and the first of them.
    """
    folder = index.manifest.parent
    record = cache / "manifests" / f"{index.manifest.stem}-{index.digest[:32]}-in-{path_digest(folder)}.present"
    if record.is_file():
        return
    _check_media(folder, index.manifest, map(decode_medium, index.media()))
    record.touch()


def _check_media(folder: Path, file: Path, media: Iterable[Medium]) -> None:
    """Check that media exist: folders of frames are folders, all others are files.

    Args:
        folder: the data folder.
        file: the manifest, for messages.
        media: the media that it names.

    Raises:
        ManifestError: the message has the number of missing media and the first of them.
    """
    distinct = dict.fromkeys(media)
    missing = [medium for medium in distinct if not _exists(folder, file, medium)]
    if missing:
        raise ManifestError(
            f"{file}: {len(missing)} of {len(distinct)} media files are missing below {folder}, "
            f"first {missing[0].path}; paths are relative to the data folder"
        )


def _exists(folder: Path, file: Path, medium: Medium) -> bool:
    path = folder / medium.path
    try:
        if not path.is_dir():
            return path.is_file()
    except OSError:  # a name that the file system does not allow, such as one that is too long
        return False
    if medium.kind == "image":
        raise ManifestError(f"{file}: image {medium.path} is a folder; name its pictures, or give it as a `video`")
    if medium.fps is None:
        raise ManifestError(
            f"{file}: video {medium.path} is a folder: give the frames per second of its pictures as `fps`"
        )
    return True
