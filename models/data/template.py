"""Conversations -> token ids: a prefix that ends with the video, and branches that each ask one thing of it.

Branches of one sequence see the prefix and themselves, not each other; their positions all start behind
the prefix. So many questions about one video cost its tokens once, in training as in testing, and each is
answered as if it were asked alone.
"""

from __future__ import annotations

from typing import Never

from transformers import PreTrainedTokenizerBase

from models.data.batch import Branch
from models.data.manifest import Question, Record

_MARK, _SAID = "<video>", "<said>"
"""Stand for a question and an answer while a template is taken apart; without spaces, which some templates trim."""
PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ 'User: ' if m['role'] == 'user' else 'Assistant: ' }}{{ m['content'] }}"
    "{{ '\n' if m['role'] == 'user' else eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""For a tokenizer that brings no chat template: a base model's."""


class Prompter:
    """Renders the tokenizer's chat template, split where the video goes; every piece is encoded once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the template apart.

        Raises:
            ValueError: it cannot be: what it writes of a turn depends on later ones.
        """
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._answers: dict[str, list[int]] = {}
        before, self._closing = self._parted(self._render([_user(_MARK)], answer_next=True), _MARK)
        self.opening: list[int] = self.encode(before)
        # A later turn opens without what stands once at the top, such as a system message.
        said = [_user(""), {"role": "assistant", "content": _SAID}]
        _, end = self._parted(self._render(said, answer_next=False), _SAID)
        more, _ = self._parted(self._render([*said, _user(_MARK)], answer_next=True), _MARK)
        _, between = self._parted(more, _SAID)
        self._reopening: list[int] = self.encode(self._without(end, between))

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens of the tokenizer's own."""
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False)
        return self._known[text]

    def _render(self, messages: list[dict[str, str]], *, answer_next: bool) -> str:
        template = None if self._tokenizer.chat_template else PLAIN_TEMPLATE
        return self._tokenizer.apply_chat_template(
            messages,
            chat_template=template,
            add_generation_prompt=answer_next,
            tokenize=False,
            enable_thinking=False,  # Qwen3's: an answer follows at once, in training as in testing
        )

    def _parted(self, text: str, mark: str) -> tuple[str, str]:
        before, found, after = text.partition(mark)
        return (before, after) if found else self._refused()

    def _without(self, start: str, text: str) -> str:
        return text[len(start) :] if text.startswith(start) else self._refused()

    def _refused(self) -> Never:
        raise ValueError(
            f"the chat template of {self._tokenizer.name_or_path} changes earlier turns when later ones follow, so "
            "questions cannot share a video; give the tokenizer a plain template (tokenizer_config.json, chat_template)"
        )

    def asked(self, question: str) -> list[int]:
        """What follows the prefix when this is asked."""
        return self.encode(question + self._closing)

    def answered(self, answer: str) -> list[int]:
        """What the assistant is to say, its end included."""
        if answer not in self._answers:
            prompt = self._render([_user("")], answer_next=True)
            whole = self._render([_user(""), {"role": "assistant", "content": answer}], answer_next=False)
            self._answers[answer] = self.encode(self._without(prompt, whole))
        return self._answers[answer]

    def training_branches(self, record: Record, chosen: list[int]) -> list[Branch]:
        """Branches of a conversation: one for each chosen turn where turns are independent, else one for all."""
        if record.independent:
            return [self._dialogue([record.turns[i]]) for i in chosen]
        return [self._dialogue([record.turns[i] for i in sorted(chosen)])]

    def _dialogue(self, turns: list[tuple[str, str]]) -> Branch:
        ids: list[int] = []
        targets: list[tuple[int, int]] = []
        for number, (question, answer) in enumerate(turns):
            ids += self.asked(question) if number == 0 else [*self._reopening, *self.asked(question)]
            said = self.answered(answer)
            targets += [(len(ids) + i - 1, token) for i, token in enumerate(said)]
            ids += said
        return Branch(tuple(ids), tuple(targets))

    def option_branches(self, question: Question) -> list[Branch]:
        """Branches whose targets are the tokens of each option, option by option.

        Where each option is a single token, the question alone predicts them all.
        """
        asked = self.asked(question.text)
        options = [self.encode(option) for option in question.options]
        last = len(asked) - 1
        if all(len(option) == 1 for option in options):
            return [Branch(tuple(asked), tuple((last, option[0]) for option in options))]
        return [
            Branch((*asked, *option[:-1]), tuple((last + i, token) for i, token in enumerate(option)))
            for option in options
        ]


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
