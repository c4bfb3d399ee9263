"""A trial of a video LMM, from top to bottom: data, model, training, evaluation."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from ablate.errors import UsageError
from ablate.record import FailureClass, Score, TrialFolder, WeightsContent
from ablate.run.job import Job, Progress
from ablate.run.worker.content import TrialContent, checked_content
from ablate.run.worker.curve import TrainingCurve, TrialLog
from models.design import AssumedData, CustomEncoder, Data, Encoder, ManifestData, TinyData, TrialConfig

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from transformers import PreTrainedTokenizerBase

    from models.architecture import VideoLMM
    from models.data import Corpus, Records
    from models.video import Decoder


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """The outcome of a trial, without the facts that every result has."""

    scores: list[Score]
    counts: dict[str, float]
    """As in `record.Result`."""
    environment: dict[str, str]
    """Device, and the content of hub ids and addresses."""


def run_video_lmm(job: Job, folder: TrialFolder) -> Generator[Progress, None, TrialOutcome]:
    """Run a trial; yields its progress, and writes training curve, log and predictions to its folder."""
    from models.scoring import scores
    from models.video import Decoder

    # 1. Config, device, threads, seeds.
    started_at = time.time()
    config = TrialConfig.model_validate(job.config)
    device = _prepare_torch(job, config)
    log = TrialLog(folder.path / "log.txt")

    # 2. Data; then the model, whose new weights are drawn from the seed.
    yield Progress(phase="preparing", detail="data")
    content = checked_content(config, job)
    records = _records(config.design.data, Path(job.cache), folder, log)
    yield Progress(phase="preparing", detail="model")
    model, tokenizer = _build(config, content)
    model.to(device)
    log(f"{job.label} {job.key}: {sum(p.numel() for p in model.parameters()):,} parameters on {device}")

    # 3. Frames and features of all media.
    yield Progress(phase="preparing", detail="frames and features")
    with Decoder() as decoder:
        corpus = _corpus(config, records, decoder, model, tokenizer, content)

        # 4. Training through the stages.
        curve = TrainingCurve(folder)
        yield from _train(model, config, corpus, device, curve, log)
        log(f"{curve.samples} samples trained {time.time() - started_at:.1f} s after the start")

        # 5. Answers to the test questions.
        predictions = yield from _evaluate(model, corpus, device, log)
        log(f"media were read by: {', '.join(f'{name} {n:,} times' for name, n in decoder.readers.most_common())}")
    predictions.to_parquet(folder.path / "predictions.parquet", index=False)

    # 6. Scores.
    rows = scores(predictions, config.design.data.benchmark)
    log(_in_a_line(rows, config.design.data.benchmark))
    environment = {"device": str(device), **content.facts}
    return TrialOutcome(scores=[Score(**row) for row in rows], counts=curve.counts, environment=environment)  # type: ignore[arg-type]


def _in_a_line(rows: list[dict[str, str | float]], benchmark: str) -> str:
    """The scores of the benchmark from video, by category."""
    of_video = (row for row in rows if (row["benchmark"], row["modality"]) == (benchmark, "video"))
    return ", ".join(f"{row['category']} {row['score']:.1f}" for row in of_video)


def _prepare_torch(job: Job, config: TrialConfig) -> torch.device:
    """Set threads and seeds; returns the device.

    Raises:
        RuntimeError: the job has a GPU, but torch finds none.
    """
    import torch

    torch.set_num_threads(job.threads)
    seed_everything(config.seed)
    device = torch.device("cuda" if job.gpus and torch.cuda.is_available() else "cpu")
    if job.gpus and device.type == "cpu" and "ABLATE_FAKE_GPUS" not in os.environ:
        raise RuntimeError("the trial has a GPU, but torch finds none: install a CUDA build of torch")
    return device


def _build(config: TrialConfig, content: TrialContent) -> tuple[VideoLMM, PreTrainedTokenizerBase]:
    """The model with new weights from the trial's seed, and its tokenizer; what was loaded is checked."""
    from models.architecture import build

    seed_everything(config.seed)
    model, tokenizer = build(config)
    content.check_names()
    return model, tokenizer


def _train(
    model: VideoLMM, config: TrialConfig, corpus: Corpus, device: torch.device, curve: TrainingCurve, log: TrialLog
) -> Iterator[Progress]:
    """Train the model in place; steps are added to the curve. Logged are turns that no stage trains on, and reused
    steps of an earlier trial."""
    from models.training import train

    for sentence in _turns_left_out(config, corpus):
        log(sentence)
    for step in train(model, config, corpus, device):
        rate = curve.add(asdict(step))
        if step.is_shared:
            continue
        yield Progress(
            phase="training", detail=step.stage, step=step.step, steps=step.steps, loss=step.loss, samples_per_s=rate
        )
    if curve.shared:
        log(f"reused the first {curve.shared} steps of an earlier trial of this worker, which are identical")


def _evaluate(
    model: VideoLMM, corpus: Corpus, device: torch.device, log: TrialLog
) -> Generator[Progress, None, pd.DataFrame]:
    """Predictions for the test questions, given the video, its centre frame, and the text alone."""
    import pandas as pd

    from models.scoring import MODALITIES, evaluate, letter_shares

    tables: list[pd.DataFrame] = []
    total, done = len(MODALITIES) * sum(len(item.questions) for item in corpus.test), 0
    for modality in MODALITIES:
        portions: list[pd.DataFrame] = []
        for portion in evaluate(model, corpus, device, modality):
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
            return prepare(data, cache, workers=len(os.sched_getaffinity(0)))
        case ManifestData():
            return Path(data.folder)
        case AssumedData():
            raise UsageError("the data are only assumed, for a plan; set `data` to a manifest")
        case _:
            assert_never(data)


def _records(data: Data, cache: Path, trial: TrialFolder, log: TrialLog) -> Records:
    """The records that the trial uses; those that it skips are listed in its folder.

    Args:
        data: the data of the design.
        cache: folder of reproducible files.
        trial: the trial's folder.
        log: its log.

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
        trial.skipped([asdict(record) for record in records.skipped])
        log(f"{len(records.skipped)} unreadable media: skipped.json lists the records that are skipped")
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


def failure_class(error: Exception) -> FailureClass:
    """The class under which an error of a trial is recorded."""
    from models.training import DivergedError

    return "diverged" if isinstance(error, DivergedError) else "error"
