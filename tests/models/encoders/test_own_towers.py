"""Our own towers: published names, shapes, counts; the reference code's outputs; loading of published layouts."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.cards import encoder_card
from models.design import CustomEncoder, Encoder, InternVideo2, LanguageBindImage, LanguageBindVideo, Vjepa
from models.encoders import VisionEncoder, build_encoder
from models.encoders.internvideo2 import InternVideo2Tower
from models.encoders.languagebind import LanguageBindTower
from models.encoders.vjepa import VjepaTower
from models.families import FAMILIES
from models.weights import CheckpointError, InternVideo2Sizes, LanguageBindSizes, VjepaSizes
from models.weights.layouts import TRAINING_ONLY
from models.weights.shapes import heads_of
from tests.models.encoders.published import filled, golden, manifest

CLOSE = {"atol": 1e-4, "rtol": 0.0}

# --- names, shapes, counts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "make", "prefix", "params"),
    [
        ("vjepa-vith16-384", lambda: VjepaTower(VjepaSizes()), "", 637_546_240),
        ("vjepa-vith16-224", lambda: VjepaTower(VjepaSizes(image=224)), "", 633_655_040),
        (
            "vjepa-vitl16-224",
            lambda: VjepaTower(VjepaSizes(image=224, width=1024, depth=24, mlp=4096)),
            "",
            305_490_944,
        ),
        (
            "internvideo2-stage2-1b-224p-f4.patch_features_only",
            lambda: InternVideo2Tower(InternVideo2Sizes()),
            "",
            1_012_586_496,
        ),
        ("languagebind-image", lambda: LanguageBindTower(LanguageBindSizes()), "vision_model.", 303_179_776),
        (
            "languagebind-video-v1.5-ft",
            lambda: LanguageBindTower(LanguageBindSizes(frames=8, is_conv3d=True)),
            "vision_model.",
            404_194_304,
        ),
    ],
)
def test_towers_have_the_published_keys_shapes_and_counts(name: str, make, prefix: str, params: int):
    with torch.device("meta"):
        tower = make()
    listed = {key: shape for key, shape in manifest(name).items() if not key.endswith("position_ids")}
    assert {prefix + key: tuple(tensor.shape) for key, tensor in tower.state_dict().items()} == listed
    assert sum(math.prod(shape) for shape in listed.values()) == params


def test_what_is_left_out_of_internvideo2_is_what_its_training_alone_used():
    whole = manifest("internvideo2-stage2-1b-224p-f4")
    features_only = {key for key in whole if not key.startswith(TRAINING_ONLY)}
    assert features_only == set(manifest("internvideo2-stage2-1b-224p-f4.patch_features_only"))
    assert sum(math.prod(shape) for shape in whole.values()) == 1_049_117_056


@pytest.mark.parametrize(
    ("make", "params"),
    [
        (lambda: VjepaTower(VjepaSizes()), 637_546_240),
        (lambda: InternVideo2Tower(InternVideo2Sizes(depth=39)), 986_975_872),
        (lambda: LanguageBindTower(LanguageBindSizes(depth=23)), 290_581_504),
        (lambda: LanguageBindTower(LanguageBindSizes(depth=23, frames=8, is_conv3d=True)), 387_387_392),
    ],
)
def test_what_the_study_ran_has_the_published_number_of_parameters(make, params: int):
    """Blocks behind the feature, final norms and the other table of positions are not run."""
    with torch.device("meta"):
        tower = make()
    unused = ("post_layernorm.", "img_pos_embed")
    run = sum(p.numel() for name, p in tower.named_parameters() if not name.startswith(unused))
    assert run == params


# --- the reference's outputs -------------------------------------------------------------------------

SMALL_VJEPA = VjepaSizes(image=48, frames=4, width=64, depth=3, heads=4, mlp=256)
SMALL_INTERN = InternVideo2Sizes(image=42, width=64, depth=3, heads=4, mlp=279)
SMALL_BIND = LanguageBindSizes(image=42, width=64, depth=3, heads=4, mlp=160)


def up_to(tower: nn.Module, blocks: str, keep: int) -> nn.Module:
    """The tower with its first blocks alone."""
    owner, name = (tower.encoder, "layers") if blocks == "layers" else (tower, blocks)
    setattr(owner, name, getattr(owner, name)[:keep])
    return tower


def sincos_positions(sizes: VjepaSizes) -> Tensor:
    """The fixed table that published files hold: sines and cosines of time, height and width: (1, L, D).

    Each axis has 2 * ceil(D / 6) columns, sines then cosines at frequencies 10000^(-i / (columns / 2)); the three side
    by side are cut to D ("uniform power" in the reference's configs).
    """
    columns = 2 * math.ceil(sizes.width / 6)
    frequency = 10000.0 ** (-torch.arange(columns // 2, dtype=torch.float64) / (columns / 2))
    places = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in sizes.grid), indexing="ij")
    parts = []
    for place in places:
        angle = place.flatten()[:, None] * frequency
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=1)[None, :, : sizes.width].float()


@torch.inference_mode()
def test_vjepa_reproduces_the_reference():
    g, tower = golden("vjepa"), filled(VjepaTower(SMALL_VJEPA))
    torch.testing.assert_close(tower(g["input"]), g["output"], **CLOSE)
    torch.testing.assert_close(tower(g["input_interp"]), g["output_interp"], **CLOSE)
    torch.testing.assert_close(sincos_positions(SMALL_VJEPA), g["init_pos_embed_uniform_power"], **CLOSE)
    tower.pos_embed.copy_(sincos_positions(SMALL_VJEPA))
    torch.testing.assert_close(tower(g["input"]), g["output_with_sincos_pos"], **CLOSE)
    unnormed = filled(VjepaTower(SMALL_VJEPA))
    unnormed.norm = torch.nn.Identity()
    torch.testing.assert_close(unnormed(g["input"]), g["last_prenorm"], **CLOSE)
    before = up_to(unnormed, "blocks", 2)(g["input"])
    torch.testing.assert_close(before, g["penultimate_prenorm"], **CLOSE)


@torch.inference_mode()
def test_internvideo2_reproduces_the_reference():
    g, tower = golden("internvideo2"), filled(InternVideo2Tower(SMALL_INTERN))
    torch.testing.assert_close(tower(g["input"]), g["last"], **CLOSE)
    torch.testing.assert_close(tower(g["input"])[:, 1:], g["last_patch"], **CLOSE)
    torch.testing.assert_close(tower(g["input_image"], is_image=True), g["image_last"], **CLOSE)
    torch.testing.assert_close(tower.positions(8), g["f8_pos_embed_interp"], **CLOSE)
    torch.testing.assert_close(tower(g["input_f8"]), g["f8_last"], **CLOSE)
    torch.testing.assert_close(up_to(tower, "blocks", 2)(g["input"]), g["penultimate"], **CLOSE)
    torch.testing.assert_close(up_to(tower, "blocks", 1)(g["input"]), g["antepenultimate"], **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("languagebind_image", {}),
        ("languagebind_video_2d", {"frames": 4}),
        ("languagebind_video_v15", {"frames": 4, "is_conv3d": True}),
    ],
)
def test_languagebind_reproduces_the_reference(name: str, changes: dict[str, Any]):
    g = golden(name)
    tower = filled(LanguageBindTower(LanguageBindSizes(**{**vars(SMALL_BIND), **changes})))
    pixels = g["input"][:, None] if name == "languagebind_image" else g["input"].transpose(1, 2)
    torch.testing.assert_close(tower(pixels), g["last"], **CLOSE)
    assert not torch.allclose(tower(pixels)[:, 0], g["last"][:, 1]), "the class token comes first"
    torch.testing.assert_close(up_to(tower, "layers", 2)(pixels), g["penultimate"], **CLOSE)
    torch.testing.assert_close(up_to(tower, "layers", 1)(pixels), g["hidden_1"], **CLOSE)
    torch.testing.assert_close(up_to(tower, "layers", 0)(pixels), g["hidden_0_after_pre_layernorm"], **CLOSE)


# --- loading published layouts -----------------------------------------------------------------------


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def save_vjepa(folder: Path) -> tuple[nn.Module, Path]:
    """As published: a training state with optimiser and predictor; the exponential average is what is used."""
    tower = filled(VjepaTower(VjepaSizes(image=32, width=64, depth=3, heads=1, mlp=96)))
    other = {key: tensor + 1 for key, tensor in tower.state_dict().items()}
    state = {
        "encoder": under("module.backbone.", other),
        "target_encoder": under("module.backbone.", tower.state_dict()),
        "predictor": {"module.backbone.predictor_pos_embed": torch.ones(3)},
        "opt": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "scaler": None,
        "epoch": 300,
        "lr": 1e-3,
    }
    torch.save(state, folder / "vith16-384.pth.tar")
    return tower, folder / "vith16-384.pth.tar"


def save_internvideo2(folder: Path) -> tuple[nn.Module, Path]:
    """As published: DeepSpeed's dump in bf16, beside a text tower and the heads that training used."""
    tower = filled(InternVideo2Tower(InternVideo2Sizes(image=28, width=64, depth=3, heads=1, mlp=96)))
    own = {key: tensor.bfloat16() for key, tensor in tower.state_dict().items()}
    tower.load_state_dict({key: tensor.float() for key, tensor in own.items()})
    foreign = {
        "clip_pos_embed": torch.ones(1, 2),
        "clip_projector.norm1_q.weight": torch.ones(2),
        "clip_decoder.0.head.weight": torch.ones(2, 2),
        "final_clip_decoder.head.bias": torch.ones(2),
    }
    module = {
        **under("vision_encoder.", {**own, **foreign}),
        "text_encoder.embeddings.position_ids": torch.arange(3),
        "temp": torch.ones(()),
        "vision_proj.weight": torch.ones(2, 2),
    }
    torch.save({"module": module, "shapes": torch.Size([1, 2]), "names": {"a"}}, folder / "v.pt")
    (folder / "v.pt").rename(folder / "InternVideo2-stage2_1b-224p-f4.pt")
    return tower, folder / "InternVideo2-stage2_1b-224p-f4.pt"


def save_languagebind(folder: Path, *, frames: int, act: str = "gelu") -> tuple[nn.Module, Path]:
    """As published: a whole CLIP with buffers of positions, its config beside it (for videos under another name)."""
    sizes = LanguageBindSizes(image=28, width=64, depth=3, heads=4, mlp=96, frames=frames, is_conv3d=frames > 1)
    tower = filled(LanguageBindTower(sizes))
    state = {
        **under("vision_model.", tower.state_dict()),
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
        "text_model.embeddings.position_ids": torch.arange(5)[None],
        "text_model.final_layer_norm.weight": torch.ones(2),
        "text_projection.weight": torch.ones(2, 2),
        "visual_projection.weight": torch.ones(2, 2),
        "logit_scale": torch.ones(()),
    }
    torch.save(state, folder / "pytorch_model.bin")
    vision = {"num_attention_heads": 4, "hidden_act": act}
    (folder / "config.json").write_text(json.dumps({"vision_config_dict" if frames > 1 else "vision_config": vision}))
    return tower, folder


CASES: dict[str, tuple[Callable[[Path], tuple[nn.Module, Path]], Callable[[str], Encoder], tuple[int, int, int]]] = {
    "vjepa": (save_vjepa, lambda w: Vjepa(kind="vjepa", weights=w), (8, 2, 2)),
    "internvideo2": (save_internvideo2, lambda w: InternVideo2(kind="internvideo2", weights=w), (4, 2, 2)),
    "languagebind_image": (
        lambda folder: save_languagebind(folder, frames=1),
        lambda w: LanguageBindImage(kind="languagebind_image", weights=w),
        (1, 2, 2),
    ),
    "languagebind_video": (
        lambda folder: save_languagebind(folder, frames=8),
        lambda w: LanguageBindVideo(kind="languagebind_video", weights=w),
        (8, 2, 2),
    ),
}


def expected(name: str, tower: nn.Module, pixels_BNCHW: Tensor) -> Tensor:
    """The study's feature, as rows of places without class tokens."""
    if name == "vjepa":
        return tower(pixels_BNCHW.transpose(1, 2))
    if name == "internvideo2":
        return up_to(tower, "blocks", 2)(pixels_BNCHW.transpose(1, 2))[:, 1:]
    states = up_to(tower, "layers", 2)(pixels_BNCHW)[:, 1:]
    return states.unflatten(0, pixels_BNCHW.shape[:2]).flatten(1, 2)


@pytest.mark.parametrize("name", CASES)
def test_published_layouts_load_unchanged_and_give_the_studys_feature(name: str, tmp_path: Path):
    save, config, grid = CASES[name]
    tower, where = save(tmp_path)
    encoder = build_encoder(config(str(where)))
    shape = (2, encoder.frames, encoder.resolution, encoder.resolution, 3)
    clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = encoder(clips)
        rows = expected(name, tower, encoder.pixels(clips, encoder.resolution))
    assert (encoder.grid, features.shape) == (grid, (2, *grid, 64))
    torch.testing.assert_close(features.flatten(1, 3), rows, **CLOSE)
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert not any(parameter.is_meta for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("name", "containers"),
    [
        ("vjepa", ("target_encoder",)),
        ("vjepa", ("encoder",)),
        ("vjepa", ("encoder", "target_encoder")),
        ("internvideo2", ("module",)),
        ("internvideo2", ("model",)),
        ("internvideo2", ("model", "module")),
    ],
)
def test_the_container_that_stands_last_here_is_the_one_read(name: str, containers: tuple[str, ...], tmp_path: Path):
    """`target_encoder`, else `encoder`; `module`, else `model`: the plan and the trial alike."""
    save, config, grid = CASES[name]
    tower, where = save(tmp_path)
    state = {}
    for depth, container in enumerate(containers, start=4 - len(containers)):  # the last has all three blocks
        own = {k: v for k, v in tower.state_dict().items() if not k.startswith("blocks.") or int(k[7]) < depth}
        state[container] = under("module.backbone." if name == "vjepa" else "vision_encoder.", own)
    torch.save(state | {"epoch": 3}, where)
    encoder = build_encoder(config(str(where)).model_copy(update={"layer": 3}))
    assert encoder.grid == grid
    own = encoder.tower.state_dict()
    loaded = {key: tensor for key, tensor in tower.state_dict().items() if key != "img_pos_embed"}
    assert all(torch.equal(own[key], tensor) for key, tensor in loaded.items())
    assert encoder_card(config(str(where))).depth == 3


@torch.inference_mode()
def test_internvideo2s_gelu_is_an_option(tmp_path: Path):
    """By hand, of x: x * Phi(x), and 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
    _, where = save_internvideo2(tmp_path)
    x = torch.tensor([-1.0, 0.5, 2.0])
    for gelu, expected in (("exact", [-0.158655, 0.345731, 1.954500]), ("tanh", [-0.158808, 0.345714, 1.954598])):
        config = InternVideo2(kind="internvideo2", weights=str(where), gelu=gelu)
        encoder = build_encoder(config)
        for block in encoder.tower.blocks:
            block.mlp.fc1 = block.mlp.fc2 = nn.Identity()
            torch.testing.assert_close(block.mlp(x), torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_bare_safetensors_load_too(name: str, tmp_path: Path):
    """As Apollo's release and other copies hold the towers."""
    save, config, _ = CASES[name]
    tower, _ = save(tmp_path)
    for file in tmp_path.glob("*.p*t*"):
        file.unlink()
    (tmp_path / "pytorch_model.bin").unlink(missing_ok=True)
    save_file(tower.state_dict(), tmp_path / "model.safetensors")
    encoder = build_encoder(config(str(tmp_path)))
    first = next(iter(tower.state_dict()))
    assert torch.equal(encoder.tower.state_dict()[first], tower.state_dict()[first])


@pytest.mark.parametrize("name", CASES)
def test_the_grid_is_time_height_width(name: str, tmp_path: Path):
    save, config, grid = CASES[name]
    _, where = save(tmp_path)
    encoder = build_encoder(config(str(where)).model_copy(update={"layer": 0}))
    black = torch.zeros(1, encoder.frames, encoder.resolution, encoder.resolution, 3, dtype=torch.uint8)
    marked, place = black.clone(), (grid[0] - 1, 0, 1)
    t, h, w = (
        slice(size * at // count, size * (at + 1) // count)
        for size, at, count in zip(marked.shape[1:4], place, grid, strict=True)
    )
    marked[:, t, h, w] = 255
    with torch.inference_mode():
        change = (encoder(marked) - encoder(black)).abs().sum(-1)[0]
    assert change[place] == change.max()
    assert int((change > 1e-5).sum()) == 1


# --- what is refused ---------------------------------------------------------------------------------


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", CASES)
def test_bad_checkpoints_are_refused_in_a_sentence(name: str, tmp_path: Path):
    save, config, _ = CASES[name]
    _, where = save(tmp_path)
    file = where if where.is_file() else where / "pytorch_model.bin"
    whole = file.read_bytes()

    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is damaged or truncated"):
        build_encoder(config(str(where)))
    file.write_text("<html>access denied</html>")
    with pytest.raises(CheckpointError, match=r"damaged or truncated|could run code"):
        build_encoder(config(str(where)))
    torch.save({"model": Evil(tmp_path / "pwned")}, file)
    with pytest.raises(CheckpointError, match="was not read, as it could run code"):
        build_encoder(config(str(where)))
    assert not (tmp_path / "pwned").exists()
    torch.save({"bert.embeddings.weight": torch.ones(3)}, file)
    with pytest.raises(CheckpointError, match="is no checkpoint of"):
        build_encoder(config(str(where)))
    torch.save([1, 2], file)
    with pytest.raises(CheckpointError, match="contains a list, not named tensors"):
        build_encoder(config(str(where)))
    file.unlink()
    with pytest.raises(CheckpointError, match=r"fetch .* from https://"):
        build_encoder(config(str(where)))


@pytest.mark.parametrize("name", ["vjepa", "internvideo2"])
def test_missing_unexpected_and_mismatched_tensors_are_named(name: str, tmp_path: Path):
    save, config, _ = CASES[name]
    tower, where = save(tmp_path)
    state = dict(tower.state_dict())
    cases = (
        ({k: v for k, v in state.items() if k != "blocks.1.norm1.weight"}, r"lacks blocks\.1\.norm1\.weight"),
        (state | {"adapter": torch.ones(1)}, "also holds adapter"),
        (
            state | {"blocks.1.mlp.fc1.bias": torch.ones(3)},
            r"another shape for blocks\.1\.mlp\.fc1\.bias \(\(3,\) instead of \(96,\)\)",
        ),
    )
    for tensors, says in cases:
        torch.save(tensors, where)
        with pytest.raises(CheckpointError, match=says):
            build_encoder(config(str(where)))


@pytest.mark.parametrize(
    ("config", "file"),
    [
        (
            InternVideo2(kind="internvideo2", weights="OpenGVLab/InternVideo2-Stage2_1B-224p-f4"),
            "InternVideo2-stage2_1b-224p-f4.pt",
        ),
        (
            LanguageBindVideo(kind="languagebind_video", weights="LanguageBind/LanguageBind_Video_V1.5_FT"),
            "pytorch_model.bin",
        ),
        (
            LanguageBindImage(kind="languagebind_image", weights="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"),
            "pytorch_model.bin",
        ),
    ],
)
def test_the_message_for_an_unreachable_hub_says_what_to_put_where(config, file: str, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as error:
        build_encoder(config)
    message = str(error.value)
    assert "cannot be fetched from the hub (the hub cannot be reached); " in message
    assert f"fetch {file} from https://huggingface.co/{config.weights}" in message
    assert f"put it at $ABLATE_WEIGHTS/{config.weights}/{file}" in message


@pytest.mark.parametrize("name", ["vith16-384", "vith16", "vitl16"])
def test_the_message_for_a_published_address_says_what_to_put_where(name: str, tmp_path: Path, monkeypatch):
    config = Vjepa(kind="vjepa", weights=f"https://dl.fbaipublicfiles.com/jepa/{name}/{name}.pth.tar")
    with pytest.raises(CheckpointError) as error:
        build_encoder(config)
    file = f"{name}.pth.tar"
    assert f"fetch {file} from {config.weights} and put it at $ABLATE_WEIGHTS/{file}" in str(error.value)
    _, saved = save_vjepa(tmp_path)
    saved.rename(tmp_path / file)
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    assert build_encoder(config).grid == (8, 2, 2)


def hub(folder: Path, monkeypatch, errors: dict[str, Exception] | None = None) -> list[str]:
    """A hub that holds the folder's files; returns the names that are requested."""
    from huggingface_hub.errors import EntryNotFoundError

    requests = []

    def download(repo: str, name: str, *, revision: str) -> str:
        assert revision == "main"
        requests.append(name)
        if name in (errors or {}):
            raise (errors or {})[name]
        if not (folder / name).is_file():
            raise EntryNotFoundError(f"404: {name}")
        cache = folder / "cache"
        cache.mkdir(exist_ok=True)
        (cache / name).write_bytes((folder / name).read_bytes())
        return str(cache / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return requests


def test_files_that_the_hub_lacks_or_refuses_are_reported(tmp_path: Path, monkeypatch):
    config = InternVideo2(kind="internvideo2", weights="OpenGVLab/InternVideo2-Stage2_1B-224p-f4")
    requests = hub(tmp_path, monkeypatch)
    with pytest.raises(CheckpointError, match=r"\(it has no InternVideo2-stage2_1b-224p-f4\.pt or "):
        build_encoder(config)
    assert len(requests) == 3
    hub(tmp_path, monkeypatch, {requests[0]: OSError("Access is restricted\nmore")})
    with pytest.raises(CheckpointError, match=r"\(Access is restricted\); fetch .*gated: ask there"):
        build_encoder(config)


@pytest.mark.parametrize("frames", [1, 8])  # `vision_config`, `vision_config_dict`
def test_languagebinds_config_comes_from_the_hub_too(frames: int, tmp_path: Path, monkeypatch):
    save_languagebind(tmp_path, frames=frames, act="quick_gelu")
    kind = LanguageBindImage if frames == 1 else LanguageBindVideo
    config = kind(kind="languagebind_image" if frames == 1 else "languagebind_video", weights="some/where")
    requests = hub(tmp_path, monkeypatch)
    encoder = build_encoder(config)
    assert requests == ["pytorch_model.bin", "config.json"]
    layer = encoder.tower.encoder.layers[0]
    assert layer.mlp.is_quick
    assert layer.self_attn.heads == 4

    (tmp_path / "cache" / "config.json").unlink()
    (tmp_path / "config.json").unlink()
    bare = build_encoder(config).tower.encoder.layers[0]
    assert not bare.mlp.is_quick  # as the published towers are, whatever their class's default
    assert bare.self_attn.heads == 1  # 64 wide each


def test_quick_gelu_is_another_function(tmp_path: Path):
    """By hand: x * sigmoid(1.702 x) instead of x * Phi(x)."""
    x = torch.tensor([-1.0, 0.5, 2.0])
    for act, expected in (
        ("gelu", [-0.158655, 0.345731, 1.954500]),
        ("quick_gelu", [-0.154209, 0.350386, 1.935666]),
    ):
        _, folder = save_languagebind(tmp_path, frames=1, act=act)
        mlp = (
            build_encoder(LanguageBindImage(kind="languagebind_image", weights=str(folder))).tower.encoder.layers[0].mlp
        )
        mlp.fc1 = mlp.fc2 = nn.Identity()
        torch.testing.assert_close(mlp(x), torch.tensor(expected), atol=1e-5, rtol=0)


def test_the_number_of_frames_must_suit_the_weights(tmp_path: Path):
    _, folder = save_languagebind(tmp_path, frames=8)
    with pytest.raises(CheckpointError, match="takes clips of 8 frames, not 4"):
        build_encoder(LanguageBindVideo(kind="languagebind_video", weights=str(folder), frames=4))
    with pytest.raises(CheckpointError, match="is a tower for videos; use kind: languagebind_video"):
        build_encoder(LanguageBindImage(kind="languagebind_image", weights=str(folder)))
    _, file = save_vjepa(tmp_path)
    with pytest.raises(CheckpointError, match="tubelets of 2 frames"):
        build_encoder(Vjepa(kind="vjepa", weights=str(file), frames=7))
    assert build_encoder(Vjepa(kind="vjepa", weights=str(file), frames=8)).grid == (4, 2, 2)


# --- an encoder of one's own --------------------------------------------------------------------------

MINE = """
from torch import Tensor
from models.encoders.base import VisionEncoder

class Mine(VisionEncoder):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.frames, self.grid, self.width, self.resolution = 1, (1, 2, 2), width, 8

    def forward(self, clips_BNHWC: Tensor) -> Tensor:
        return self.pixels(clips_BNHWC, 2)[:, :1, :1].movedim(2, -1).expand(-1, -1, -1, -1, self.width)

class Lazy(VisionEncoder):
    pass

class Stranger:
    pass
"""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"path": "nowhere:Mine"}, "No module named 'nowhere'; is its folder on PYTHONPATH"),
        ({"path": "mine:Yours"}, "no such class"),
        ({"path": "mine:Stranger"}, "not a subclass of models.encoders.base.VisionEncoder"),
        ({"path": "mine:Lazy"}, "it lacks forward"),
        ({"options": {"size": 3}}, "does not take `options`"),
        ({"grid": (1, 3, 3)}, r"`grid` is declared as \(1, 3, 3\), but the encoder's is \(1, 2, 2\)"),
        ({"width": 5}, "`width` is declared as 5, but the encoder's is 4"),
    ],
)
def test_an_encoder_of_ones_own_enters_by_its_import_path(changes, says, tmp_path: Path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    fields = {"kind": "custom", "path": "mine:Mine", "options": {"width": 4}, "grid": (1, 2, 2), "width": 4, **changes}
    config = CustomEncoder(**fields)
    if says is None:
        encoder = build_encoder(config)
        assert isinstance(encoder, VisionEncoder)
        assert encoder(torch.zeros(3, 1, 8, 8, 3, dtype=torch.uint8)).shape == (3, 1, 2, 2, 4)
    else:
        with pytest.raises(ValueError, match=says):
            build_encoder(config)


def test_unknown_numbers_of_heads_are_not_guessed_for_wide_towers():
    """Any number of heads loads strictly, and all but one compute wrong features."""
    heads_by_width = FAMILIES["internvideo2"].heads_by_width
    assert heads_of(1408, heads_by_width, "w") == 16
    assert heads_of(128, heads_by_width, "w") == 2
    with pytest.raises(CheckpointError, match="the number of heads of a tower of width 3200 is not known"):
        heads_of(3200, heads_by_width, "6B.pt")
