"""A check that the media of a manifest exist: once for each content of the manifest and each folder. No torch here."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from models.data.index import ManifestIndex, decode_medium
from models.data.manifest import check_media


def refuse_missing(index: ManifestIndex[Any], cache: Path) -> None:
    """Refuse a manifest whose media do not all exist; a manifest that was checked before is not checked again.

    Args:
        index: the manifest.
        cache: folder of reproducible files, in which the check is recorded.

    Raises:
        ManifestError: see `check_media`.
    """
    folder = index.manifest.parent
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    record = cache / "manifests" / f"{index.manifest.stem}-{index.digest[:32]}-in-{name}.present"
    if record.is_file():
        return
    check_media(folder, index.manifest, map(decode_medium, index.media()))
    record.touch()
