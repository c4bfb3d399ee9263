"""Conversations -> token ids: a prefix that ends with the video, and one branch for each question about it.

The branches of a row attend to the prefix and to themselves, not to each other, and their positions all start behind
the prefix. So the tokens of a video are computed once for all questions about it, in training and in testing, and each
question is answered as if it were the only one.
"""

from __future__ import annotations

from typing import Never

from transformers import PreTrainedTokenizerBase

from models.data.batch import Branch
from models.data.manifest import Question, TrainingSample, Turn

_QUESTION, _ANSWER = "<video>", "<said>"
"""Placeholders of a question and an answer while a template is split; without spaces, which some templates trim."""
PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ 'User: ' if m['role'] == 'user' else 'Assistant: ' }}{{ m['content'] }}"
    "{{ '\n' if m['role'] == 'user' else eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Template of a tokenizer without a chat template, such as a base model's."""


class Prompter:
    """Renders the tokenizer's chat template, split at the position of the video; every piece is encoded once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Split the template.

        Raises:
            ValueError: the template renders a turn differently when later turns follow, so it cannot be split.
        """
        self._tokenizer = tokenizer
        self._token_cache: dict[str, list[int]] = {}
        self._answer_cache: dict[str, list[int]] = {}
        before, self._closing = self._split(self._render([_user(_QUESTION)], answer_next=True), _QUESTION)
        self.opening: list[int] = self.encode(before)
        # The opening of a later turn lacks text that is rendered only once at the top, such as a system message.
        turn = [_user(""), {"role": "assistant", "content": _ANSWER}]
        _, end = self._split(self._render(turn, answer_next=False), _ANSWER)
        two_turns, _ = self._split(self._render([*turn, _user(_QUESTION)], answer_next=True), _QUESTION)
        _, between = self._split(two_turns, _ANSWER)
        self._reopening: list[int] = self.encode(self._remove_prefix(between, end))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without added special tokens."""
        if text not in self._token_cache:
            self._token_cache[text] = self._tokenizer.encode(text, add_special_tokens=False)
        return self._token_cache[text]

    def _render(self, messages: list[dict[str, str]], *, answer_next: bool) -> str:
        template = None if self._tokenizer.chat_template else PLAIN_TEMPLATE
        return self._tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            add_generation_prompt=answer_next,
            tokenize=False,
            enable_thinking=False,  # for Qwen3: the answer follows at once, in training and in testing
        )

    def _split(self, text: str, placeholder: str) -> tuple[str, str]:
        before, separator, after = text.partition(placeholder)
        return (before, after) if separator else self._refuse_template()

    def _remove_prefix(self, text: str, prefix: str) -> str:
        return text[len(prefix) :] if text.startswith(prefix) else self._refuse_template()

    def _refuse_template(self) -> Never:
        raise ValueError(
            f"the chat template of {self._tokenizer.name_or_path} changes earlier turns when later ones follow, so "
            "questions cannot share a video; give the tokenizer a plain template (tokenizer_config.json, chat_template)"
        )

    def question_ids(self, question: str) -> list[int]:
        """Token ids of a question, up to the start of its answer."""
        return self.encode(question + self._closing)

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an answer, including the end of the assistant's turn."""
        if answer not in self._answer_cache:
            prompt = self._render([_user("")], answer_next=True)
            whole = self._render([_user(""), {"role": "assistant", "content": answer}], answer_next=False)
            self._answer_cache[answer] = self.encode(self._remove_prefix(whole, prompt))
        return self._answer_cache[answer]

    def training_branches(self, sample: TrainingSample, turns: list[int]) -> list[Branch]:
        """Branches of a conversation: one for each turn if turns are independent, else one for all turns.

        Args:
            sample: the conversation.
            turns: indices of the turns to use.
        """
        if sample.independent:
            return [self._dialogue([sample.turns[i]]) for i in turns]
        return [self._dialogue([sample.turns[i] for i in sorted(turns)])]

    def _dialogue(self, turns: list[Turn]) -> Branch:
        ids: list[int] = []
        targets: list[tuple[int, int]] = []
        for number, turn in enumerate(turns):
            question_ids, answer_ids = self.question_ids(turn.text), self.answer_ids(turn.answer)
            ids += question_ids if number == 0 else [*self._reopening, *question_ids]
            targets += [(len(ids) + i - 1, token) for i, token in enumerate(answer_ids)]
            ids += answer_ids
        return Branch(tuple(ids), tuple(targets))

    def option_branches(self, question: Question) -> list[Branch]:
        """Branches whose targets are the tokens of the options, in the order of the options.

        If every option is a single token, one branch predicts all of them; else each option has a branch.
        """
        question_ids = self.question_ids("".join(piece for piece in question.question if isinstance(piece, str)))
        options = [self.encode(option) for option in question.options]
        last = len(question_ids) - 1
        if all(len(option) == 1 for option in options):
            return [Branch(tuple(question_ids), tuple((last, option[0]) for option in options))]
        return [
            Branch((*question_ids, *option[:-1]), tuple((last + i, token) for i, token in enumerate(option)))
            for option in options
        ]


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
