"""Conversations -> token ids: a prefix, and branches for the questions behind it.

The branches of a row attend to the prefix and to themselves, and not to each other; their positions all start behind
the prefix. So the tokens of a video are computed once for all questions about it, in training and in testing, and each
question is answered as if it were the only one. The options of a question are branches that continue its branch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Never

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from models.data.batch import Branch
from models.data.encoding import TemplateText, TextEncoder
from models.data.letters import LETTERS, trimmed, with_options
from models.data.manifest import ManifestError, Question, Text, TrainingSample, Turn
from models.design import Scoring

_SYSTEM, _QUESTION, _ANSWER, _NEXT = "SYSTEM-TEXT", "QUESTION-TEXT", "ANSWER-TEXT", "NEXT-TEXT"
"""Placeholders while a template is split; without white space at the ends, which some templates remove."""
DATE = "26 Jul 2024"
"""Today's date for every template, so that prompts do not depend on the day: the default of Llama 3.1's template."""
_FIXED_DATE = "{% macro strftime_now(format) %}" + DATE + "{% endmacro %}{{ '' }}"
"""Replaces the clock of a template; the last piece protects a line break at the template's start."""
PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ {'system': '', 'user': 'User:\n', 'assistant': 'Assistant: '}[m['role']] }}"
    "{{ m['content'] }}{{ eos_token if m['role'] == 'assistant' else '' }}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
"""Template of a tokenizer without a chat template, such as a base model's."""

Media = Callable[[int], list[int]]
"""Index of a medium of a record -> its token ids, with placeholders for visual tokens."""


@dataclass(frozen=True)
class Options:
    """The options of one question, as branches with the tokens that are scored as targets."""

    branches: list[Branch]
    num_tokens: tuple[int, ...]
    """Number of targets of each option, in the order of the options and of the targets of the branches."""


class Prompter:
    """Renders the tokenizer's chat template, split where the texts of a conversation stand."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, scoring: Scoring = "text", instruction: str = "") -> None:
        """Split the template.

        Args:
            tokenizer: tokenizer of the LLM.
            scoring: whether questions with options are shown with letters.
            instruction: the line after a list of options with letters.

        Raises:
            ValueError: the template cannot be split, or nothing marks the end of an answer.
            ManifestError: the tokenizer cannot tell the letters of `scoring` apart.
        """
        self._tokenizer = tokenizer
        self._text = TextEncoder(tokenizer)
        self._scoring, self._instruction = scoring, instruction
        self._template = _template_of(tokenizer)
        question, turn = _user(_QUESTION), [_user(_QUESTION), {"role": "assistant", "content": _ANSWER}]
        opening, prompt = self._split(self._render([question], answer_next=True), _QUESTION)
        _, rest = self._split(self._render(turn, answer_next=False), _QUESTION)
        between, end = self._split(rest, _ANSWER)
        # Where a finished turn shows more before its answer than a prompt does, the prompt shows it too.
        closing = between if between.startswith(prompt) else prompt
        # A space at the end belongs to the answer: " A" is one token of most tokenizers, and " ", "A" never in a text.
        self._lead = closing[len(closing.rstrip(" ")) :]
        self._closing = self._text.template(closing.rstrip(" "))
        self._continues = self._text.continues(closing.rstrip(" "), self._lead + LETTERS[0])
        self._end = self._text.template(end)
        if not end:
            self._refuse("puts nothing behind an answer, so its end can be neither learned nor scored")
        self.opening: list[int] = self._template_ids(opening)
        # The opening of a later turn lacks text that is rendered only once at the top, such as a system message.
        _, after = self._split(self._render([*turn, _user(_NEXT)], answer_next=True), _ANSWER)
        reopening, _ = self._split(after, _NEXT)
        if not reopening.startswith(end):
            self._refuse_split()
        self._reopening: list[int] = self._template_ids(reopening[len(end) :])
        self._system_opening = self._split_system()
        if scoring == "letters":
            self._refuse_equal(LETTERS, [self.answer_ids(letter) for letter in LETTERS], "data.scoring: letters")

    def _render(self, messages: list[dict[str, str]], *, answer_next: bool) -> str:
        return self._tokenizer.apply_chat_template(
            messages,
            chat_template=self._template,
            add_generation_prompt=answer_next,
            tokenize=False,
            enable_thinking=False,  # for Qwen3: the answer follows at once, in training and in testing
            date_string=DATE,
        )

    def _split(self, text: str, placeholder: str) -> tuple[str, str]:
        before, separator, after = text.partition(placeholder)
        return (before, after) if separator else self._refuse_split()

    def _split_system(self) -> tuple[list[int], TemplateText] | None:
        """What stands before and after a system message; None if the template takes none."""
        messages = [{"role": "system", "content": _SYSTEM}, _user(_QUESTION)]
        try:
            text = self._render(messages, answer_next=True)
        except TemplateError:
            return None
        before, separator, after = text.partition(_SYSTEM)
        if not separator:
            return None
        between, _ = self._split(after, _QUESTION)
        return self._template_ids(before), self._text.template(between)

    def _template_ids(self, text: str) -> list[int]:
        return self._text.user_then("", self._text.template(text))

    def _refuse_split(self) -> Never:
        self._refuse("changes earlier turns when later ones follow, so questions cannot share a video")

    def _refuse(self, reason: str) -> Never:
        raise ValueError(
            f"the chat template of {self._tokenizer.name_or_path} {reason}; give the tokenizer a plain template "
            "(tokenizer_config.json, chat_template)"
        )

    def _refuse_equal(self, texts: Sequence[str], answers: list[list[int]], what: str) -> None:
        fix = "set `data.scoring: text`" if texts is LETTERS else "change them, or set `data.scoring: letters`"
        by_ids: dict[tuple[int, ...], str] = {}
        for text, ids in zip(texts, answers, strict=True):
            other = by_ids.setdefault(tuple(ids), text)
            if other is not text:
                raise ManifestError(
                    f"{what}: the tokenizer of {self._tokenizer.name_or_path} encodes {other!r} and {text!r} alike, so "
                    f"the model cannot choose between them; {fix}"
                )

    def check(self, sample: TrainingSample) -> None:
        """Refuse a training sample that cannot be shown.

        Raises:
            ManifestError: the template takes no system message, or there are more options than letters.
        """
        if sample.system is not None:
            self.opening_ids(sample)
        for turn in sample.turns:
            if self._scoring == "letters" and turn.options:
                with_options(turn.question, turn.options, self._instruction)

    @property
    def end(self) -> TemplateText:
        """What the template puts behind an answer."""
        return self._end

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, none of which is a control token."""
        return self._text.user(text)

    def opening_ids(self, sample: TrainingSample) -> list[int]:
        """Token ids in front of a conversation's first question: its system message, or that of the template.

        Raises:
            ManifestError: the record has a system message, and the template takes none.
        """
        if sample.system is None:
            return self.opening
        if self._system_opening is None:
            raise ManifestError(
                f"record {sample.id} has a system message, but the chat template of {self._tokenizer.name_or_path} "
                "takes none; move its text into the first question"
            )
        before, after = self._system_opening
        return [*before, *self._text.user_then(sample.system.strip(), after)]

    def question_ids(self, question: Text, media: Media) -> list[int]:
        """Token ids of a question, up to the start of its answer."""
        ids: list[int] = []
        text = ""
        for piece in trimmed(question):
            if isinstance(piece, str):
                text = piece
            else:
                ids += [*self.encode(text), *media(piece)]
                text = ""
        return [*ids, *self._text.user_then(text, self._closing)]

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an answer, including the end of the assistant's turn."""
        return self._text.user_then(self._lead + answer.strip(), self._end, continues=self._continues)

    def training_branches(self, sample: TrainingSample, turns: Sequence[int], media: Media) -> list[Branch]:
        """Branches of a conversation: one for each turn if turns are independent, else one for all turns.

        Args:
            sample: the conversation.
            turns: indices of the turns to use.
            media: gives the token ids of the media that stand in the questions, those of `leading` excepted.

        Raises:
            ManifestError: a question has more options than there are letters.
        """
        in_prefix = len(leading(sample.turns[0].question))
        pairs = [(turn.question[0 if number else in_prefix :], turn) for number, turn in enumerate(sample.turns)]
        if sample.independent:
            return [self._dialogue([pairs[i]], media) for i in turns]
        return [self._dialogue([pairs[i] for i in sorted(turns)], media)]

    def _dialogue(self, turns: list[tuple[Text, Turn]], media: Media) -> Branch:
        ids: list[int] = []
        targets: list[tuple[int, int]] = []
        for number, (question, turn) in enumerate(turns):
            answer = turn.answer
            if turn.options and self._scoring == "letters":
                question = with_options(question, turn.options, self._instruction)
                answer = LETTERS[turn.options.index(turn.answer)]
            ids += self._reopening if number else []
            ids += self.question_ids(question, media)
            answer_ids = self.answer_ids(answer)
            targets += [(len(ids) + i - 1, token) for i, token in enumerate(answer_ids)]
            ids += answer_ids
        return Branch(tuple(ids), tuple(targets))

    def _scored_ids(self, option: str) -> list[int]:
        """Token ids of an option up to the token that ends the turn.

        What a template writes behind that token, mostly a line break, is near certain and would raise the mean of short
        options most.
        """
        ids = self.answer_ids(option)
        return ids[: len(ids) - max(0, len(self._end.ids) - 1)]

    def option_branches(self, question: Question, text: Text, media: Media) -> Options:
        """The options of a question: their letters, or their texts with the end of the assistant's turn.

        Letters that are single tokens are all predicted by one branch; else each option's tokens are a branch that
        continues that of the question.

        Args:
            question: the question.
            text: its text without media that stand in the row's prefix.
            media: gives the token ids of the other media.

        Raises:
            ManifestError: there are more options than letters, or two options are the same tokens.
        """
        if self._scoring == "letters":
            text = with_options(text, question.options, self._instruction)
            answers = [self.answer_ids(letter) for letter in LETTERS[: len(question.options)]]
        else:
            answers = [self._scored_ids(option) for option in question.options]
            self._refuse_equal(question.options, answers, f"question {question.id}")
        ids = tuple(self.question_ids(text, media))
        if self._scoring == "letters" and _differ_in_first(answers):
            letters = tuple((len(ids) - 1, answer[0]) for answer in answers)
            return Options([Branch(ids, letters)], (1,) * len(answers))
        options = [
            Branch(tuple(answer[:-1]), tuple((i - 1, token) for i, token in enumerate(answer)), parent=number)
            for number, answer in enumerate(answers, 1)
        ]
        return Options([Branch(ids, ()), *options], tuple(len(answer) for answer in answers))


def leading(text: Text) -> tuple[int, ...]:
    """The media at the very start of a text, before any of its words."""
    indices: list[int] = []
    for piece in text:
        if isinstance(piece, str):
            break
        indices.append(piece)
    return tuple(indices)


def _differ_in_first(answers: list[list[int]]) -> bool:
    """Whether the first tokens of all answers differ, and only these."""
    return len({answer[0] for answer in answers}) == len(answers) and len({tuple(a[1:]) for a in answers}) == 1


def _template_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template with a fixed date; a plain one, with a BOS where the tokenizer adds it, if there is none."""
    template: Any = tokenizer.get_chat_template() if tokenizer.chat_template else None
    if template is not None:
        return _FIXED_DATE + template if "strftime_now" in template else template
    if tokenizer.eos_token is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path} has neither a chat template nor an eos_token, so nothing marks "
            "the end of an answer; give it one of them (tokenizer_config.json)"
        )
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and tokenizer.encode("a")[:1] == [bos]
    return ("{{ bos_token }}" if adds_bos else "") + PLAIN_TEMPLATE


def _user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}
