"""The word tokenizer of the embedded study: lower case, one token per word, digits one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.tiny.world import words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<user>' if message['role'] == 'user' else '<assistant>' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is `words.vocabulary()`."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(words.vocabulary())}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=words.UNK))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation("isolated"),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    core.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in words.SPECIALS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=words.PAD,
        eos_token=words.EOS,
        unk_token=words.UNK,
        additional_special_tokens=[words.USER, words.ASSISTANT, words.CLIP_START, words.CLIP_END],
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save_tokenizer(folder: Path) -> None:
    """Save the tokenizer, to be loaded by `AutoTokenizer.from_pretrained(folder)`."""
    build_tokenizer().save_pretrained(str(folder))
