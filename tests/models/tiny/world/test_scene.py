"""Scenes are deterministic, never shared between splits, and survive the codec."""

import io
from pathlib import Path

import numpy as np
import pytest

from models.tiny.files.codec import read_video, write_video
from models.tiny.world import words
from models.tiny.world.rendering import render
from models.tiny.world.scene import SIZE, frame_times, generator, make_scene, read_slots, shape_centres


def scene_of(index, split="train", world_seed=0):
    return make_scene(generator(world_seed, split, index))


def test_a_scene_depends_on_seed_split_and_index_alone():
    again = [render(scene_of(i), frame_times(scene_of(i))) for i in (5, 3, 5)]
    assert np.array_equal(again[0], again[2])
    others = [scene_of(5, "test"), scene_of(5, "train", 1), scene_of(6)]
    assert len({repr(scene) for scene in [scene_of(5), *others]}) == 4


def test_durations_are_log_uniform_over_two_to_sixteen_seconds():
    durations = np.array([scene_of(i).duration_s for i in range(2000)])
    assert durations.min() >= 2
    assert durations.max() <= 16
    shares = np.histogram(np.log2(durations), bins=[1, 2, 3, 4.01])[0] / len(durations)
    assert shares == pytest.approx([1 / 3] * 3, abs=0.04)


def test_shapes_stay_in_their_box_and_apart():
    for i in range(300):
        scene = scene_of(i)
        places = shape_centres(scene, frame_times(scene))
        assert (places >= (4, 12)).all()
        assert (places <= (28, 28)).all()
        assert np.abs(places[:, 0] - places[:, 1]).max(axis=1).min() >= 6.99


def test_times_are_not_aligned_to_frames():
    starts = np.array([flash.start_s for i in range(300) for flash in scene_of(i).flashes])
    assert np.histogram(starts * 8 % 1, bins=4)[0] / len(starts) == pytest.approx([0.25] * 4, abs=0.06)


def test_words_of_different_slots_coincide_for_shapes_only():
    spoken = [word for slot in words.SLOTS for word in slot.words]
    assert len(spoken) == len(set(spoken)) + len(words.SHAPES)
    assert sorted(i for thing in words.THINGS for i in thing) == list(range(len(words.SLOTS)))
    for i in range(50):
        scene = scene_of(i)
        slots = read_slots(scene, frame_times(scene))
        assert (slots >= 0).all()
        assert (slots < [len(slot.words) for slot in words.SLOTS]).all()


def test_the_codec_keeps_number_and_looks_of_frames(tmp_path: Path):
    decord = pytest.importorskip("decord")
    for i in range(5):
        scene = scene_of(i)
        frames = render(scene, frame_times(scene))
        write_video(frames, tmp_path / "x.mp4")
        reader = decord.VideoReader(str(tmp_path / "x.mp4"))
        back = reader.get_batch(range(len(reader))).asnumpy()
        assert back.shape == frames.shape == (scene.num_frames, SIZE, SIZE, 3)
        assert reader.get_avg_fps() == pytest.approx(8)
        assert np.abs(back.astype(int) - frames).mean() < 5
        file = io.BytesIO()
        write_video(frames, file)
        file.seek(0)
        assert np.abs(read_video(file).astype(int) - back).mean() < 2  # chroma is scaled up differently
