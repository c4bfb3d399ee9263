"""Cards have the parameters of the published files, exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from models.cards import LLMS, encoder_card, llm_card
from models.cards.published import ENCODERS
from models.design import (
    ClipTower,
    CustomEncoder,
    Dinov2,
    InternVideo2,
    LanguageBindVideo,
    Siglip,
    Siglip2,
    VideoMae,
    Vjepa,
    Vjepa2,
)
from models.weights import UncountedError

INTERNVIDEO2 = "OpenGVLab/InternVideo2-Stage2_1B-224p-f4"


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


PUBLISHED_LLMS = {  # parameters, and without embeddings (llms.json: computed by transformers)
    "Qwen/Qwen2-0.5B-Instruct": (494_032_768, 357_898_112),
    "Qwen/Qwen2-1.5B-Instruct": (1_543_714_304, 1_310_340_608),
    "Qwen/Qwen2-7B-Instruct": (7_615_616_512, 6_525_621_760),
    "Qwen/Qwen1.5-4B-Chat": (3_950_369_280, 3_172_456_960),
    "Qwen/Qwen2.5-0.5B-Instruct": (494_032_768, 357_898_112),
    "Qwen/Qwen2.5-1.5B-Instruct": (1_543_714_304, 1_310_340_608),
    "Qwen/Qwen2.5-3B-Instruct": (3_085_938_688, 2_774_773_760),
    "Qwen/Qwen2.5-7B-Instruct": (7_615_616_512, 6_525_621_760),
    "Qwen/Qwen3-0.6B": (596_049_920, 440_467_456),
    "Qwen/Qwen3-1.7B": (1_720_574_976, 1_409_410_048),
    "Qwen/Qwen3-4B": (4_022_468_096, 3_633_511_936),
    "Qwen/Qwen3-8B": (8_190_735_360, 6_946_075_648),
}


def test_llms_have_the_published_parameters():
    assert {name: (card.params, card.params_without_embeddings) for name, card in LLMS.items()} == PUBLISHED_LLMS


def test_llms_say_how_long_a_sequence_may_be():
    assert {card.max_positions for name, card in LLMS.items() if "Qwen3" not in name} == {32_768}
    assert {card.max_positions for name, card in LLMS.items() if "Qwen3" in name} == {40_960}
    assert llm_card("tiny/llm-0.15M@2").max_positions == 4096


@pytest.mark.parametrize("name", [name for name in LLMS if "Qwen3" in name])
def test_qwen3s_are_counted_as_transformers_does(name: str):
    card = LLMS[name]
    config = transformers.Qwen3Config(
        hidden_size=card.hidden,
        num_hidden_layers=card.layers,
        num_attention_heads=card.heads,
        num_key_value_heads=card.kv_heads,
        head_dim=card.head_dim,
        intermediate_size=card.mlp,
        vocab_size=card.vocab,
        tie_word_embeddings=card.tied,
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert card.params == count(model)


PUBLISHED_ENCODERS = {  # parameters of the tower in the file and of what is run, grid, positions of a sequence
    "google/siglip-so400m-patch14-384": (428_225_600, 397_745_440, (1, 27, 27), 729),
    "facebook/dinov2-large": (304_368_640, 291_767_296, (1, 16, 16), 257),
    "LanguageBind/LanguageBind_Image": (303_179_776, 290_581_504, (1, 16, 16), 257),
    "LanguageBind/LanguageBind_Video_V1.5_FT": (404_194_304, 387_387_392, (8, 16, 16), 257),
    "MCG-NJU/videomae-large": (303_860_736, 291_263_488, (8, 14, 14), 1568),
    "https://dl.fbaipublicfiles.com/jepa/vith16-384/vith16-384.pth.tar": (637_546_240, 637_546_240, (8, 24, 24), 4608),
    "https://dl.fbaipublicfiles.com/jepa/vith16/vith16.pth.tar": (633_655_040, 633_655_040, (8, 14, 14), 1568),
    "https://dl.fbaipublicfiles.com/jepa/vitl16/vitl16.pth.tar": (305_490_944, 305_490_944, (8, 14, 14), 1568),
    "OpenGVLab/InternVideo2-Stage2_1B-224p-f4": (1_049_117_056, 986_975_872, (4, 16, 16), 1025),
    "openai/clip-vit-large-patch14": (303_179_776, 290_581_504, (1, 16, 16), 257),
    "facebook/vjepa2-vitl-fpc64-256": (303_885_312, 303_885_312, (8, 16, 16), 2048),
    "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": (303_179_776, 290_581_504, (1, 16, 16), 257),
    "google/siglip2-so400m-patch14-384": (428_225_600, 397_745_440, (1, 27, 27), 729),
    "google/siglip2-base-patch16-naflex": (92_930_304, 78_753_792, (1, 16, 16), 256),
    "google/siglip2-so400m-patch16-naflex": (427_888_064, 397_407_904, (1, 16, 16), 256),
}


def test_encoders_have_the_published_parameters_and_grids():
    counts = {name: (c.params, c.params_run, c.grid, c.tokens_run) for name, c in ENCODERS.items()}
    assert counts == PUBLISHED_ENCODERS


def test_local_llms_are_counted_as_transformers_does(tmp_path: Path):
    for kind, more in (
        ("Qwen2", {"num_key_value_heads": 2}),
        ("Qwen3", {"head_dim": 24, "attention_bias": False}),
        ("Qwen3", {"attention_bias": True}),
        ("Llama", {"tie_word_embeddings": True}),
        ("Llama", {"attention_bias": True}),
        ("Mistral", {"num_key_value_heads": 2}),
    ):
        sizes = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4}
        config = getattr(transformers, f"{kind}Config")(**sizes | {"intermediate_size": 96, "vocab_size": 50} | more)
        config.save_pretrained(tmp_path)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        card = llm_card(str(tmp_path))
        assert card.params == count(model), (kind, more)
        assert card.licence == "unknown"
        assert not card.commercial


def test_shipped_llms_are_counted():
    assert {label: llm_card(f"tiny/llm-{label}@2").hidden for label in ("0.05M", "0.7M")} == {"0.05M": 48, "0.7M": 112}


def test_llms_that_cannot_be_counted_are_reported_with_the_fix(tmp_path: Path):
    with pytest.raises(
        UncountedError, match=r"did you mean 'Qwen/Qwen2.5-3B-Instruct'\? A plan needs a local config.json"
    ):
        llm_card("Qwen/Qwen2.5-3B-Instrct")
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(UncountedError, match="LLMs of type 'mamba' have no parameter formula"):
        llm_card(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(UncountedError, match="its config.json lacks 'num_attention_heads'"):
        llm_card(str(tmp_path))


SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
TOWERS = {  # configuration and class of transformers, the design's encoder, options
    "siglip": ("SiglipVision", Siglip, [{}, {"vision_use_head": False}]),
    "siglip2": ("Siglip2Vision", Siglip2, [{"num_patches": 64}]),
    "clip": ("CLIPVision", ClipTower, [{}]),
    "dinov2": ("Dinov2", Dinov2, [{"image_size": 70}, {"use_swiglu_ffn": True}, {"qkv_bias": False}]),
    "videomae": ("VideoMAE", VideoMae, [{}, {"use_mean_pooling": False}, {"qkv_bias": False}]),
    "vjepa2": ("VJEPA2", Vjepa2, [{}, {"qkv_bias": False, "mlp_ratio": 3.0}]),
}


@pytest.mark.parametrize("kind", TOWERS)
def test_local_towers_are_counted_as_transformers_does(kind: str, tmp_path: Path):
    name, design, variants = TOWERS[kind]
    for more in variants:
        own = {} if kind in ("dinov2", "vjepa2") else {"intermediate_size": 48}
        config = getattr(transformers, f"{name}Config")(**SMALL | own | more)
        config.save_pretrained(tmp_path)
        with torch.device("meta"):
            model = getattr(transformers, f"{name}Model")(config)
        tower = model.encoder if kind == "vjepa2" else model
        card = encoder_card(design(kind=kind, weights=str(tmp_path), layer=-1))
        assert card.params == count(tower), more
        assert (card.blocks_run, card.depth, card.width) == (3, 3, 32)
        blocks = [m for m in tower.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3]
        less = encoder_card(design(kind=kind, weights=str(tmp_path), layer=1))
        assert less.blocks_run == 1
        final = 2 * 32 if kind == "vjepa2" else 0
        assert card.params_run - less.params_run == 2 * count(blocks[0][0]) + final


def test_the_shipped_image_encoder_has_a_card():
    card = encoder_card(Siglip(kind="siglip", weights="tiny/image-encoder@2"))
    assert (card.depth, card.blocks_run, card.width, card.grid, card.resolution) == (4, 3, 64, (1, 4, 4), 32)


SO400M = {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "family", "sizes"),
    [
        ("openai/clip-vit-large-patch14", "CLIPVision", {"intermediate_size": 4096, "patch_size": 14}),
        ("facebook/vjepa2-vitl-fpc64-256", "VJEPA2", {}),
        ("facebook/dinov2-large", "Dinov2", {"image_size": 518, "patch_size": 14}),
        ("MCG-NJU/videomae-large", "VideoMAE", {"intermediate_size": 4096, "use_mean_pooling": False}),
        ("google/siglip2-so400m-patch16-naflex", "Siglip2Vision", SO400M | {"num_patches": 256, "patch_size": 16}),
        ("google/siglip2-base-patch16-naflex", "Siglip2Vision", BASE | {"num_patches": 256, "patch_size": 16}),
    ],
)
def test_published_towers_are_counted_as_transformers_does(name: str, family: str, sizes: dict[str, int]):
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    with torch.device("meta"):
        model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**large | sizes))
    assert ENCODERS[name].params == count(model.encoder if family == "VJEPA2" else model)


VJEPA = "https://dl.fbaipublicfiles.com/jepa/vith16-384/vith16-384.pth.tar"


def test_layer_and_clip_length_follow_the_design():
    card = encoder_card(Vjepa(kind="vjepa", weights=VJEPA, frames=8, layer=-2))
    assert (card.frames, card.grid, card.tokens_run, card.blocks_run) == (8, (4, 24, 24), 2304, 31)
    assert card.params_run == 637_546_240 - 19_677_440 - 2 * 1280  # a block and the final norm
    for design in (Vjepa(kind="vjepa", weights=VJEPA), InternVideo2(kind="internvideo2", weights=INTERNVIDEO2)):
        assert encoder_card(design) == ENCODERS[design.weights]


def test_attention_is_arranged_by_the_clip_or_by_the_frame():
    arranged = {card.kind: (card.arrangement, card.sequences) for card in ENCODERS.values()}
    assert arranged["languagebind_video"] == ("frame and time", 8)
    assert arranged["internvideo2"] == arranged["vjepa"] == ("clip", 1)
    assert arranged["siglip"] == arranged["dinov2"] == ("frame", 1)


def test_impossible_encoders_are_refused_with_the_fix(tmp_path: Path):
    def refused(part: type, **fields: object) -> str:
        with pytest.raises(ValueError) as error:
            encoder_card(part(**fields))
        return str(error.value)

    siglip, video = "google/siglip-so400m-patch14-384", "LanguageBind/LanguageBind_Video_V1.5_FT"
    assert "hidden states 0 to 27 (or -28 to -1)" in refused(Siglip, kind="siglip", weights=siglip, layer=28)
    assert "tubelets of 2 frames" in refused(Vjepa, kind="vjepa", weights=VJEPA, frames=7)
    assert "clips of 8 frames, not 16" in refused(
        LanguageBindVideo, kind="languagebind_video", weights=video, frames=16
    )
    assert "the file itself: a path, or a copy" in refused(Vjepa, kind="vjepa", weights="/nowhere/vitl16.pth.tar")
    assert "is of kind 'siglip', not 'clip'" in refused(ClipTower, kind="clip", weights=siglip)
    assert f"did you mean {siglip!r}?" in refused(Siglip, kind="siglip", weights=siglip.replace("so400m", "so40m"))
    assert "below $ABLATE_WEIGHTS" in refused(Vjepa, kind="vjepa", weights="/nowhere/vitl16.pth.tar")
    assert "a local config.json" in refused(ClipTower, kind="clip", weights="laion/none")
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    assert "is of model type 'vit'; kind 'clip' takes" in refused(ClipTower, kind="clip", weights=str(tmp_path))


def test_the_config_of_a_local_copy_decides_its_kind(tmp_path: Path, monkeypatch):
    laion = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"
    with pytest.raises(ValueError, match="is of kind 'languagebind_image', not 'clip'"):
        encoder_card(ClipTower(kind="clip", weights=laion))
    transformers.CLIPVisionConfig(**SMALL, intermediate_size=48).save_pretrained(tmp_path / laion)
    monkeypatch.setenv("ABLATE_WEIGHTS", str(tmp_path))
    assert encoder_card(ClipTower(kind="clip", weights=laion)).width == 32


def test_cards_of_custom_encoders_have_the_declared_sizes():
    config = CustomEncoder(kind="custom", path="a.b:C", frames=4, grid=(2, 3, 3), width=5, params=7)
    card = encoder_card(config)
    assert (card.params, card.params_run, card.tokens_run, card.tubelet, card.width) == (7, 7, 18, 2, 5)
