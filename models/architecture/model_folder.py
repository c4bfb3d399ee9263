"""The description of a folder with a trained model: which parts are in it, and which ones it only names. No torch here.

A folder contains
  config.json                  this description
  model*.safetensors           the connector, and encoders that learned, by the names of `VideoLMM`; shards of 4 GB
  llm/                         the LLM in transformers' format, with its tokenizer
  encoders/N/                  the published files of encoder N, from which it is built before what it learned is loaded
The folder that a trial keeps has no copies of what it did not train: it names these with their digests. An exported
folder has everything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.design import CustomEncoder, TrialConfig
from models.ladder import scale_card_of
from models.weights import (
    OWN_LAYOUTS,
    TOKENIZER_FOLDER,
    CheckpointError,
    cached_snapshot,
    combined_digest,
    encoder_files,
    first_line,
    is_shipped,
    llm_files,
    locate,
    locate_tokenizer,
    tokenizer_files,
)

DESCRIPTION, FORMAT = "config.json", 1
LLM_FOLDER = "llm"
SHARD_SIZE = "4GB"
"""Most bytes of one file of tensors."""


PROBE = "Is the 1st lamp red, or blue?\n  It's 25 m away."
"""Text with which tokenizers are compared."""


class StoredPart(BaseModel):
    """An LLM, or the published files of an encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """As the trial's config has it; the import path of a custom encoder."""
    digest: str | None = None
    """Digest of the files that the name stands for; None for shipped parts, whose names have a version, and for custom
    encoders."""
    folder: str | None = None
    """Path below the model's folder; None if the part is only named."""


class ModelFolder(BaseModel):
    """The content of a folder's config.json."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model_type: Literal["ablate-video-lmm"] = "ablate-video-lmm"
    format: Literal[1] = 1
    config: TrialConfig
    """The config of the trial that trained the model."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the stored tensors of the connector, of the LLM, and of encoders that learned."""
    llm: StoredPart
    encoders: tuple[StoredPart, ...]
    """In the design's order."""
    tensors: tuple[str, ...]
    """Prefixes of the names in model*.safetensors."""
    probe: tuple[int, ...]
    """Token ids of `PROBE` by the trial's tokenizer: other versions of transformers may build it differently."""

    @classmethod
    def read(cls, folder: Path) -> ModelFolder:
        """The description of a folder.

        Raises:
            CheckpointError: it has none, or one that this version does not read.
        """
        path = folder / DESCRIPTION
        try:
            return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder} has no {DESCRIPTION}, so it is no model of ablate; write one with `ablate export TRIAL DIR`"
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(piece) for piece in first["loc"])
            raise CheckpointError(
                f"{path} does not describe a model that this ablate opens ({where}: {first['msg']}); export it again, "
                "or update ablate"
            ) from None
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read ({first_line(error)}); export the model again") from None

    def write(self, folder: Path) -> None:
        """Write the description."""
        text = json.dumps(self.model_dump(mode="json"), indent=1)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    def config_here(self, folder: Path) -> TrialConfig:
        """The config with the folders of stored parts in the place of their names, from which the model is built.

        Adapters are part of the stored LLM.
        """
        config, design = self.config, self.config.design
        encoders = tuple(
            one if part.folder is None else one.model_copy(update={"weights": str(folder / part.folder)})
            for one, part in zip(design.encoders, self.encoders, strict=True)
        )
        changes: dict[str, Any] = {"design": design.model_copy(update={"encoders": encoders, "lora": None})}
        if self.llm.folder is not None:
            changes |= {"scale": "stored", "llm": str(folder / self.llm.folder)}
        return config.model_copy(update=changes)

    def named(self) -> list[tuple[StoredPart, dict[str, Path]]]:
        """The parts that are only named, each with its files on this machine."""
        parts = [] if self.llm.folder else [(self.llm, files_of_llm(self.llm.name))]
        for encoder, part in zip(self.config.design.encoders, self.encoders, strict=True):
            if not isinstance(encoder, CustomEncoder) and not part.folder:
                parts.append((part, files_of_encoder(part.name, encoder.kind)))
        return parts

    def check_named(self, cache: Path) -> None:
        """Refuse named parts that are not here, or are not what the trial read.

        Args:
            cache: folder of reproducible files, for the digests of large files.

        Raises:
            CheckpointError: names the part, both digests and the fix.
        """
        for part, files in self.named():
            if part.digest is None:
                continue
            digest = combined_digest(files, cache) if files else "missing"
            if digest != part.digest:
                raise CheckpointError(
                    f"the model needs {part.name} with digest {part.digest}, and here it is {digest}: restore these "
                    "files where the trial read them, or below $ABLATE_WEIGHTS"
                )


def files_of_llm(name: str) -> dict[str, Path]:
    """The files of a named LLM and its tokenizer: name -> path; empty where they are not on this machine."""
    return llm_files(name, _snapshot(name, ("config.json",)))


def tokenizer_of_llm(name: str) -> dict[str, Path]:
    """The files of a named LLM's tokenizer: path below the LLM's folder -> path; empty where they are not here."""
    if is_shipped(name):
        files = tokenizer_files(Path(locate_tokenizer(name)))
        return {f"{TOKENIZER_FOLDER}/{file}": path for file, path in files.items()}
    return tokenizer_files(_snapshot(name, ("config.json",)) or Path(locate(name)))


def files_of_encoder(name: str, kind: str) -> dict[str, Path]:
    """The files of a named encoder: name -> path; empty where they are not on this machine."""
    names = OWN_LAYOUTS[kind].files if kind in OWN_LAYOUTS else ("config.json",)
    return encoder_files(name, kind, _snapshot(name, names))


def _snapshot(name: str, files: tuple[str, ...]) -> Path | None:
    """The folder in the hub's cache; None where a name is read from elsewhere."""
    if Path(locate(name)).exists():
        return None
    return next((folder for file in files if (folder := cached_snapshot(name, file))), None)


def description_of(
    config: TrialConfig, digests: Mapping[str, str], learned: Mapping[str, bool], probe: Sequence[int]
) -> ModelFolder:
    """The description of a trial's model with all parts that did not learn named.

    Args:
        config: the trial's config.
        digests: name -> digest, of the hub ids and addresses among the names.
        learned: `vision` and `llm` -> whether the part learned in some stage.
        probe: token ids of `PROBE`.
    """
    llm = scale_card_of(config).llm
    encoders, tensors = [], ["resampler.", "image_path.resampler.", "separators."]
    for number, one in enumerate(config.design.encoders):
        is_custom = isinstance(one, CustomEncoder)
        name = one.path if isinstance(one, CustomEncoder) else one.weights
        digest = None if isinstance(one, CustomEncoder) else one.digest or digests.get(name)
        encoders.append(StoredPart(name=name, digest=digest))
        if learned["vision"] or is_custom:
            tensors.append(f"encoder.encoders.{number}.")
    folder = LLM_FOLDER if learned["llm"] else None
    return ModelFolder(
        config=config,
        llm=StoredPart(name=llm, digest=config.llm_digest or digests.get(llm), folder=folder),
        encoders=tuple(encoders),
        tensors=tuple(tensors),
        probe=tuple(probe),
    )
