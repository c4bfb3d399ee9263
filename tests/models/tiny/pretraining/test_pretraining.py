"""The objectives of the encoders' pre-training: the same weights twice, masks that hide, patches in order."""

import pytest

from models.tiny.pretraining import reference_towers as towers
from models.tiny.pretraining import run
from models.tiny.pretraining.masked import choose_visible, cut, encode_clips, encode_frames, painting_loss

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")


@pytest.mark.slow
@pytest.mark.parametrize("name", run.ENCODERS)
def test_training_gives_the_same_weights_twice(name):
    train, _ = run.ENCODERS[name]
    first, second = (train(3, 4).state_dict() for _ in range(2))
    fresh = (towers.new_video_tower if name.startswith("video") else towers.new_image_tower)().state_dict()
    assert first.keys() == fresh.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_encoding_all_patches_is_encoding_the_picture():
    torch.manual_seed(0)
    for tower, encode, shape, patches in (
        (towers.new_image_tower(), encode_frames, (2, 3, 32, 32), towers.PATCHES),
        (towers.new_video_tower(), encode_clips, (2, 4, 3, 32, 32), towers.TUBELETS),
    ):
        pixels = torch.randn(shape)
        whole = tower.eval()(pixel_values=pixels).last_hidden_state
        assert whole.shape == (2, patches, towers.WIDTH)
        assert torch.allclose(encode(tower, pixels, torch.arange(patches).expand(2, -1)), whole, atol=1e-5)


def test_the_encoder_does_not_see_what_is_hidden():
    torch.manual_seed(0)
    tower, visible = (
        towers.new_video_tower().eval(),
        choose_visible(1, towers.TUBELETS, np.random.default_rng(0)),
    )
    assert visible.shape == (1, 8)
    pixels, changed = torch.randn(1, 4, 3, 32, 32), None
    for hidden in set(range(towers.TUBELETS)) - set(visible[0].tolist()):
        instant, row, column = hidden // 16, hidden % 16 // 4, hidden % 4
        changed = pixels.clone()
        changed[:, 2 * instant : 2 * instant + 2, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 0
        assert torch.equal(encode_clips(tower, pixels, visible), encode_clips(tower, changed, visible))
    assert not torch.equal(tower(pixel_values=pixels).last_hidden_state, tower(pixel_values=changed).last_hidden_state)


def test_patches_are_cut_in_the_order_of_features():
    pixels = torch.zeros(1, 4, 3, 32, 32)
    pixels[:, 2, 0, 8 * 3 + 1, 8 * 1 + 2] = 1.0  # second tubelet, fourth row, second column
    patches = cut(pixels, tubelet=2)
    assert patches.shape == (1, 32, 2 * 3 * 64)
    (where,) = patches.abs().sum(-1)[0].nonzero().tolist()
    assert where == [16 + 4 * 3 + 1]
    tower = towers.new_video_tower()
    moved = tower.embeddings(pixels, None) - tower.embeddings(torch.zeros_like(pixels), None)
    assert moved.abs().sum(-1)[0].nonzero().tolist() == [where]


def test_only_hidden_patches_count():
    target, visible = torch.randn(2, 16, 5), torch.tensor([[0, 3], [1, 2]])
    painted = target.clone()
    painted[0, 3] += 9
    assert painting_loss(painted, target, visible) == 0
    painted[1, 3] += 2
    assert painting_loss(painted, target, visible).item() == pytest.approx(4 / 28)
