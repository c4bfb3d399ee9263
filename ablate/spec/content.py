"""What the data and the folders of weights of a design contain: digests, which enter keys instead of paths.

Digests are filled in when a spec is expanded, and are no part of what people read or write: labels, values of axes,
conditions of exclusions, and specs that are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.errors import SpecError
from ablate.paths import cache_root
from ablate.spec.source import Source
from models.data import ManifestError, data_digest, skipped_digest
from models.design import CustomEncoder, Design, Encoder, ManifestData
from models.weights import combined_digest, encoder_files, is_folder_of_user, llm_files


def with_digests(design: Design, source: Source) -> Design:
    """A design with the digests of its data and of its folders of weights, and the data's absolute folder.

    Args:
        design: as its spec gives it; the data's folder is relative to the spec's file.
        source: the spec's file.

    Raises:
        SpecError: a file is missing or cannot be read.
    """
    encoders = tuple(_with_digest(encoder, source) for encoder in design.encoders)
    design = design.model_copy(update={"encoders": encoders})
    if not isinstance(design.data, ManifestData):
        return design
    folder = (source.path.parent / design.data.folder).resolve()
    try:
        resolved = {
            "folder": str(folder),
            "digest": data_digest(folder, cache_root()),
            "skipped": _skipped(design.data, folder, source),
        }
    except FileNotFoundError as error:
        name = Path(error.filename).name
        raise source.error((), f"data folder {folder} has no {name}; docs/data.md describes the files") from None
    except ManifestError as error:
        raise source.error((), str(error)) from None
    except OSError as error:
        raise _unreadable(source, error) from None
    return design.model_copy(update={"data": design.data.model_copy(update=resolved)})


def _skipped(data: ManifestData, folder: Path, source: Source) -> str:
    """Digest of the list of records that trials skip.

    Raises:
        SpecError: more records than allowed use unreadable media, or the media have not been read yet.
    """
    if not data.max_bad:
        return ""
    try:
        return skipped_digest(folder, cache_root(), data.max_bad)
    except ManifestError as error:
        raise source.error(("set", "data", "max_bad"), str(error)) from None


def _with_digest(encoder: Encoder, source: Source) -> Encoder:
    if isinstance(encoder, CustomEncoder):
        return encoder
    is_folder = is_folder_of_user(encoder.weights)
    digest = _digest(encoder_files(encoder.weights, encoder.kind), source) if is_folder else None
    return encoder.model_copy(update={"digest": digest})


def llm_digest(llm: str | None, source: Source) -> str | None:
    """The digest of an LLM's folder; None for a hub id, and for an LLM of the ladder.

    Raises:
        SpecError: a file cannot be read.
    """
    return _digest(llm_files(llm), source) if llm is not None and is_folder_of_user(llm) else None


def _digest(files: Mapping[str, Path], source: Source) -> str | None:
    """None for a folder without files of weights: there is nothing to load, which a plan refuses."""
    try:
        return combined_digest(files, cache_root()) if files else None
    except OSError as error:
        raise _unreadable(source, error) from None


def _unreadable(source: Source, error: OSError) -> SpecError:
    return source.error((), f"cannot read {error.filename}: {error.strerror}; make it readable")


def changed_files(design: Design, source: Source) -> list[str]:
    """Data and weights of a recorded design that have other content today, with both digests.

    Args:
        design: from a study's records; digests of earlier versions may be missing.
        source: of a spec, for the message of errors.

    Raises:
        SpecError: a file is missing or cannot be read.
    """
    today, changed = with_digests(design, source), list[str]()
    pairs = [
        (one, other, getattr(one, "weights", "")) for one, other in zip(design.encoders, today.encoders, strict=True)
    ]
    for part, now, name in [*pairs, (design.data, today.data, getattr(design.data, "folder", ""))]:
        digests = getattr(part, "digest", None), getattr(now, "digest", None)
        if digests[0] and digests[0] != digests[1]:
            changed.append(f"{name} (digest {digests[1]}, in the study {digests[0]})")
    return changed


def plain_design(design: Design, *, exclude_defaults: bool = False) -> dict[str, Any]:
    """A design as the plain data of a spec: without digests."""
    plain = design.model_dump(mode="json", exclude_defaults=exclude_defaults)
    for part in (plain.get("data", {}), *plain.get("encoders", ())):
        part.pop("digest", None)
        part.pop("skipped", None)
    return plain
