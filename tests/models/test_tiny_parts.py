"""The shipped parts load, see what a frame shows, and answer transcripts far over chance."""

import numpy as np
import pytest

from models.tiny import words
from models.tiny.pretrain_encoder import LAYERS_READ, frozen_features, make_frames
from models.tiny.pretrain_llm import EVALUATED, evaluate, hidden_states
from models.tiny.sizes import LLM_SIZES, PARTS
from models.tiny.transcripts import IDS, Form, collate, draw_scenes

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def load_llm(label):
    return transformers.Qwen2ForCausalLM.from_pretrained(str(PARTS / f"llm-{label}"), dtype=torch.float32).eval()


def test_the_shipped_tokenizer_knows_the_vocabulary():
    assert transformers.AutoTokenizer.from_pretrained(str(PARTS / "tokenizer")).get_vocab() == IDS


def test_the_parts_stay_small():
    assert sum(file.stat().st_size for file in PARTS.rglob("*") if file.is_file()) < 4 * 2**20


@pytest.mark.parametrize("layer", LAYERS_READ)
def test_features_tell_digit_and_lamp_linearly(layer):
    encoder = transformers.SiglipVisionModel.from_pretrained(str(PARTS / "image-encoder"), dtype=torch.float32).eval()
    assert sum(p.numel() for p in encoder.parameters()) < 150_000
    frames, slots = make_frames("heldout", 60, longest_s=2.0)
    features = frozen_features(encoder, frames, layer)
    assert features.shape == (len(frames), 16, 64)
    x = torch.cat([features.flatten(1), torch.ones(len(features), 1)], dim=1).double()
    half = len(x) // 2
    for i in (words.DIGIT_SLOT, words.LAMP_SLOT):
        target = torch.from_numpy(slots[:, i])
        onehot = torch.nn.functional.one_hot(target[:half], len(words.SLOTS[i].words)).double()
        gram = x[:half].T @ x[:half] + torch.eye(x.shape[1], dtype=torch.float64)
        told = (x[half:] @ torch.linalg.solve(gram, x[:half].T @ onehot)).argmax(1)
        assert (told == target[half:]).double().mean() > 0.95


@pytest.mark.parametrize("label", LLM_SIZES)
def test_llms_answer_transcripts_far_over_chance(label):
    scores = evaluate(load_llm(label), EVALUATED["uniform 16"], num_scenes=40)
    assert np.mean(list(scores.values())) > 50  # chance is 25


def test_a_branch_sees_its_transcript_and_itself_only():
    llm = load_llm("0.05M")
    form = Form(frames=4)
    (asked,) = draw_scenes(form, "heldout", 0, 1)
    together = collate(form, [asked])
    at = together.answer_at_Q[3]
    for kept in ([3], [0, 3], [3, 5]):
        alone = collate(form, [type(asked)(asked.slots_TS, asked.spans_s, [asked.turns[k] for k in kept], [], [])])
        with torch.no_grad():
            whole = hidden_states(llm, together)[at]
            part = hidden_states(llm, alone)[alone.answer_at_Q[kept.index(3)]]
        assert torch.allclose(whole, part, atol=1e-4)
