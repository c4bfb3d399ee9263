"""Several encoders on one clip: which frames each takes, and how grids are joined."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.encoders import CombinedEncoder, VisionEncoder, pad_rgb
from models.encoders.combine import combine
from models.video import spread
from tests.models.encoders.clips import visual_of


class Marker(VisionEncoder):
    """Features that identify their frame: the red of the frame's first pixel, plus 1000 times the width."""

    def __init__(self, frames: int, grid: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.frames, self.grid, self.width, self.resolution = frames, grid, width, 8

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        red_BN = clips_BNHWC[..., 0, 0, 0].float()
        red_BT = red_BN.unflatten(1, (self.grid[0], -1)).mean(2)
        return red_BT[:, :, None, None, None].expand(-1, -1, *self.grid[1:], self.width) + 1000 * self.width


def clips(numbers: list[list[int]]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.uint8)[..., None, None, None].expand(-1, -1, 8, 8, 3)


@given(st.integers(1, 64), st.integers(1, 64))
def test_frames_are_spread_in_time(have: int, want: int):
    places = spread(have, want)
    assert len(places) == want
    assert places == sorted(places)
    assert all(0 <= place < have for place in places)
    if have >= want:
        assert len(set(places)) == want
    else:
        assert set(places) == set(range(have))
        counts = [places.count(place) for place in range(have)]
        assert max(counts) - min(counts) <= 1


def test_instants_are_all_where_numbers_agree_and_the_middle_one_of_one():
    assert spread(4, 4) == [0, 1, 2, 3]
    assert spread(5, 1) == [2]
    assert spread(16, 4) == [2, 6, 10, 14]
    assert spread(1, 3) == [0, 0, 0]


def test_an_image_encoder_takes_a_frame_for_each_instant_of_the_grid():
    both = CombinedEncoder([Marker(8, (4, 2, 2), 3), Marker(1, (1, 6, 6), 5)])
    assert (both.grid, both.width, both.takes(0), both.takes(1)) == ((4, 6, 6), 8, 8, 4)
    video = clips([[0, 2, 4, 6, 8, 10, 12, 14]])
    features = both(visual_of(both, [video, video[:, spread(8, 4)]]))
    assert features.shape == (1, 4, 6, 6, 8)
    assert features[0, :, 0, 0, 0].tolist() == [3001, 3005, 3009, 3013]
    assert features[0, :, 0, 0, 7].tolist() == [5002, 5006, 5010, 5014]


def test_stored_features_are_used_unchanged():
    both = CombinedEncoder([Marker(2, (2, 2, 2), 3), Marker(1, (1, 2, 2), 5)])
    video = clips([[1, 2], [3, 4]])
    stored = both.encoders[1](video.flatten(0, 1)[:, None])[:, 0].unflatten(0, (2, 2))
    live = both(visual_of(both, [video, video]))
    assert torch.equal(both(visual_of(both, [video, stored])), live)
    torch.testing.assert_close(both(visual_of(both, [video, stored.half()])), live, atol=4, rtol=0)


def test_grids_meet_at_the_largest_by_trilinear_interpolation():
    """Against a hand-made ramp: with corners not aligned, doubling a ramp keeps its middle and flattens its ends."""
    ramp = torch.arange(4.0).view(1, 1, 1, 4, 1).expand(1, 2, 4, 4, 1)
    large = torch.zeros(1, 4, 8, 8, 2)
    joined = combine([ramp, large])
    assert joined.shape == (1, 4, 8, 8, 3)
    assert joined[0, 0, 0, :, 0].tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert torch.equal(joined[..., 1:], large)


def test_grids_of_the_study_give_2560_channels_on_4_27_27():
    internvideo2, siglip = torch.randn(1, 4, 16, 16, 1408), torch.randn(1, 4, 27, 27, 1152)
    joined = combine([internvideo2, siglip])
    assert joined.shape == (1, 4, 27, 27, 2560)
    assert torch.equal(joined[..., 1408:], siglip)


def test_an_encoder_without_forward_is_no_encoder():
    class Lazy(VisionEncoder):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Lazy()


def test_frames_are_padded_with_the_mean_colour():
    assert pad_rgb(((0.485, 0.456, 0.406), (1, 1, 1))) == (123, 116, 103)
    assert pad_rgb(((0.48145466, 0.4578275, 0.40821073), (1, 1, 1))) == (122, 116, 104)
    assert pad_rgb(((0.5, 0.5, 0.5), (1, 1, 1))) == (127, 127, 127)
