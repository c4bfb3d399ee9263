"""The data of the embedded study as files: videos, images and the two manifests that any data set has.

`prepare` is idempotent and may be killed at any time: it writes to a sibling folder, which it renames at the end. No
torch here, so that spawned workers start fast.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from PIL import Image

from models.design import TinyData
from models.tiny.files.codec import write_video
from models.tiny.world import (
    Scene,
    WorldSplit,
    album_questions,
    frame_times,
    generator,
    image_turns,
    make_scene,
    offer_options,
    render,
    text_turn,
    video_questions,
)
from models.video import fresh_folder

Entry = dict[str, Any]
"""A JSON object of a manifest."""
Turns = list[tuple[str, str]]

NUM_IMAGES = 3000
NUM_TEXTS = 1000
NUM_ALBUMS = 600
"""Number of records with two or three pictures each, and questions that compare them or are about one of them."""
_LAYOUT = "b"
"""Part of the folder's name, changed when a study of the same `TinyData.VERSION` gets more files or records: `b` added
the albums, after all earlier records."""
_CHUNK = 100
"""Number of items of a worker's task: about a second of work."""


class Chunk(NamedTuple):
    """Items `start` to `stop` of a split, to be written to `folder`."""

    folder: Path
    world_seed: int
    split: WorldSplit
    start: int
    stop: int
    num_images: int
    """Number of pictures of the study, from which albums are drawn."""


def prepare(data: TinyData, cache: Path, workers: int) -> Path:
    """Write the files of the study, unless the cache has them.

    Args:
        data: number of videos, and seed of the world.
        cache: folder that contains the studies; created if missing.
        workers: number of processes that render.

    Returns:
        Folder with `train.json`, `test.json`, `videos/` and `images/`.
    """
    name = f"tiny-v{TinyData.VERSION}{_LAYOUT}-w{data.world_seed}-{data.train_videos}-{data.test_videos}"
    folder = cache / name
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{name}.lock"):
        if not folder.exists():  # else another process wrote it while this one waited
            with fresh_folder(folder) as fresh:
                _build(data, fresh, workers)
    return folder


def _build(data: TinyData, folder: Path, workers: int) -> None:
    folder.chmod(0o755)  # mkdtemp gives 0700
    (folder / "videos").mkdir()
    (folder / "images").mkdir()
    numbers: dict[WorldSplit, int] = {
        "train": data.train_videos,
        "image": NUM_IMAGES,
        "text": NUM_TEXTS,
        "test": data.test_videos,
        "multi_image": NUM_ALBUMS,  # last, so that the indices of other records do not change
    }
    chunks = [
        Chunk(folder, data.world_seed, split, start, min(start + _CHUNK, num), NUM_IMAGES)
        for split, num in numbers.items()
        for start in range(0, num, _CHUNK)
    ]
    records: dict[str, list[Entry]] = {"train": [], "test": []}
    for chunk, entries in zip(chunks, _map(chunks, workers), strict=True):
        records["test" if chunk.split == "test" else "train"] += entries
    for manifest, rows in records.items():
        (folder / f"{manifest}.json").write_text(json.dumps(rows), encoding="ascii")


def _map(chunks: list[Chunk], workers: int) -> Iterator[list[Entry]]:
    """Entries of each chunk, in order; computed in this process if there is one worker or one chunk."""
    workers = min(workers, len(chunks))
    if workers <= 1:
        yield from map(make_chunk, chunks)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(make_chunk, chunks)


def make_chunk(chunk: Chunk) -> list[Entry]:
    """Write the media of a chunk and return its manifest entries."""
    write = {
        "train": _train_video,
        "test": _test_video,
        "image": _image,
        "text": _text,
        "multi_image": _album,
    }[chunk.split]
    numbers = range(chunk.start, chunk.stop)
    return [row for i in numbers for row in write(chunk, i, generator(chunk.world_seed, chunk.split, i))]


def _train_video(chunk: Chunk, index: int, rng: np.random.Generator) -> list[Entry]:
    scene = make_scene(rng)
    name = f"videos/train-{index:05d}.mp4"
    write_video(render(scene, frame_times(scene)), chunk.folder / name)
    turns = [(question.text, question.answer) for question in video_questions(scene, rng)]
    conversation = _conversation("<video>\n", turns)
    return [{"id": f"train-{index:05d}", "video": name, "independent": True, "conversations": conversation}]


def _test_video(chunk: Chunk, index: int, rng: np.random.Generator) -> list[Entry]:
    scene = make_scene(rng)
    name = f"videos/test-{index:05d}.mp4"
    write_video(render(scene, frame_times(scene)), chunk.folder / name)
    rows = []
    for question in video_questions(scene, rng):
        choice = offer_options(question, rng)
        rows.append(
            {
                "id": f"test-{index:05d}-{question.task}",
                "question": question.text,
                "options": list(choice.options),
                "answer": choice.answer,
                "category": question.category,
                "task": question.task,
            }
        )
    return [{"id": f"test-{index:05d}", "video": name, "questions": rows}]


def _image(chunk: Chunk, index: int, rng: np.random.Generator) -> list[Entry]:
    """A picture with its caption, and the same picture with questions: two records, as in alignment data."""
    scene, time_s = _draw_picture(rng)
    name = f"images/image-{index:05d}.png"
    Image.fromarray(render(scene, np.array([time_s]))[0]).save(chunk.folder / name)
    caption, *questions = image_turns(scene, time_s)
    return [
        {
            "id": f"{prefix}-{index:05d}",
            "image": name,
            "independent": True,
            "conversations": _conversation("<image>\n", turns),
        }
        for prefix, turns in (("caption", [caption]), ("image", questions))
    ]


def _draw_picture(rng: np.random.Generator) -> tuple[Scene, float]:
    """The scene of a picture, and its time in s.

    Most pictures are taken while the lamp is lit: at random times it would be dark in nine of ten, and a resampler that
    sees each picture once or twice does not learn rare attributes.
    """
    scene = make_scene(rng)
    flash = scene.flashes[int(rng.integers(len(scene.flashes)))]
    lit, dark = rng.uniform(flash.start_s, flash.start_s + flash.length_s), rng.uniform(0, scene.duration_s)
    return scene, float(min(lit, scene.duration_s) if rng.random() < 0.8 else dark)


def _album(chunk: Chunk, index: int, rng: np.random.Generator) -> list[Entry]:
    """Two or three of the study's pictures, with questions about them."""
    chosen = rng.choice(chunk.num_images, size=int(rng.integers(2, 4)), replace=False)
    pictures = [_draw_picture(generator(chunk.world_seed, "image", int(i))) for i in chosen]
    turns = [(question.text, question.answer) for question in album_questions(pictures, rng)]
    return [
        {
            "id": f"album-{index:05d}",
            "image": [f"images/image-{i:05d}.png" for i in chosen],
            "independent": True,
            "conversations": _conversation("<image>\n" * len(chosen), turns),
        }
    ]


def _text(chunk: Chunk, index: int, rng: np.random.Generator) -> list[Entry]:  # noqa: ARG001 - no media
    """A record with one question: its turn contains the transcript, which the answer needs."""
    turn = text_turn(make_scene(rng), rng)
    return [{"id": f"text-{index:05d}", "conversations": _conversation("", [turn])}]


def _conversation(opening: str, turns: Turns) -> list[Entry]:
    rows: list[Entry] = []
    for i, (question, answer) in enumerate(turns):
        rows.append({"from": "human", "value": opening + question if i == 0 else question})
        rows.append({"from": "gpt", "value": answer})
    return rows
