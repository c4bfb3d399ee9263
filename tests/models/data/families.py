"""Tokenizers of real families in small: their chat templates and special tokens on a byte-level BPE trained here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "templates"
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How Qwen's tokenizer splits text into words: digits one by one."""
CHATML = ("<|im_start|>", "<|im_end|>")
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
SPECIALS: dict[str, tuple[str, ...]] = {
    "qwen2_5": ("<|endoftext|>", *CHATML),
    "qwen3": ("<|endoftext|>", *CHATML),
    "smollm2": ("<|endoftext|>", *CHATML),
    "gemma3": ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"),
    "llama3": ("<|begin_of_text|>", "<|end_of_text|>", *HEADERS),
    "llama3_1": ("<|begin_of_text|>", "<|end_of_text|>", *HEADERS),
    "llama3_2": ("<|begin_of_text|>", "<|end_of_text|>", *HEADERS),
}
"""Family -> its special tokens."""
WORDS = {"qwen3": ("<think>", "</think>", "<tool_call>"), "qwen2_5": ("<tool_call>",)}
"""Family -> added tokens that are not special."""
BOS = {
    "gemma3": "<bos>",
    "llama3": "<|begin_of_text|>",
    "llama3_1": "<|begin_of_text|>",
    "llama3_2": "<|begin_of_text|>",
}
"""Families whose models start a text with a token of their own."""
CORPUS = [
    "What is the first digit that is shown in the video? Which of these colors is red, and which one is blue?",
    "Answer with the option's letter from the given choices directly. The thing moves to the left, then right.",
    "It is A. Is it B? No, C or D. Then A or B or C or D.",
    "A. red\nB. blue\nC. red and blue\nD. 12 of 100\nUser: Assistant: You are a helpful assistant.",
] * 4


@cache
def tokenizer_of(family: str, *, is_base: bool = False, merges: int = 344) -> PreTrainedTokenizerFast:
    """A tokenizer with the special tokens and the chat template of a family; a base model's has no template.

    Without merges every byte is a token.
    """
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + merges, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    core.train_from_iterator(CORPUS, trainer)
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS[family]])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in WORDS.get(family, ())])
    bos = BOS.get(family)
    if bos:  # as Llama's and Gemma's own tokenizers
        core.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
        )
    end = SPECIALS[family][1 if bos else 0]
    names = {"bos_token": bos} if bos else {}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=end, pad_token=end, **names)
    if not is_base:
        tokenizer.chat_template = (TEMPLATES / f"{family}.jinja").read_text()
    return tokenizer
