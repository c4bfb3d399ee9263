"""A trial of our own trainer: data, model, training, test."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from ablate.environment import describe
from ablate.errors import UsageError
from ablate.record import FailureClass, Result, Score, TrialFolder
from ablate.run.job import Job, Progress
from ablate.run.worker.curve import _Curve, _Log
from models.design import AssumedData, Data, Encoder, ManifestData, TinyData, TrialConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from models.architecture import VideoLMM
    from models.data import Corpus
    from models.video import Decoder


def _run(job: Job, folder: TrialFolder, attempt: int, started: float) -> Generator[Progress, None, Result]:
    import pandas as pd
    import torch

    from models.architecture import build
    from models.scoring import MODALITIES, evaluate, scores
    from models.training import train
    from models.video import Decoder

    # 1. The config, the threads, the seeds.
    config = TrialConfig.model_validate(job.config)
    torch.set_num_threads(job.threads)
    seed_everything(config.seed)
    device = torch.device("cuda" if job.gpus and torch.cuda.is_available() else "cpu")
    if job.gpus and device.type == "cpu" and "ABLATE_FAKE_GPUS" not in os.environ:
        raise RuntimeError("the trial was given a GPU, but torch sees none: install a CUDA build of torch")
    log = _Log(folder.path / "log.txt")

    # 2. The data, then the model, its fresh parts drawn from the seed.
    yield Progress(phase="preparing", detail="data")
    data = data_folder(config.design.data, Path(job.cache))
    yield Progress(phase="preparing", detail="model")
    seed_everything(config.seed)
    model, tokenizer = build(config)
    model.to(device)
    log(f"{job.label} {job.key}: {sum(p.numel() for p in model.parameters()):,} parameters on {device}")

    # 3. What the model sees of each file.
    yield Progress(phase="preparing", detail="frames and features")
    with Decoder() as decoder:
        corpus = _corpus(config, data, decoder, model, tokenizer)

        # 4. Train through the stages.
        curve = _Curve(folder)
        for step in train(model, config, corpus, device):
            rate = curve.add(asdict(step))
            if step.is_shared:
                continue
            yield Progress(
                phase="training",
                detail=step.stage,
                step=step.step,
                steps=step.steps,
                loss=step.loss,
                samples_per_s=rate,
            )
        if curve.shared:
            log(f"took {curve.shared} first steps over from a trial of this worker that began alike")
        log(f"trained {curve.samples} samples in {time.time() - started:.1f} s")

        # 5. Request the test questions, of the video, its centre frame and nothing.
        portions: list[pd.DataFrame] = []
        total = len(MODALITIES) * len(corpus.test)
        for modality in MODALITIES:
            for portion in evaluate(model, corpus, device, modality):
                portions.append(portion)
                asked = sum(p["item"].nunique() for p in portions)
                yield Progress(phase="testing", detail=modality, step=asked, steps=total)
    outcomes = pd.concat(portions, ignore_index=True)
    outcomes.to_parquet(folder.path / "predictions.parquet", index=False)

    # 6. What came out.
    rows = scores(outcomes, config.design.data.benchmark)
    log(", ".join(f"{row['category']} {row['score']:.1f}" for row in rows[:6]))
    return Result(
        key=job.key,
        attempt=attempt,
        scores=[Score(**row) for row in rows],  # type: ignore[arg-type]
        seconds=time.time() - started,
        started_at=started,
        ended_at=time.time(),
        environment=describe() | {"device": str(device), "threads": str(job.threads)},
        counts={"samples": curve.samples, "steps": curve.steps, "seconds_training": curve.seconds},
    )


def data_folder(data: Data, cache: Path) -> Path:
    """The folder with the manifests and media; the embedded study's is rendered first, where it is not there yet."""
    match data:
        case TinyData():
            from models.tiny import prepare

            # Trials that wait for the same videos leave their cores idle meanwhile: take them all.
            return prepare(data, cache, workers=len(os.sched_getaffinity(0)))
        case ManifestData():
            return Path(data.folder)
        case AssumedData():
            raise UsageError("these data are only assumed, for a plan; set `data` to a manifest of your own")
        case _:
            assert_never(data)


def _corpus(
    config: TrialConfig, data: Path, decoder: Decoder, model: VideoLMM, tokenizer: PreTrainedTokenizerBase
) -> Corpus:
    """The data as this design sees it; small videos are decoded once, and seen once by frozen encoders of images."""
    from models.data import Corpus, Prompter, load_test, load_train
    from models.encoders import store_features
    from models.video import OnDemand, Source, store_frames

    design, encoders = config.design, model.encoder.encoders
    records, items = load_train(data), load_test(data)
    features: dict[int, Source] = {}
    frames: Source
    if isinstance(design.data, TinyData):
        media = dict.fromkeys([p for r in records for p in r.media] + [p for i in items for p in i.media])
        frames = stored = store_frames(data, list(media), decoder)
        if all(stage.lr.vision == 0 for stage in design.schedule):
            for place in design.image_encoders:
                features[place] = store_features(data, stored, encoders[place], _features_name(design.encoders[place]))
    else:
        frames = OnDemand(data, decoder, max(encoder.resolution for encoder in encoders))
    return Corpus(design, model.encoder, Prompter(tokenizer), records, items, frames, features)


def _features_name(encoder: Encoder) -> str:
    """What a file of stored features is called: the encoder and every setting of it."""
    return "-".join(str(value) for name, value in encoder.model_dump().items() if name != "kind")


def seed_everything(seed: int) -> None:
    """Seed every generator that a library may reach for."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries; our own draws use generators of their own
    torch.manual_seed(seed)


def _failure_class(error: Exception) -> FailureClass:
    from models.training import DivergedError

    return "diverged" if isinstance(error, DivergedError) else "error"
