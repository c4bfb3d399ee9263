"""Encoders that transformers knows, from checkpoints saved here: as `save_pretrained` writes and as was published."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    Siglip2Config,
    Siglip2Model,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEModel,
    VJEPA2Config,
    VJEPA2Model,
)

from models.design import ClipTower, Dinov2, Encoder, Siglip, Siglip2, VideoMae, Vjepa2
from models.encoders import build_encoder
from models.encoders.dinov2 import resized_positions
from models.weights import CheckpointError

BLOCKS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
TEXT = {**BLOCKS, "num_hidden_layers": 1, "vocab_size": 30, "max_position_embeddings": 8}
VIDEO = {"image_size": 32, "patch_size": 8, "num_frames": 4, "tubelet_size": 2}
VJEPA2 = {"crop_size": 32, "patch_size": 8, "frames_per_clip": 4, "tubelet_size": 2, "mlp_ratio": 2}
SMALL: dict[str, Callable[[], PreTrainedModel]] = {
    "siglip": lambda: SiglipVisionModel(SiglipVisionConfig(**BLOCKS, image_size=30, patch_size=14)),
    "siglip-bundled": lambda: SiglipModel(
        SiglipConfig(vision_config={**BLOCKS, "image_size": 30, "patch_size": 14}, text_config=TEXT)
    ),
    "siglip2": lambda: Siglip2VisionModel(Siglip2VisionConfig(**BLOCKS, num_patches=9, patch_size=8)),
    "siglip2-bundled": lambda: Siglip2Model(
        Siglip2Config(vision_config={**BLOCKS, "num_patches": 9, "patch_size": 8}, text_config=TEXT)
    ),
    "clip": lambda: CLIPVisionModel(CLIPVisionConfig(**BLOCKS, image_size=28, patch_size=14)),
    "clip-bundled": lambda: CLIPModel(
        CLIPConfig(vision_config={**BLOCKS, "image_size": 28, "patch_size": 14}, text_config=TEXT)
    ),
    "dinov2": lambda: Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, image_size=518, patch_size=14)
    ),
    "videomae": lambda: VideoMAEModel(VideoMAEConfig(**BLOCKS, **VIDEO, use_mean_pooling=False)),
    "videomae-bundled": lambda: VideoMAEForPreTraining(
        VideoMAEConfig(
            **BLOCKS,
            **VIDEO,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=32,
        )
    ),
    "vjepa2": lambda: VJEPA2Model(
        VJEPA2Config(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            pred_hidden_size=48,
            pred_num_attention_heads=4,
            pred_num_hidden_layers=1,
            **VJEPA2,
        )
    ),
}
KINDS: dict[str, Callable[[str], Encoder]] = {
    "siglip": lambda weights: Siglip(kind="siglip", weights=weights),
    "siglip2": lambda weights: Siglip2(kind="siglip2", weights=weights),
    "clip": lambda weights: ClipTower(kind="clip", weights=weights),
    "dinov2": lambda weights: Dinov2(kind="dinov2", weights=weights),
    "videomae": lambda weights: VideoMae(kind="videomae", weights=weights, frames=4),
    "vjepa2": lambda weights: Vjepa2(kind="vjepa2", weights=weights, frames=4),
}
OTHERS = ("text_model", "decoder", "predictor")
"""Prefixes of what is no vision tower in these files."""
GRIDS = {
    "siglip": (1, 2, 2),
    "siglip2": (1, 3, 3),
    "clip": (1, 2, 2),
    "dinov2": (1, 16, 16),
    "videomae": (2, 4, 4),
    "vjepa2": (2, 4, 4),
}


def config_of(name: str, weights: Path) -> Encoder:
    return KINDS[name.removesuffix("-bundled")](str(weights))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], tuple[Path, PreTrainedModel]]:
    def save(name: str) -> tuple[Path, PreTrainedModel]:
        torch.manual_seed(0)
        model = SMALL[name]().eval()
        for parameter in model.parameters():  # no two places alike, so that a mix-up shows
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(tmp_path / name)
        return tmp_path / name, model

    return save


def clips_for(encoder: Any) -> Tensor:
    shape = (2, encoder.frames, encoder.resolution, encoder.resolution, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def direct(name: str, model: PreTrainedModel, encoder: Any, clips: Tensor) -> Tensor:
    """The last but one hidden state (V-JEPA 2: the normed last one) by transformers' own model, on our pixels."""
    family = name.removesuffix("-bundled")
    pixels = encoder.pixels(clips, encoder.resolution)
    if family == "vjepa2":
        return model(pixels, skip_predictor=True).last_hidden_state
    if family == "videomae":
        tower = model.videomae if name.endswith("bundled") else model
        return tower(pixels, output_hidden_states=True).hidden_states[-2]
    tower = model.vision_model if name.endswith("bundled") else model
    pixels = pixels[:, 0]
    if family == "siglip2":
        rows = torch.stack(
            [
                pixels[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].permute(0, 2, 3, 1).flatten(1)
                for row in range(3)
                for column in range(3)
            ],
            dim=1,
        )
        shapes, mask = torch.tensor([[3, 3]] * len(rows)), torch.ones(rows.shape[:2])
        states = tower(
            pixel_values=rows, pixel_attention_mask=mask, spatial_shapes=shapes, output_hidden_states=True
        ).hidden_states[-2]
        return states
    if family == "dinov2":
        pixels = pixels[..., 16:240, 16:240]
        tower.embeddings.position_embeddings = torch.nn.Parameter(
            resized_positions(tower.embeddings.position_embeddings.detach(), 16)
        )
    states = tower(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    return states if family == "siglip" else states[:, 1:]


@pytest.mark.parametrize("name", SMALL)
def test_features_are_those_of_transformers_own_model(name: str, saved):
    folder, model = saved(name)
    encoder = build_encoder(config_of(name, folder))
    clips = clips_for(encoder)
    with torch.inference_mode():
        features = encoder(clips)
        expected = direct(name, model, encoder, clips)
    assert encoder.grid == GRIDS[name.removesuffix("-bundled")]
    assert features.shape == (2, *encoder.grid, encoder.width)
    torch.testing.assert_close(features.flatten(1, 3), expected, atol=1e-4, rtol=1e-4)
    assert not any(parameter.dtype != torch.float32 for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["siglip", "clip", "dinov2", "videomae", "vjepa2", "siglip2"])
def test_blocks_behind_the_layer_are_not_even_loaded(name: str, saved):
    folder, _ = saved(name)
    whole = build_encoder(config_of(name, folder).model_copy(update={"layer": -1}))
    fewer = build_encoder(config_of(name, folder).model_copy(update={"layer": 1}))
    blocks = [len({n.split("layer")[1].split(".")[1] for n, _ in e.named_parameters() if "layer" in n and "er." in n
                   and n.split("layer")[1].split(".")[1].isdigit()}) for e in (whole, fewer)]  # fmt: skip
    assert blocks == [3, 1]
    with pytest.raises(CheckpointError, match="has hidden states 0 to 3"):
        build_encoder(config_of(name, folder).model_copy(update={"layer": 4}))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("extra", ["temporal_attn.q_proj.weight", "attention.lora_A.default.weight"])
def test_unexpected_tensors_in_a_block_that_is_run_are_refused(name: str, extra: str, saved):
    """Another architecture's tensors in a block that is run would be dropped silently."""
    folder, _ = saved(name)
    file = folder / "model.safetensors"
    tensors = load(file.read_bytes())
    second = next(key for key in sorted(tensors) if re.search(r"layers?\.1\.", key) and not key.startswith(OTHERS))
    start = re.split(r"(?<=layer\.)1\.|(?<=layers\.)1\.", second)[0]
    save_file(tensors | {f"{start}1.{extra}": torch.ones(2)}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"it also holds \S*1\.{re.escape(extra)}"):
        build_encoder(config_of(name, folder))
    assert build_encoder(config_of(name, folder).model_copy(update={"layer": 1}))


def under_published_names(folder: Path, renames: list[tuple[str, str]]) -> None:
    """Rewrite the file with the names that the published one has; transformers 5 may write other ones."""
    tensors = load((folder / "model.safetensors").read_bytes())
    renamed = {published(key, renames): tensor for key, tensor in tensors.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})


PREFIXED = [("^", "vision_model.")]
DINOV2 = [
    (r"\.attention\.q_proj", ".attention.attention.query"),
    (r"\.attention\.k_proj", ".attention.attention.key"),
    (r"\.attention\.v_proj", ".attention.attention.value"),
    (r"\.attention\.o_proj", ".attention.output.dense"),
]
VIDEOMAE = [
    (r"^(?!videomae)", "videomae."),
    (r"\.query\.bias", ".q_bias"),
    (r"\.value\.bias", ".v_bias"),
]
"""What transformers 5 calls a parameter in memory -> what the published file calls it."""


def published(key: str, renames: list[tuple[str, str]]) -> str:
    for ours, theirs in renames:
        key = re.sub(ours, theirs, key)
    return key


@pytest.mark.parametrize(
    ("name", "renames", "sign"),
    [
        ("siglip", PREFIXED, "vision_model.encoder.layers.0.self_attn.q_proj.weight"),
        ("clip", PREFIXED, "vision_model.encoder.layers.0.self_attn.q_proj.weight"),
        ("dinov2", DINOV2, "encoder.layer.0.attention.attention.query.weight"),
        ("videomae", VIDEOMAE, "videomae.encoder.layer.0.attention.attention.q_bias"),
        ("siglip2", PREFIXED, "vision_model.encoder.layers.0.self_attn.q_proj.weight"),
        ("vjepa2", [], "encoder.layer.0.attention.query.weight"),  # as transformers' convert_vjepa2_to_hf.py names them
    ],
)
def test_published_key_names_load_alike(name: str, renames, sign: str, saved):
    folder, _ = saved(name)
    before = build_encoder(config_of(name, folder))
    under_published_names(folder, renames)
    assert sign in load((folder / "model.safetensors").read_bytes())
    after = build_encoder(config_of(name, folder))
    clips = clips_for(before)
    with torch.inference_mode():
        assert torch.equal(before(clips), after(clips))


@pytest.mark.parametrize(
    ("name", "make", "renames", "params"),
    [
        (
            "siglip-so400m-patch14-384",
            lambda: SiglipVisionModel(
                SiglipVisionConfig(
                    hidden_size=1152,
                    intermediate_size=4304,
                    num_hidden_layers=27,
                    num_attention_heads=16,
                    image_size=384,
                    patch_size=14,
                )
            ),
            PREFIXED,
            428_225_600,
        ),
        (
            "dinov2-large",
            lambda: Dinov2Model(
                Dinov2Config(
                    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, image_size=518, patch_size=14
                )
            ),
            DINOV2,
            304_368_640,
        ),
        pytest.param(
            "videomae-large",
            lambda: VideoMAEModel(
                VideoMAEConfig(
                    hidden_size=1024,
                    num_hidden_layers=24,
                    num_attention_heads=16,
                    intermediate_size=4096,
                    use_mean_pooling=False,
                )
            ),
            VIDEOMAE,
            303_860_736,
            marks=pytest.mark.slow,  # its table of positions is computed
        ),
    ],
)
def test_towers_have_the_published_keys_and_shapes(name: str, make, renames, params: int):
    """Against the published files' lists (tests/models/manifests), on the meta device."""
    with torch.device("meta"):
        tower = make()
    with gzip.open(Path(__file__).parents[1] / "manifests" / f"{name}.json.gz") as file:
        listed = {key: tuple(shape) for key, shape in json.load(file).items()}
    assert {published(key, renames): tuple(t.shape) for key, t in tower.state_dict().items()} == listed
    assert sum(p.numel() for p in tower.parameters()) == params


def mark(encoder: Any, place: tuple[int, int, int]) -> Tensor:
    """How much the feature at each place of the grid changes when one cell of the clip does."""
    black = torch.zeros(1, encoder.frames, encoder.resolution, encoder.resolution, 3, dtype=torch.uint8)
    marked = black.clone()
    margin = 16 if encoder.resolution == 256 else 0  # DINOv2 keeps the middle
    sizes = (encoder.frames, *(side - 2 * margin for side in marked.shape[2:4]))
    spans = [
        slice(edge + size * at // count, edge + size * (at + 1) // count)
        for edge, size, at, count in zip((0, margin, margin), sizes, place, encoder.grid, strict=True)
    ]
    marked[:, spans[0], spans[1], spans[2]] = 255
    with torch.inference_mode():
        return (encoder(marked) - encoder(black)).abs().sum(-1)[0]


@pytest.mark.parametrize("name", ["siglip", "clip", "videomae", "vjepa2", "siglip2", "dinov2"])
def test_the_grid_is_time_height_width(name: str, saved):
    """What enters the first block is local, so that a mark shows where it lies."""
    folder, _ = saved(name)
    encoder = build_encoder(config_of(name, folder).model_copy(update={"layer": 0}))
    place = (encoder.grid[0] - 1, 0, encoder.grid[2] - 1)
    change = mark(encoder, place)
    assert change[place] == change.max()
    assert change[place] > 10 * change[:, -1, 0].max()


def test_positions_of_dinov2_are_sampled_as_when_the_study_ran():
    """By hand: bicubic (a = -0.75), at (i + 0.5) * 37 / 16.1 - 0.5."""
    table = torch.sin(torch.arange(37.0) / 5)[:, None].expand(37, 37)  # changes along height alone
    positions = torch.cat([torch.zeros(1, 1, 1), table.reshape(1, -1, 1)], dim=1)
    resized = resized_positions(positions, 16)[0, 1:, 0].view(16, 16)

    def weight(x: float) -> float:
        a, x = -0.75, abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    for row in (0, 5, 15):
        at = (row + 0.5) * 37 / 16.1 - 0.5
        floor = int(at // 1)
        expected = sum(float(table[min(max(k, 0), 36), 0]) * weight(at - k) for k in range(floor - 1, floor + 3))
        assert float(resized[row, 3]) == pytest.approx(expected, abs=1e-5)
    assert torch.equal(resized_positions(positions, 37), positions)


def test_frames_must_be_whole_tubelets(saved):
    folder, _ = saved("videomae")
    with pytest.raises(CheckpointError, match="tubelets of 2 frames, which do not divide a clip of 3"):
        build_encoder(VideoMae(kind="videomae", weights=str(folder), frames=3))
    assert build_encoder(VideoMae(kind="videomae", weights=str(folder), frames=8)).grid == (4, 4, 4)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize(
    "name", ["siglip-bundled", "siglip2-bundled", "clip-bundled", "dinov2", "videomae-bundled", "vjepa2"]
)
def test_bad_checkpoints_are_refused_in_a_sentence(name: str, saved, tmp_path: Path):
    folder, _ = saved(name)
    config, file = config_of(name, folder), folder / "model.safetensors"
    whole = file.read_bytes()
    tensors = load(whole)

    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        build_encoder(config)

    blocks = [k for k in tensors if "layer" in k and ".0." in k and k.endswith("weight") and not k.startswith(OTHERS)]
    save_file({k: v for k, v in tensors.items() if k not in blocks[:1]}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="no checkpoint of this encoder: it lacks"):
        build_encoder(config)

    foreign = {f"bert.encoder.{at}.weight": torch.ones(2) for at in range(3)}
    save_file(foreign, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="no checkpoint of this encoder: it lacks"):
        build_encoder(config)

    save_file(tensors | {"adapter.weight": torch.ones(2)}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"it also holds adapter\.weight"):
        build_encoder(config)

    file.unlink()
    with (folder / "pytorch_model.bin").open("wb") as bad:
        pickle.dump({"weight": Evil(tmp_path / "pwned")}, bad)
    with pytest.raises(CheckpointError):
        build_encoder(config)
    torch.save({"weight": Evil(tmp_path / "pwned")}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="could run code"):
        build_encoder(config)
    assert not (tmp_path / "pwned").exists()

    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(
        CheckpointError, match="fetch config.json and model.safetensors again from where the"
    ) as missing:
        build_encoder(config)
    assert "huggingface.co" not in str(missing.value).partition("; ")[2]
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match="is of model type 'bert'; kind .* takes"):
        build_encoder(config)


def test_the_message_for_an_unreachable_hub_says_what_to_fetch(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        CheckpointError, match=r"fetch config.json and model.safetensors from https://huggingface.co/no/n"
    ):
        build_encoder(Siglip(kind="siglip", weights="no/nowhere"))


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no folder .*nowhere"):
        build_encoder(Siglip(kind="siglip", weights=str(tmp_path / "nowhere")))
