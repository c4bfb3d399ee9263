"""Answers of tokenizers that put a space in front of a text, as Llama 2's: encoded as within the whole conversation."""

from __future__ import annotations

from typing import Literal

import pytest
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from models.data import Prompter

SPECIALS = ("<unk>", "<s>", "</s>", "<|assistant|>")
TEMPLATES = {
    "vicuna": (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ASSISTANT:' }}"
        "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
    ),
    "llama2": (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "a line break in front of the answer": (
        "{% for m in messages %}{{ '<|' + m['role'] + '>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant>\n' }}{% endif %}"
    ),
    "a control token in front of the answer": (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] + '<|assistant|>' }}"
        "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
    ),
}


def tokenizer_of(kind: Literal["normalizer", "metaspace"], template: str) -> PreTrainedTokenizerFast:
    """A small BPE in which `normalizer` (Llama 2) or `metaspace` (Mistral) puts the space in front."""
    words = Tokenizer(models.BPE(unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=list(SPECIALS), show_progress=False)
    texts = [*TEMPLATES.values(), "It is A, a red B or a blue C. \n <|user> <|assistant>"]
    words.train_from_iterator(texts * 4, trainer)
    core = Tokenizer(words.model)
    if kind == "normalizer":
        core.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("answer", ["A", "blue", "a red B"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("kind", ["normalizer", "metaspace"])
def test_an_answer_is_encoded_as_within_the_whole_conversation(kind, template, answer):
    tokenizer = tokenizer_of(kind, template)
    messages = [{"role": "user", "content": "red"}, {"role": "assistant", "content": answer}]
    question = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.encode(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)
    ids = Prompter(tokenizer).answer_ids(answer)
    assert whole == [*tokenizer.encode(question, add_special_tokens=False), *ids]
