"""A trial of a video LMM, from top to bottom: data, model, training, evaluation."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from ablate.environment import cores
from ablate.errors import UsageError
from ablate.record import AttemptFolder, Score
from ablate.run.job import Job, Progress
from ablate.run.worker.content import TrialContent, checked_content
from ablate.run.worker.curve import TrainingCurve
from ablate.run.worker.kept_weights import keep_weights
from ablate.run.worker.resuming import TrialCheckpoints
from ablate.run.worker.stored_encoders import features_name, stored_encoders
from models.design import AssumedData, Data, ManifestData, TinyData, TrialConfig

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedTokenizerBase

    from models.architecture import VideoLMM
    from models.data import Corpus, Records
    from models.training import Engine, Ranks, Training
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
    def is_first(self) -> bool:
        """Whether this process is the first of the trial, which alone writes its files."""
        return self.engine.ranks.rank == 0

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.engine.device

    @property
    def facts(self) -> dict[str, str]:
        """Provenance, for the environment of a result."""
        facts = {"device": str(self.device), "micro_batch_positions": str(self.max_positions)}
        if self.engine.ranks.size > 1:
            facts["ranks"] = str(self.engine.ranks.size)
        options = self.engine.options
        stated = {"shard": options.shard, "checkpointing": options.checkpointing, "compiled": options.compiled}
        return facts | {name: str(int(value)) for name, value in stated.items() if value > 1 or value is True}

    def __str__(self) -> str:
        """The facts, for the log."""
        return ", ".join(f"{name} {value}" for name, value in self.facts.items())

    def training(self, model: VideoLMM, config: TrialConfig, corpus: Corpus) -> Training:
        """The training of a placed model."""
        from models.training import Training

        return Training(model, config, corpus, self.engine, self.max_positions)


def run_video_lmm(job: Job, attempt: AttemptFolder, ranks: Ranks) -> Generator[Progress, None, TrialOutcome]:
    """Run a trial; yields its progress. The first rank writes curve, log and predictions, and has the scores."""
    from models.video import Decoder

    # 1. Config, device, threads, seeds.
    config = TrialConfig.model_validate(job.config)
    log: Log = print if ranks.rank else attempt.log_line
    execution = _prepare_torch(job, config, ranks, log)

    # 2. Data; then the model, whose new weights are drawn from the seed.
    yield Progress(phase="preparing", detail="data")
    content = checked_content(config, job)
    records = _records(config.design.data, Path(job.cache), attempt if execution.is_first else None)
    yield Progress(phase="preparing", detail="model")
    model, tokenizer = _build(config, content, execution.engine, records.folder)
    log(f"{job.label} {job.key}: {sum(p.numel() for p in model.parameters()):,} parameters; {execution}")

    # 3. Frames and features of all media.
    yield Progress(phase="preparing", detail="frames and features")
    with Decoder() as decoder:
        corpus = _corpus(config, records, decoder, model, tokenizer, content)

        # 4. Training through the stages, from where an earlier attempt has saved it.
        training = execution.training(model, config, corpus)
        curve = TrainingCurve(attempt if execution.is_first else None, len(config.design.schedule))
        with TrialCheckpoints(job, attempt, training, curve) as checkpoints:
            yield from _train(training, curve, checkpoints, log)

            # 5. Answers to the test questions.
            predictions = yield from _evaluate(model, corpus, execution, log)
        log(f"media were read by: {', '.join(f'{name} {n:,} times' for name, n in decoder.readers.most_common())}")

    # 6. Scores; and the final weights, if they are kept.
    rows = _scores(predictions, config.design.data.benchmark, log) if execution.is_first else []
    yield from keep_weights(model, job, attempt, rows, content.names)
    if not execution.is_first:
        return TrialOutcome(scores=[], counts=curve.counts, environment={})
    predictions.to_parquet(attempt.predictions, index=False)
    environment = {**execution.facts, **content.facts, **checkpoints.facts}
    return TrialOutcome(scores=rows, counts=curve.counts, environment=environment)


def _scores(predictions: pd.DataFrame, benchmark: str, log: Log) -> list[Score]:
    """All scores; logged are those of the benchmark from video, by category."""
    from models.scoring import scores

    rows = [Score(**row) for row in scores(predictions, benchmark)]  # type: ignore[arg-type]
    of_video = (row for row in rows if (row.benchmark, row.modality) == (benchmark, "video"))
    log(", ".join(f"{row.category} {row.score:.1f}" for row in of_video))
    return rows


def device_type(job: Job) -> str:
    """Type of the devices of a trial: `cuda`, or `cpu`, also where its GPUs are only for tests of the placement."""
    import torch

    return "cuda" if job.gpus and torch.cuda.is_available() else "cpu"


def _prepare_torch(job: Job, config: TrialConfig, ranks: Ranks, log: Log) -> Execution:
    """Set threads and seeds; returns the device of this process and the size of micro-batches.

    Raises:
        RuntimeError: the job has a GPU, but torch finds none.
    """
    import torch

    from models.costs import positions_per_micro_batch
    from models.training import Engine, EngineOptions

    torch.set_num_threads(job.threads_of_process)
    seed_everything(config.seed)
    device = torch.device(device_type(job))
    if device.type == "cuda" and ranks.size > 1:
        device = torch.device("cuda", ranks.local)
    if job.gpus and device.type == "cpu" and "ABLATE_FAKE_GPUS" not in os.environ:
        raise RuntimeError("the trial has a GPU, but torch finds none: install a CUDA build of torch")
    max_positions = positions_per_micro_batch(device.type, job.oom_failures)
    if job.oom_failures:
        log(f"micro-batches of {max_positions} positions: earlier attempts ran out of memory {job.oom_failures} times")
    options = EngineOptions(
        shard=job.shard,
        # A trial that ran out of memory may run on a smaller GPU than the plan assumes.
        checkpointing=job.checkpointing or (job.gpus > 0 and job.oom_failures > 0),
        compiled=job.compiled,
    )
    return Execution(engine=Engine(device, ranks, options), max_positions=max_positions)


def _build(
    config: TrialConfig, content: TrialContent, engine: Engine, folder: Path
) -> tuple[VideoLMM, PreTrainedTokenizerBase]:
    """The model with new weights from the trial's seed, on its devices, and its tokenizer; what was read is checked.

    Args:
        config: of the trial.
        content: of what it reads.
        engine: which places it.
        folder: that of the data, with stored features.
    """
    from models.architecture import BuildOptions, build

    seed_everything(config.seed)
    options = BuildOptions(
        is_llm_deferred=engine.is_spread and config.design.lora is None,  # adapters are drawn with the weights at hand
        stored_encoders=stored_encoders(config.design, folder, engine.device),
    )
    model, tokenizer = build(config, options)
    content.check_names()
    engine.place(model, config.design.schedule)
    return model, tokenizer


def _train(training: Training, curve: TrainingCurve, checkpoints: TrialCheckpoints, log: Log) -> Iterator[Progress]:
    """Train the model in place; steps are added to the curve. Logged are turns that no stage trains on, what
    `max_length` left out, the share of empty positions, and reused steps of an earlier trial."""
    config = training.config
    for sentence in _turns_left_out(config, training.corpus):
        log(sentence)
    checkpoints.resume()
    positions = empty = 0.0
    for step in training.run():
        curve.add(step)
        checkpoints.after(step)
        positions, empty = positions + step.tokens, empty + step.tokens * step.padding
        if step.is_shared:
            continue
        yield Progress(
            phase="training",
            detail=step.stage,
            step=step.step,
            steps=step.steps,
            loss=step.loss,
            samples_per_s=curve.samples_per_s,
            tokens_per_s=curve.tokens_per_s,
        )
    log(f"{curve.samples} samples trained in {curve.seconds:.1f} s")
    log(f"{empty / max(1.0, positions):.1%} of the positions in micro-batches were empty")
    if config.design.max_length is not None:
        samples, clips, turns = training.lost.tolist()
        log(
            f"`max_length: {config.design.max_length}` shortened {samples:,} of the samples: {clips:,} clips and "
            f"{turns:,} turns were left out"
        )
    if curve.shared:
        log(f"reused the first {curve.shared} steps of an earlier trial of this worker, which are identical")


def _evaluate(
    model: VideoLMM, corpus: Corpus, execution: Execution, log: Log
) -> Generator[Progress, None, pd.DataFrame]:
    """Predictions for the test questions, given the video, its centre frame, and the text alone; the first rank's."""
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
        if not execution.is_first:
            continue
        tables.append(pd.concat(portions).sort_index())
        if isinstance(corpus.design.data, ManifestData) and corpus.design.data.scoring == "letters":
            shares = (f"{letter} {share:.0%}" for letter, share in letter_shares(tables[-1]).items())
            log(f"letters chosen with modality {modality}: {', '.join(shares)}")
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


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


def _records(data: Data, cache: Path, attempt: AttemptFolder | None) -> Records:
    """The records that the trial uses; those that it skips are listed in its folder.

    Args:
        data: the data of the design.
        cache: folder of reproducible files.
        attempt: the attempt's folder; None if another process of the trial writes to it.

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
    if records.skipped and attempt is not None:
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
        if all(stage.lr.vision == 0 for stage in design.schedule):  # as in `stored_encoders`
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
