"""Whether a trial reads what it was planned with, and what its study's other trials read: data and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ablate.errors import AblateError
from ablate.record import WeightsContent, WeightsRole, content_file, first_content
from ablate.run.job import Job
from models.data import data_digest
from models.design import CustomEncoder, ManifestData, TrialConfig
from models.ladder import scale_card_of
from models.weights import (
    OWN_LAYOUTS,
    cached_snapshot,
    combined_digest,
    encoder_files,
    is_folder_of_user,
    is_shipped,
    llm_files,
    locate,
    split_revision,
)


class ContentError(AblateError):
    """Files differ from those that a trial was planned with, or from those of its study; the message names both."""


@dataclass(frozen=True)
class Weights:
    """Weights of a trial, as its config names them."""

    name: str
    role: WeightsRole
    kind: str
    """Kind of the encoder; empty for an LLM."""
    digest: str | None
    """Digest of a folder when the trial was planned; None for names."""

    def files(self, folder: Path | None = None) -> dict[str, Path]:
        """Their files on this machine, or in a folder."""
        return llm_files(self.name, folder) if self.role == "llm" else encoder_files(self.name, self.kind, folder)

    def snapshot(self) -> Path | None:
        """The folder in the hub's cache, named by its commit; None if they are not read from there."""
        names = OWN_LAYOUTS[self.kind].files if self.kind in OWN_LAYOUTS else ("config.json",)
        if Path(locate(self.name)).exists():
            return None
        return next((folder for name in names if (folder := cached_snapshot(self.name, name))), None)


class TrialContent:
    """The content of a trial's data and weights, checked against its plan and its study."""

    def __init__(self, config: TrialConfig, job: Job) -> None:
        self._config, self._job, self._cache = config, job, Path(job.cache)
        self.names: list[WeightsContent] = []
        """Content of hub ids and addresses, after `check_names`."""

    @property
    def facts(self) -> dict[str, str]:
        """Content of hub ids and addresses, for the environment of a result."""
        return {f"{content.role} {content.weights}": content.name for content in self.names}

    def check_planned(self) -> None:
        """Refuse data and folders that changed since the trial was planned. Call it before and after they are read.

        Raises:
            ContentError: names both digests and the fix.
        """
        data = self._config.design.data
        if isinstance(data, ManifestData):
            digest = data_digest(Path(data.folder), self._cache)
            _refuse_changed(f"the manifests in {data.folder}", digest, data.digest, "the new data")
        for weights in self._weights():
            if weights.digest is not None:
                digest = combined_digest(weights.files(), self._cache)
                _refuse_changed(f"the files of {weights.name}", digest, weights.digest, "the new weights")

    def check_names(self) -> None:
        """Record what hub ids and addresses contain here, or refuse it. Call it once they are loaded.

        Raises:
            ContentError: the study's first trial with these weights read something else.
        """
        self.names = [self._checked(weights) for weights in self._weights() if self._is_name(weights)]

    def _is_name(self, weights: Weights) -> bool:
        return weights.digest is None and not is_shipped(weights.name) and not is_folder_of_user(weights.name)

    def _checked(self, weights: Weights) -> WeightsContent:
        """A name's content, which is recorded or compared with the study's record."""
        snapshot = weights.snapshot()
        files = weights.files(snapshot)
        if not files:
            raise ContentError(
                f"{weights.name} is neither below $ABLATE_WEIGHTS nor in the hub's cache ($HF_HUB_CACHE) after it was "
                "loaded, so its content cannot be recorded; fetch it into one of the two"
            )
        content = WeightsContent(
            weights=weights.name,
            role=weights.role,
            digest=combined_digest(files, self._cache),
            revision=snapshot.name if snapshot else None,
            path=str(snapshot or locate(weights.name)),
            trial=self._job.key,
        )
        study = Path(self._job.folder).parents[1]
        first = first_content(study, content)
        if not first.is_same(content):
            raise ContentError(
                f"{weights.name} is {content.name} here, but was {first.name} in this study's first trial with it "
                f"({first.trial}, {content_file(study, content)}), so scores would not be comparable. {_fix(first)}, "
                "or run the sweep in a study of its own"
            )
        return content

    def _weights(self) -> Iterator[Weights]:
        config = self._config
        yield Weights(scale_card_of(config).llm, "llm", "", config.llm_digest)
        for encoder in config.design.encoders:
            if not isinstance(encoder, CustomEncoder):
                yield Weights(encoder.weights, "encoder", encoder.kind, encoder.digest)


def checked_content(config: TrialConfig, job: Job) -> TrialContent:
    """The content of a trial that was not changed since it was planned.

    Raises:
        ContentError: it was; the message names both digests and the fix.
    """
    content = TrialContent(config, job)
    content.check_planned()
    return content


def _refuse_changed(what: str, digest: str, planned: str, new: str) -> None:
    if digest != planned:
        raise ContentError(
            f"{what} have changed since this trial was planned (digest {digest}, planned {planned}): restore them, or "
            f"run `ablate sweep` again, which plans trials of {new}"
        )


def _fix(first: WeightsContent) -> str:
    if first.revision is None:
        return f"Put the copy that the first trial read from {first.path} below $ABLATE_WEIGHTS again"
    name, _ = split_revision(first.weights)
    download = f"hf download {name} --revision {first.revision} --local-dir $ABLATE_WEIGHTS/{first.weights}"
    return f"Restore it with `{download}`"
