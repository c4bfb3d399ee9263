"""The shipped parts load, encode the content of frames, and answer transcripts far above chance."""

from dataclasses import replace

import numpy as np
import pytest

from models.tiny.pretraining.footage import CLIP_FRAMES, CLIP_SLOTS, draw_clips, film, make_frames, read_clips
from models.tiny.pretraining.llm import EVALUATION_FORMS, evaluate, hidden_states
from models.tiny.pretraining.reference_towers import LAYERS_READ, frozen_features
from models.tiny.pretraining.transcripts import IDS, Form, collate_samples, draw_samples
from models.tiny.sizes import LLM_SIZES
from models.tiny.world import words
from models.weights import SHIPPED_PARTS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def load_llm(label):
    return transformers.Qwen2ForCausalLM.from_pretrained(
        str(SHIPPED_PARTS / f"llm-{label}"), dtype=torch.float32
    ).eval()


def test_the_shipped_tokenizer_knows_the_vocabulary():
    assert transformers.AutoTokenizer.from_pretrained(str(SHIPPED_PARTS / "tokenizer")).get_vocab() == IDS


def test_the_parts_stay_small():
    assert sum(file.stat().st_size for file in SHIPPED_PARTS.rglob("*") if file.is_file()) < 5 * 2**20


IMAGE_ENCODERS = ("image-encoder", "image-contrastive", "image-mae")
VIDEO_ENCODERS = ("video-encoder", "video-mae")


def load_encoder(name):
    kind = transformers.VideoMAEModel if name in VIDEO_ENCODERS else transformers.SiglipVisionModel
    return kind.from_pretrained(str(SHIPPED_PARTS / name), dtype=torch.float32).eval()


def linear_accuracy(features, target, num):
    """Accuracy of a ridge regression, fitted on half of the rows, on the other half."""
    x = torch.cat([features.flatten(1), torch.ones(len(features), 1)], dim=1).double()
    half = len(x) // 2
    onehot = torch.nn.functional.one_hot(target[:half], num).double()
    gram = x[:half].T @ x[:half] + torch.eye(x.shape[1], dtype=torch.float64)
    predicted = (x[half:] @ torch.linalg.solve(gram, x[:half].T @ onehot)).argmax(1)
    return (predicted == target[half:]).double().mean().item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params"), [*((name, 147_392) for name in IMAGE_ENCODERS), *((name, 158_400) for name in VIDEO_ENCODERS)]
)
def test_encoders_load_and_have_the_documented_sizes(name, params):
    encoder = load_encoder(name)
    assert sum(p.numel() for p in encoder.parameters()) == params
    assert (SHIPPED_PARTS / name / "model.safetensors").stat().st_size < 400_000
    footage = film("heldout", 6, longest_s=16.0)
    clips = footage.frames[draw_clips(footage, 8, np.random.default_rng(0)).frames_BN]
    media = clips if name in VIDEO_ENCODERS else clips[:, 0]
    for layer in LAYERS_READ:
        features = frozen_features(encoder, media, layer)
        assert features.shape == (8, 16 * clips.shape[1] // 2 if name in VIDEO_ENCODERS else 16, 64)
        assert features.isfinite().all()
        assert (features[0] - features[1]).abs().max() > 0.1
    assert clips.shape[1] == CLIP_FRAMES


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS_READ)
def test_digit_and_lamp_are_linear_in_the_features(layer):
    frames, slots = make_frames("heldout", 60, longest_s=2.0)
    features = frozen_features(load_encoder("image-encoder"), frames, layer)
    for i in (words.DIGIT_SLOT, words.LAMP_SLOT):
        assert linear_accuracy(features, torch.from_numpy(slots[:, i]), len(words.SLOTS[i].words)) > 0.95


@pytest.mark.slow
def test_clips_captions_teach_motion():
    footage, rng = film("heldout", 60, longest_s=8.0), np.random.default_rng(0)
    clips, others = (draw_clips(footage, 1000, rng, videos) for videos in (range(40), range(40, 60)))
    media = footage.frames[np.concatenate([clips.frames_BN, others.frames_BN])]
    target = torch.from_numpy(np.concatenate([read_clips(footage, clips), read_clips(footage, others)]))
    camera = len(CLIP_SLOTS) - 1
    share = {
        name: linear_accuracy(
            frozen_features(load_encoder(name), media, -1).mean(1), target[:, camera], CLIP_SLOTS[camera].values
        )
        for name in VIDEO_ENCODERS
    }
    assert share["video-encoder"] > share["video-mae"] + 0.1


@pytest.mark.parametrize("label", LLM_SIZES)
def test_llms_answer_transcripts_far_above_chance(label):
    scores = evaluate(load_llm(label), EVALUATION_FORMS["uniform 16"], num_scenes=40)
    assert np.mean(list(scores.values())) > 50  # chance is 25


def test_a_branch_attends_only_to_its_transcript_and_itself():
    llm = load_llm("0.05M")
    form = Form(frames=4)
    (sample,) = draw_samples(form, "heldout", 0, 1)
    together = collate_samples(form, [sample])
    at = together.answer_at_Q[3]
    for indices in ([3], [0, 3], [3, 5]):
        alone = collate_samples(form, [replace(sample, turns=[sample.turns[i] for i in indices])])
        with torch.no_grad():
            whole = hidden_states(llm, together)[at]
            part = hidden_states(llm, alone)[alone.answer_at_Q[indices.index(3)]]
        assert torch.allclose(whole, part, atol=1e-4)
