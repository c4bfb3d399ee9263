"""A trial of a video LMM, from top to bottom: data, model, training, evaluation."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from ablate.environment import cores
from ablate.errors import UsageError
from ablate.record import AttemptFolder, Score, WeightsContent
from ablate.run.job import Job, Progress
from ablate.run.worker.content import TrialContent, checked_content
from ablate.run.worker.curve import TrainingCurve
from ablate.run.worker.resuming import TrialCheckpoints
from models.design import AssumedData, CustomEncoder, Data, Encoder, ManifestData, TinyData, TrialConfig

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedTokenizerBase

    from models.architecture import VideoLMM
    from models.data import Corpus, Records
    from models.training import Engine, Training
    from models.video import Decoder

Log = Callable[[str], object]
"""Appends a line to the log of the trial."""


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """The outcome of a trial, without the facts that every result has."""

    scores: list[Score]
    counts: dict[str, float]
    """As in `record.Result`."""
    environment: dict[str, str]
    """Device, and the content of hub ids and addresses."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a trial computes. It changes results by rounding only."""

    engine: Engine
    max_positions: int
    """Sequence positions of a micro-batch."""

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.engine.device

    @property
    def facts(self) -> dict[str, str]:
        """Provenance, for the environment of a result."""
        return {"device": str(self.device), "micro_batch_positions": str(self.max_positions)}

    def training(self, model: VideoLMM, config: TrialConfig, corpus: Corpus) -> Training:
        """The training of a placed model."""
        from models.training import Training

        return Training(model, config, corpus, self.engine, self.max_positions)


def run_video_lmm(job: Job, attempt: AttemptFolder) -> Generator[Progress, None, TrialOutcome]:
    """Run a trial; yields its progress, and writes training curve, log and predictions to the attempt's folder."""
    from models.video import Decoder

    # 1. Config, device, threads, seeds.
    started_at = time.time()
    config = TrialConfig.model_validate(job.config)
    log = attempt.log_line
    execution = _prepare_torch(job, config, log)

    # 2. Data; then the model, whose new weights are drawn from the seed.
    yield Progress(phase="preparing", detail="data")
    content = checked_content(config, job)
    records = _records(config.design.data, Path(job.cache), attempt)
    yield Progress(phase="preparing", detail="model")
    model, tokenizer = _build(config, content, execution.engine)
    log(f"{job.label} {job.key}: {sum(p.numel() for p in model.parameters()):,} parameters on {execution.device}")

    # 3. Frames and features of all media.
    yield Progress(phase="preparing", detail="frames and features")
    with Decoder() as decoder:
        corpus = _corpus(config, records, decoder, model, tokenizer, content)

        # 4. Training through the stages, from where an earlier attempt has saved it.
        training, curve = execution.training(model, config, corpus), TrainingCurve(attempt)
        with TrialCheckpoints(job, attempt, training, curve) as checkpoints:
            yield from _train(training, curve, checkpoints, log)
            log(f"{curve.samples} samples trained {time.time() - started_at:.1f} s after the start")

            # 5. Answers to the test questions.
            predictions = yield from _evaluate(model, corpus, execution, log)
        log(f"media were read by: {', '.join(f'{name} {n:,} times' for name, n in decoder.readers.most_common())}")
    predictions.to_parquet(attempt.predictions, index=False)

    # 6. Scores.
    environment = {**execution.facts, **content.facts, **checkpoints.facts}
    return TrialOutcome(scores=_scores(predictions, config, log), counts=curve.counts, environment=environment)


def _scores(predictions: pd.DataFrame, config: TrialConfig, log: Log) -> list[Score]:
    """The scores of the predictions; those of the benchmark are logged."""
    from models.scoring import scores

    rows = scores(predictions, config.design.data.benchmark)
    log(_in_a_line(rows, config.design.data.benchmark))
    return [Score(**row) for row in rows]  # type: ignore[arg-type]


def _in_a_line(rows: list[dict[str, str | float]], benchmark: str) -> str:
    """The scores of the benchmark from video, by category."""
    of_video = (row for row in rows if (row["benchmark"], row["modality"]) == (benchmark, "video"))
    return ", ".join(f"{row['category']} {row['score']:.1f}" for row in of_video)


def _prepare_torch(job: Job, config: TrialConfig, log: Log) -> Execution:
    """Set threads and seeds; returns the device and the size of micro-batches.

    Raises:
        RuntimeError: the job has a GPU, but torch finds none.
    """
    import torch

    from models.costs import positions_per_micro_batch
    from models.training import Engine

    torch.set_num_threads(job.threads)
    seed_everything(config.seed)
    device = torch.device("cuda" if job.gpus and torch.cuda.is_available() else "cpu")
    if job.gpus and device.type == "cpu" and "ABLATE_FAKE_GPUS" not in os.environ:
        raise RuntimeError("the trial has a GPU, but torch finds none: install a CUDA build of torch")
    max_positions = positions_per_micro_batch(device.type, job.oom_failures)
    if job.oom_failures:
        log(f"micro-batches of {max_positions} positions: earlier attempts ran out of memory {job.oom_failures} times")
    return Execution(engine=Engine(device), max_positions=max_positions)


def _build(config: TrialConfig, content: TrialContent, engine: Engine) -> tuple[VideoLMM, PreTrainedTokenizerBase]:
    """The model with new weights from the trial's seed, on its devices, and its tokenizer; what was read is checked."""
    from models.architecture import build

    seed_everything(config.seed)
    model, tokenizer = build(config)
    content.check_names()
    engine.place(model)
    return model, tokenizer


def _train(training: Training, curve: TrainingCurve, checkpoints: TrialCheckpoints, log: Log) -> Iterator[Progress]:
    """Train the model in place; steps are added to the curve. Logged are turns that no stage trains on, and reused
    steps of an earlier trial."""
    for sentence in _turns_left_out(training.config, training.corpus):
        log(sentence)
    checkpoints.resume()
    for step in training.run():
        rate = curve.add(asdict(step))
        checkpoints.after(step)
        if step.is_shared:
            continue
        yield Progress(
            phase="training", detail=step.stage, step=step.step, steps=step.steps, loss=step.loss, samples_per_s=rate
        )
    if curve.shared:
        log(f"reused the first {curve.shared} steps of an earlier trial of this worker, which are identical")


def _evaluate(
    model: VideoLMM, corpus: Corpus, execution: Execution, log: Log
) -> Generator[Progress, None, pd.DataFrame]:
    """Predictions for the test questions, given the video, its centre frame, and the text alone."""
    import pandas as pd

    from models.scoring import MODALITIES, evaluate, letter_shares

    tables: list[pd.DataFrame] = []
    total, done = len(MODALITIES) * sum(len(item.questions) for item in corpus.test), 0
    for modality in MODALITIES:
        portions: list[pd.DataFrame] = []
        for portion in evaluate(model, corpus, execution.device, modality, execution.max_positions):
            portions.append(portion)
            done += len(portion)
            yield Progress(phase="testing", detail=modality, step=done, steps=total)
        tables.append(pd.concat(portions).sort_index())
        if isinstance(corpus.design.data, ManifestData) and corpus.design.data.scoring == "letters":
            shares = (f"{letter} {share:.0%}" for letter, share in letter_shares(tables[-1]).items())
            log(f"letters chosen with modality {modality}: {', '.join(shares)}")
    return pd.concat(tables, ignore_index=True)


def data_folder(data: Data, cache: Path) -> Path:
    """The folder with the manifests and media; that of the embedded study is rendered if it does not exist.

    Args:
        data: the data of a design.
        cache: folder for rendered videos.

    Raises:
        UsageError: the data are only assumed, for a plan.
    """
    match data:
        case TinyData():
            from models.tiny import prepare

            # Other trials that wait for the same videos leave their cores idle, so all cores are used.
            return prepare(data, cache, workers=cores())
        case ManifestData():
            return Path(data.folder)
        case AssumedData():
            raise UsageError("the data are only assumed, for a plan; set `data` to a manifest")
        case _:
            assert_never(data)


def _records(data: Data, cache: Path, attempt: AttemptFolder) -> Records:
    """The records that the trial uses; those that it skips are listed in its folder.

    Args:
        data: the data of the design.
        cache: folder of reproducible files.
        attempt: the attempt's folder.

    Raises:
        UsageError: other records would be skipped than when the sweep was planned.
    """
    from models.data import open_records

    folder = data_folder(data, cache)
    if not isinstance(data, ManifestData):
        return open_records(folder, cache, max_bad=0.0)
    records = open_records(folder, cache, data.max_bad)
    if records.digest != data.skipped:
        raise UsageError(
            f"the media of {folder} were checked since the sweep was planned, and other records would be skipped "
            f"(list {records.digest or 'empty'}, planned {data.skipped or 'empty'}); run the same sweep command again"
        )
    if records.skipped:
        attempt.skipped([asdict(record) for record in records.skipped])
        attempt.log_line(f"{len(records.skipped)} unreadable media: skipped.json lists the records that are skipped")
    return records


def _corpus(
    config: TrialConfig,
    records: Records,
    decoder: Decoder,
    model: VideoLMM,
    tokenizer: PreTrainedTokenizerBase,
    content: TrialContent,
) -> Corpus:
    """The data as inputs of a design; frames and frozen features of small videos are computed once and stored."""
    from models.data import Corpus, Prompter, VisualReader, decode_medium
    from models.encoders import store_features
    from models.video import OnDemand, Source, store_frames

    design, encoders, data = config.design, model.encoder.encoders, records.folder
    features: dict[int, Source] = {}
    frames: Source
    if isinstance(design.data, TinyData):
        media = dict.fromkeys([*records.train.media(), *records.test.media()])
        frames = stored = store_frames(data, [decode_medium(one) for one in media], decoder)
        if all(stage.lr.vision == 0 for stage in design.schedule):
            for i in design.image_encoders:
                features[i] = store_features(
                    data, stored, encoders[i], features_name(design.encoders[i], content.names)
                )
    else:
        assert isinstance(design.data, ManifestData)
        frames = OnDemand(data, decoder, design.data.max_side)
    content.check_planned()  # what was checked at the start is what was read
    visual = VisualReader(design, model.encoder, frames, features)
    prompter = Prompter(tokenizer, design.data.scoring, design.data.instruction)
    corpus = Corpus(prompter, records.train, records.test, visual)
    corpus.check()
    return corpus


def features_name(encoder: Encoder, weights: list[WeightsContent]) -> str:
    """Name of a file of stored features: the content of the encoder's weights, and its settings.

    Args:
        encoder: the encoder.
        weights: content of the hub ids and addresses of the trial.
    """
    config = encoder.model_dump(exclude={"kind", "digest"})
    if not isinstance(encoder, CustomEncoder):
        content = [one.digest for one in weights if one.role == "encoder" and one.weights == encoder.weights]
        config["weights"] = encoder.digest or "-".join([encoder.weights, *content])
    version = type(encoder).VERSION
    return "-".join(str(value) for value in config.values()) + (f"-v{version}" if version > 1 else "")


def _turns_left_out(config: TrialConfig, corpus: Corpus) -> list[str]:
    """What the stages' `max_questions` leave out of dialogues, a sentence for each stage that leaves out any."""
    from models.data import dialogue_lengths, left_out

    lengths = dialogue_lengths(corpus.train)
    sentences = [left_out(lengths, stage, config.design.mix_of(stage)) for stage in config.design.schedule]
    return [sentence for sentence in sentences if sentence]


def seed_everything(seed: int) -> None:
    """Seed every global random generator that a library may use."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries; our code uses its own generators
    torch.manual_seed(seed)
