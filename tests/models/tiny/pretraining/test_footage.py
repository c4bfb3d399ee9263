"""Clips lie within their videos at every step, and their slots agree with their frames."""

import numpy as np
import pytest

from models.tiny.pretraining.footage import CLIP_FRAMES, CLIP_SLOTS, SLOT_GROUPS, WAYS, draw_clips, film, read_clips
from models.tiny.world import words
from models.tiny.world.scene import generator, make_scene
from models.tiny.world.words import SLOTS

NUM_CLIPS = 4000


@pytest.fixture(scope="module")
def footage():
    return film("heldout", 30, 16.0)


@pytest.fixture(scope="module")
def clips(footage):
    return draw_clips(footage, NUM_CLIPS, np.random.default_rng(0))


@pytest.mark.slow
def test_clips_lie_within_their_videos(footage, clips):
    within = clips.frames_BN - footage.first[clips.video_B][:, None]
    assert within.shape == (NUM_CLIPS, CLIP_FRAMES)
    assert (within >= 0).all()
    assert (within < footage.count[clips.video_B][:, None]).all()
    assert (np.diff(within, axis=1) >= 0).all()


def test_steps_are_many_and_none_is_favoured(footage, clips):
    steps = clips.frames_BN[:, 1] - clips.frames_BN[:, 0]
    assert (steps == 0).mean() == pytest.approx(0.16, abs=0.04)
    assert steps.max() > 8 * 3
    log_s = np.log2(steps[steps > 0] / 8)
    shares = np.histogram(log_s, bins=[-3, -2, -1, 0, 1, 2.01])[0] / len(log_s)
    assert shares.min() > 0.03  # few videos are long enough for 2 to 4 s
    assert shares.max() < 0.35


def test_clips_of_some_videos_only(footage):
    clips = draw_clips(footage, 200, np.random.default_rng(1), range(3, 5))
    assert set(clips.video_B) == {3, 4}


def test_slots_of_a_clip_agree_with_its_frames(footage, clips):
    slots = read_clips(footage, clips)
    assert sorted(i for group in SLOT_GROUPS for i in group) == list(range(len(CLIP_SLOTS)))
    assert (slots >= 0).all()
    assert (slots < [slot.values for slot in CLIP_SLOTS]).all()
    column = {slot.name: i for i, slot in enumerate(CLIP_SLOTS)}
    names = [slot.name for slot in SLOTS]
    for n in range(CLIP_FRAMES):
        digits = footage.slots[clips.frames_BN[:, n], words.DIGIT_SLOT]
        assert np.array_equal(slots[:, column[f"digit_{n}"]], digits)
    cool_shape = footage.slots[clips.frames_BN[:, 0], names.index("cool_shape")]
    assert np.array_equal(slots[:, column["cool_shape"]], cool_shape)
    for row, video, frames in zip(slots[:500], clips.video_B, clips.frames_BN, strict=False):
        scene = make_scene(generator(0, "heldout", int(video)))
        frame_slots = footage.slots[frames]
        stands = frames[0] == frames[-1]
        assert WAYS[row[column["camera"]]] == ("none" if stands else words.WAYS[scene.camera])
        cells = frame_slots[:, [[2, 3], [6, 7]]]
        assert len(np.unique(cells[:, 1 - scene.mover], axis=0)) == 1  # the other thing stays in its cell
        assert row[column["mover"]] in (2, scene.mover)
        if row[column["mover"]] == 2:  # it is still, or moves by less than a cell
            assert np.ptp(cells[:, scene.mover], axis=0).max() <= 1
        for n in range(1, CLIP_FRAMES):
            way, thing = WAYS[row[column[f"way_{n}"]]], 4 * scene.mover
            right, down = (np.diff(frame_slots[n - 1 : n + 1], axis=0)[0, [2 + thing, 3 + thing]]).tolist()
            if (right or down) and way != "none":
                expected = ("right" if right > 0 else "left") if right else ("down" if down > 0 else "up")
                assert way == expected
