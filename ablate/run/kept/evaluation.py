"""A kept model scored on a benchmark that its trial did not know, without training."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablate.environment import describe
from ablate.errors import UsageError
from ablate.paths import cache_root
from ablate.record import Evaluation, Record, Score, evaluations_of_study, write_evaluation
from ablate.run.job import Progress
from ablate.run.kept.model import KeptModel, open_kept, weights_of
from models.design import AssumedData, Design, ManifestData, Scoring

if TYPE_CHECKING:
    import pandas as pd

    from models.data import Corpus, TestItem

_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """A benchmark for a kept model."""

    folder: Path
    """Data folder with a test.json; a train.json is not read."""
    benchmark: str | None = None
    """Its name in score tables; that of the folder if omitted."""
    scoring: Scoring | None = None
    """How options are scored; as in the trial if omitted."""

    def data(self, design: Design) -> ManifestData:
        """The benchmark as data of a design: prompts and scoring are those of its own data, if nothing else is said.

        Raises:
            UsageError: the folder does not exist, or the benchmark has the name of the trial's own.
        """
        own = design.data
        name = self.benchmark or _NAME.sub("-", self.folder.resolve().name)
        if not self.folder.is_dir():
            raise UsageError(f"--data {self.folder}: there is no such folder; give one with a test.json (docs/data.md)")
        if name.removesuffix("_prob") == own.benchmark or not name or _NAME.search(name):
            raise UsageError(
                f"{name!r} is the trial's own benchmark, or no name: give another, e.g. --benchmark {own.benchmark}-new"
            )
        assert not isinstance(own, AssumedData), "nothing was trained on assumed data"
        scoring = self.scoring or own.scoring
        data = ManifestData(
            kind="manifest",
            benchmark=name,
            folder=str(self.folder.resolve()),
            scoring=scoring,
            reduce=own.reduce if scoring == "text" else "sum",
        )
        same = {"instruction": own.instruction} if scoring == own.scoring == "letters" else {}
        return data.model_copy(update=same | ({"max_side": own.max_side} if isinstance(own, ManifestData) else {}))


def evaluate_kept(
    record: Record, request: EvaluationRequest, progressed: Callable[[Progress], None]
) -> tuple[Evaluation, Path]:
    """Score a trial's model on a benchmark and record the scores beside its result.

    Returns:
        The scores, and the file that has them.

    Raises:
        UsageError: no weights were kept; the data are wrong; or other data were evaluated under this name.
        RecordError: a file of the trial has changed.
    """
    from models.data import ManifestError
    from models.scoring import scores

    started_at, kept_model = time.monotonic(), open_kept(weights_of(record))
    assert kept_model.model.source is not None, "open_model states it"
    design = kept_model.model.source.config.design
    data = request.data(design)
    try:
        with corpus_for(kept_model, design.model_copy(update={"data": data})) as corpus:
            digest = _digest(request.folder, data)
            _refuse_other_data(record, data.benchmark, digest)
            outcomes = _outcomes(kept_model, corpus, progressed)
    except ManifestError as error:
        raise UsageError(str(error)) from None
    evaluation = Evaluation(
        key=record.about.key,
        benchmark=data.benchmark,
        folder=data.folder,
        digest=digest,
        scores=[Score(**row) for row in scores(outcomes, data.benchmark)],  # type: ignore[arg-type]
        seconds=time.monotonic() - started_at,
        ended_at=time.time(),
        environment=describe() | {"device": str(kept_model.device)},
    )
    return evaluation, write_evaluation(record.path, evaluation)


@contextmanager
def corpus_for(kept_model: KeptModel, design: Design, *, asks: bool = False) -> Iterator[Corpus]:
    """The test items of a design's data folder as a model reads them.

    Args:
        kept_model: the model.
        design: its design, with the data to read.
        asks: without test items: media of any folder are asked about.

    Raises:
        ManifestError: the manifest is missing or wrong, or media are missing.
    """
    from models.data import Corpus, Prompter, VisualReader, open_test, refuse_missing
    from models.video import Decoder, OnDemand

    data, source = design.data, kept_model.model.source
    assert isinstance(data, ManifestData)
    assert source is not None
    folder, cache = Path(data.folder), cache_root()
    test: Sequence[TestItem] = ()
    if not asks:
        test = index = open_test(folder, cache)
        refuse_missing(index, cache)
    with Decoder() as decoder:
        visual = VisualReader(design, kept_model.model.encoder, OnDemand(folder, decoder, data.max_side), {})
        corpus = Corpus(Prompter(source.tokenizer, data.scoring, data.instruction), (), test, visual)
        corpus.check()
        yield corpus


def _outcomes(kept_model: KeptModel, corpus: Corpus, progressed: Callable[[Progress], None]) -> pd.DataFrame:
    """The model's predictions, given the video, its centre frame, and the text alone."""
    import pandas as pd

    from models.scoring import MODALITIES, evaluate

    tables: list[pd.DataFrame] = []
    total, done = len(MODALITIES) * sum(len(item.questions) for item in corpus.test), 0
    for modality in MODALITIES:
        portions = []
        for portion in evaluate(kept_model.model, corpus, kept_model.device, modality):
            portions.append(portion)
            done += len(portion)
            progressed(Progress(phase="testing", detail=modality, step=done, steps=total))
        tables.append(pd.concat(portions).sort_index())
    return pd.concat(tables, ignore_index=True)


def _digest(folder: Path, data: ManifestData) -> str:
    """What identifies a benchmark: its questions, and how they are scored."""
    from models.data import test_digest

    stated = [test_digest(folder, cache_root()), data.scoring, data.reduce, data.instruction, data.max_side]
    return hashlib.sha256(json.dumps(stated).encode()).hexdigest()


def _refuse_other_data(record: Record, benchmark: str, digest: str) -> None:
    """Refuse a name under which a trial of the study was evaluated with other questions or scoring.

    Raises:
        UsageError: names the trial and its data.
    """
    for other in evaluations_of_study(record.path.parent, benchmark):
        if other.digest != digest:
            raise UsageError(
                f"{benchmark!r} is the name of other questions, or of another scoring, in this study: trial "
                f"{other.key} was evaluated on {other.folder}; give another name with --benchmark"
            )
