"""Text -> token ids: the text of a chat template, and text of users, which never becomes a control token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

CACHED_TEXTS = 1024
"""Texts whose ids are kept: enough for the embedded study, which has few questions and asks them all the time."""


@dataclass(frozen=True)
class TemplateText:
    """Text of a template behind a user's text, split at its first control token."""

    plain: str
    """Text up to the first control token; encoded together with the user's text, as tokens may span both."""
    ids: tuple[int, ...]
    """Token ids from the first control token on."""


class TextEncoder:
    """Encodes text with a fast tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Wrap a tokenizer.

        Raises:
            ValueError: the tokenizer has no `tokenizer.json`.
        """
        if not tokenizer.is_fast:
            raise ValueError(
                f"the tokenizer of {tokenizer.name_or_path} has no tokenizer.json; save one with "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        self._tokenizer = tokenizer
        self._backend = tokenizer.backend_tokenizer
        self._control_ids = set(tokenizer.all_special_ids)
        added = sorted((str(token) for token in tokenizer.added_tokens_decoder.values()), key=len, reverse=True)
        self._control = re.compile("|".join(re.escape(token) for token in added if not token.isspace()) or r"(?!)")
        self._user = lru_cache(maxsize=CACHED_TEXTS)(self._encode_user)
        start = "".join(self._words("a")[:1])
        self._prefix = start[:-1] if start.endswith("a") else ""
        """What the tokenizer puts in front of a text: a space with Llama 2's, nothing with most others."""
        self._doubles_space = self._words("a") != self._words(" a")
        """Whether it does so even if the text begins with a space."""

    def template(self, text: str) -> TemplateText:
        """Text of a template, in which control tokens stand for themselves."""
        match = self._control.search(text)
        start = match.start() if match else len(text)
        ids = self._tokenizer.encode(text[start:], add_special_tokens=False) if match else ()
        return TemplateText(text[:start], tuple(ids))

    def user(self, text: str, *, continues: bool = False) -> list[int]:
        """Text of a user: `<|im_start|>` in it is encoded as the characters that it consists of.

        transformers' `split_special_tokens` does so for some added tokens only (not for Qwen's `<think>`), so the
        tokenizer is run without its table of added tokens.

        Args:
            text: the text.
            continues: whether it is the continuation of another text, see `continues`.

        Raises:
            ValueError: the tokenizer's model itself gives a control token.
        """
        return list(self._user(text, continues=continues))

    def continues(self, before: str, text: str) -> bool:
        """Whether the tokenizer puts nothing in front of a text that stands behind text of a template.

        Llama 2's puts a space in front of any text, but in `ASSISTANT: A` there is only one before `A`.
        """
        ids = self._tokenizer.encode(before + text, add_special_tokens=False)
        alone = self.user(text)
        return ids[-len(alone) :] != alone

    def _words(self, text: str) -> list[str]:
        """The words that the tokenizer's model encodes one by one."""
        if self._backend.normalizer is not None:
            text = self._backend.normalizer.normalize_str(text)
        if self._backend.pre_tokenizer is not None:
            return [word for word, _ in self._backend.pre_tokenizer.pre_tokenize_str(text)]
        return [text] if text else []

    def _encode_user(self, text: str, *, continues: bool) -> tuple[int, ...]:
        words = self._words(text)
        if continues and words and (self._doubles_space or not text.startswith(" ")):
            words[0] = words[0].removeprefix(self._prefix)
        ids = [token.id for word in words for token in self._backend.model.tokenize(word)]
        control = self._control_ids.intersection(ids) - {self._tokenizer.unk_token_id}
        if control:
            tokens = ", ".join(self._tokenizer.convert_ids_to_tokens(sorted(control)))
            raise ValueError(
                f"the tokenizer of {self._tokenizer.name_or_path} encodes {text!r} as control tokens: {tokens}"
            )
        return tuple(ids)

    def user_then(self, text: str, after: TemplateText, *, continues: bool = False) -> list[int]:
        """Text of a user, see `user`, and the text of a template behind it."""
        return [*self.user(text + after.plain, continues=continues), *after.ids]
