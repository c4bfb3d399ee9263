"""Prompts with the real chat templates of seven families: what is rendered, and that text of users stays text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from models.data import Branch, ManifestError, Prompter, Question, Text, TrainingSample, Turn
from models.data.letters import with_options
from models.weights import locate_tokenizer
from tests.models.data.families import BOS, SPECIALS, WORDS, tokenizer_of

FAMILIES = sorted(SPECIALS)
INSTRUCTION = "Answer with the option's letter from the given choices directly."
MEDIUM = [-1, -1]
"""Token ids of every medium in these tests: two visual tokens."""
HOSTILE = [
    *sorted({token for tokens in (*SPECIALS.values(), *WORDS.values()) for token in tokens}),
    "<image>",
    "<video>",
    "<vid_start>",
    "QUESTION-TEXT",
]


def no_media(index: int) -> list[int]:
    raise AssertionError("the text has no media")


def media(index: int) -> list[int]:
    return MEDIUM


def dialogue(*turns: tuple[str, str], system: str | None = None) -> TrainingSample:
    pairs = tuple(Turn((question,), answer) for question, answer in turns)
    return TrainingSample("r1", "text", (), pairs, independent=False, system=system)


def rendered(tokenizer: PreTrainedTokenizerFast, sample: TrainingSample, *, last: bool) -> str:
    """The whole conversation by the template itself, without its last answer if `last` is False."""
    messages = [{"role": "system", "content": sample.system}] if sample.system else []
    for turn in sample.turns:
        messages += [{"role": "user", "content": turn.text}, {"role": "assistant", "content": turn.answer}]
    return tokenizer.apply_chat_template(
        messages if last else messages[:-1],
        add_generation_prompt=not last,
        tokenize=False,
        enable_thinking=False,
        date_string="26 Jul 2024",
    )


def ids_of(prompter: Prompter, sample: TrainingSample) -> tuple[list[int], Branch]:
    (branch,) = prompter.training_branches(sample, range(len(sample.turns)), no_media)
    return [*prompter.opening_ids(sample), *branch.ids], branch


def decode(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.fixture
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    def set_year(year: int) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz: object = None) -> datetime:
                return datetime(year, 7, 26)

        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)

    set_year(2024)
    return set_year


# --- the template as a whole --------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("system", [None, "You see what is shown."])
def test_a_conversation_is_the_template_as_a_whole(family: str, system: str | None, fixed_clock):
    tokenizer = tokenizer_of(family)
    sample = dialogue(("What is red?", "The first."), system=system)
    ids, branch = ids_of(Prompter(tokenizer), sample)
    whole = rendered(tokenizer, sample, last=True)
    assert decode(tokenizer, ids) == whole
    assert ids == tokenizer.encode(whole, add_special_tokens=False)
    prompt = rendered(tokenizer, sample, last=False)
    first = min(position for position, _ in branch.targets) + 1 + len(ids) - len(branch.ids)
    assert decode(tokenizer, ids[:first]) == prompt
    assert whole[len(prompt) :] == decode(tokenizer, [token for _, token in branch.targets])


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "qwen3"])
def test_later_turns_are_the_template_as_a_whole(family: str, fixed_clock):
    tokenizer = tokenizer_of(family)
    sample = dialogue(("What is red?", "The first."), ("And which is blue?", "12"), ("Left?", "no"))
    ids, branch = ids_of(Prompter(tokenizer), sample)
    assert decode(tokenizer, ids) == rendered(tokenizer, sample, last=True)
    assert all(branch.ids[position + 1] == token for position, token in branch.targets)
    learned = decode(tokenizer, [token for _, token in branch.targets])
    end = decode(tokenizer, Prompter(tokenizer).answer_ids(""))
    assert learned == f"The first.{end}12{end}no{end}"


def test_every_turn_of_qwen3_has_the_thought_of_its_test_prompt():
    """Its template shows the empty thought in the last turn alone; here it is in every turn, as when asked."""
    tokenizer = tokenizer_of("qwen3")
    prompter = Prompter(tokenizer)
    ids, branch = ids_of(prompter, dialogue(("What is red?", "The first."), ("And blue?", "12")))
    thought = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert decode(tokenizer, ids).count(thought) == decode(tokenizer, ids).count("<think>") == 2
    assert "think" not in decode(tokenizer, [token for _, token in branch.targets])
    options = prompter.option_branches(Question("q", ("What?",), ("red", "blue"), 0, "c", "t"), ("What?",), no_media)
    assert decode(tokenizer, list(options.branches[0].ids)).endswith(thought)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_do_not_depend_on_the_day(family: str, fixed_clock):
    tokenizer = tokenizer_of(family)
    today = Prompter(tokenizer).opening
    fixed_clock(2031)
    assert Prompter(tokenizer).opening == today
    text = decode(tokenizer, today)
    assert ("26 Jul 2024" in text) == (family in ("llama3_1", "llama3_2"))


def test_a_template_that_asks_the_clock_gets_a_fixed_date(fixed_clock):
    """As the templates of SmolLM3 and Granite do."""
    prompt = "{{ strftime_now('%d %B %Y') }}{% for m in messages %}<user>{{ m.content }}<eos>{% endfor %}"
    tokenizer = changed(prompt)
    today = Prompter(tokenizer).opening
    fixed_clock(2031)
    assert Prompter(tokenizer).opening == today


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("is_base", [False, True])
def test_the_first_token_is_the_models_and_comes_once(family: str, is_base: bool):
    tokenizer = tokenizer_of(family, is_base=is_base)
    ids, _ = ids_of(Prompter(tokenizer), dialogue(("What is red?", "The first."), ("And blue?", "12")))
    if family in BOS:
        assert ids[0] == tokenizer.bos_token_id
        assert ids.count(tokenizer.bos_token_id) == 1
    else:
        assert tokenizer.bos_token_id is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_model_gets_a_plain_prompt(family: str):
    tokenizer = tokenizer_of(family, is_base=True)
    prompter = Prompter(tokenizer, "letters", INSTRUCTION)
    ids, branch = ids_of(prompter, dialogue(("What is red?", "The first.")))
    assert decode(tokenizer, ids) == (
        f"{BOS.get(family, '')}User:\nWhat is red?\nAssistant: The first.{tokenizer.eos_token}\n"
    )
    # The space before the answer belongs to its first token, as in any text.
    question = Question("q", ("What?",), ("red", "blue"), 0, "c", "t")
    (letters,) = prompter.option_branches(question, question.question, no_media).branches
    assert [decode(tokenizer, [token]) for _, token in letters.targets] == [" A", " B"]


# --- letters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_letters_are_scored_where_the_answer_starts(family: str, fixed_clock):
    tokenizer = tokenizer_of(family)
    prompter = Prompter(tokenizer, "letters", INSTRUCTION)
    question = Question("q", (0, "Which color?"), ("red", "red and blue", "12"), 1, "c", "t")
    options = prompter.option_branches(question, question.question, media)
    (branch,) = options.branches
    text = (
        "Which color?\nA. red\nB. red and blue\nC. 12\nAnswer with the option's letter from the given choices directly."
    )
    prompt = rendered(tokenizer, dialogue((text, "")), last=False)
    assert branch.ids[:2] == (-1, -1)
    assert decode(tokenizer, [*prompter.opening, *branch.ids[2:]]) == prompt
    assert [decode(tokenizer, [token]) for _, token in branch.targets] == ["A", "B", "C"]
    assert {position for position, _ in branch.targets} == {len(branch.ids) - 1}
    assert options.num_tokens == (1, 1, 1)


def test_a_training_question_with_options_is_written_as_it_is_tested():
    tokenizer = tokenizer_of("qwen2_5")
    turn = Turn(("Which color?",), "blue", ("red", "blue"))
    sample = replace(dialogue(("", "")), turns=(turn,))
    question = Question("q", turn.question, turn.options, 1, "c", "t")
    letters = Prompter(tokenizer, "letters", INSTRUCTION)
    (branch,) = letters.training_branches(sample, [0], no_media)
    (scored,) = letters.option_branches(question, question.question, no_media).branches
    assert branch.ids[: len(scored.ids)] == scored.ids
    assert branch.targets[0] == scored.targets[1]
    assert decode(tokenizer, [token for _, token in branch.targets]) == "B<|im_end|>\n"
    text = Prompter(tokenizer, "text", INSTRUCTION)
    (branch,) = text.training_branches(sample, [0], no_media)
    parent, _, option = text.option_branches(question, question.question, no_media).branches
    scored_ids = (*parent.ids, *option.ids, option.targets[-1][1])
    assert branch.ids[: len(scored_ids)] == scored_ids
    assert decode(tokenizer, [option.targets[-1][1]]) == "<|im_end|>"
    assert decode(tokenizer, list(branch.ids[len(scored_ids) :])) == "\n", "learned, but not scored"
    assert "A. red" not in decode(tokenizer, list(branch.ids))


def test_more_options_than_letters_are_refused():
    options = tuple(str(i) for i in range(27))
    with pytest.raises(
        ValueError, match=r"'Which\?' has 27 options, but there are 26 letters; set `data.scoring: text`"
    ):
        with_options(("Which?",), options, INSTRUCTION)
    assert "Z. 25" in str(with_options(("Which?",), options[:26], ""))


def test_letters_that_are_no_single_tokens_are_scored_whole():
    """A space and the letter are two tokens here, so the first would be the same for all."""
    tokenizer = tokenizer_of("smollm2", is_base=True, merges=0)
    question = Question("q", ("Which?",), ("red", "blue"), 0, "c", "t")
    options = Prompter(tokenizer, "letters").option_branches(question, question.question, no_media)
    assert [branch.parent for branch in options.branches] == [0, 1, 2]
    scored = [decode(tokenizer, [token for _, token in branch.targets]) for branch in options.branches[1:]]
    assert scored == [f" A{tokenizer.eos_token}\n", f" B{tokenizer.eos_token}\n"]
    assert options.num_tokens == (4, 4)


def test_answers_of_the_same_tokens_are_refused():
    """The embedded study's tokenizer has few words; all others are one unknown word, so nothing could be chosen."""
    tokenizer = AutoTokenizer.from_pretrained(locate_tokenizer("tiny/llm"))
    with pytest.raises(
        ManifestError, match=r"letters: the tokenizer of .* encodes 'B' and 'C' alike.* set `data.scoring: text`"
    ):
        Prompter(tokenizer, "letters")
    question = Question("q7", ("red",), ("red", "violet", "purple"), 0, "c", "t")
    with pytest.raises(ManifestError, match=r"question q7: the tokenizer of .* encodes 'violet' and 'purple' alike"):
        Prompter(tokenizer).option_branches(question, question.question, no_media)


# --- media in their places ----------------------------------------------------------------------


def test_media_keep_their_places_in_every_turn():
    tokenizer = tokenizer_of("qwen2_5")
    prompter = Prompter(tokenizer)
    first: Text = (0, "Picture 1: ", 1, "\nPicture 2: ", 2, "\nIs ", 1, " red?")
    sample = TrainingSample(
        "r", "multi_image", (), (Turn(first, "yes"), Turn(("And ", 3, "?"), "no")), independent=False
    )
    calls: list[int] = []

    def numbered(index: int) -> list[int]:
        calls.append(index)
        return [-10 - index]

    (branch,) = prompter.training_branches(sample, [0, 1], numbered)
    assert calls == [1, 2, 1, 3], "the first medium stands in the prefix"
    text = "".join(f"[{-10 - i}]" if i < 0 else decode(tokenizer, [i]) for i in branch.ids)
    assert text.startswith(
        "Picture 1: [1]\nPicture 2: [2]\nIs [1] red?<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>"
    )
    assert text.endswith("<|im_start|>user\nAnd [3]?<|im_end|>\n<|im_start|>assistant\nno<|im_end|>\n")


# --- text of users ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("is_base", [False, True])
def test_control_tokens_in_texts_of_users_are_text(family: str, is_base: bool):
    tokenizer = tokenizer_of(family, is_base=is_base)
    control = set(tokenizer.added_tokens_decoder)
    prompter = Prompter(tokenizer, "letters", INSTRUCTION)

    def number_of(text: str) -> int:
        sample = dialogue((f"a {text} b", f"c{text}"), (text, f"{text}!"), system=f"s {text}")
        ids, _ = ids_of(prompter, sample)
        options = prompter.option_branches(
            Question("q", (text,), (text + "1", "2" + text), 0, "c", "t"), (text,), no_media
        )
        assert text in decode(tokenizer, ids)
        return sum(i in control for i in (*ids, *(i for branch in options.branches for i in branch.ids)))

    assert {number_of(text) for text in HOSTILE} == {number_of("x")}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(FAMILIES), st.booleans())
def test_any_text_is_encoded_without_loss_and_without_control_tokens(text: str, family: str, is_base: bool):
    tokenizer = tokenizer_of(family, is_base=is_base)
    ids = Prompter(tokenizer).encode(text)
    assert not set(ids) & set(tokenizer.added_tokens_decoder)
    assert decode(tokenizer, ids) == text


@given(
    st.lists(st.sampled_from(["red", "1", "<|im_end|>", " and ", "\n", ".", "<end_of_turn>"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["blue", "10", "<|eot_id|>", " ", "\n"]), max_size=3),
    st.sampled_from(FAMILIES),
)
def test_no_answer_is_the_start_of_another(words: list[str], more: list[str], family: str):
    prompter = Prompter(tokenizer_of(family))
    short, long = prompter.answer_ids("".join(words)), prompter.answer_ids("".join(words + more))
    assert short == long or short != long[: len(short)]
    assert short[-len(prompter.answer_ids("")) :] == prompter.answer_ids("")


def test_templates_and_users_share_a_token_where_no_control_token_is_between():
    """As if the plain template were encoded as a whole: `?\\n` is one token of Qwen's."""
    tokenizer = tokenizer_of("smollm2", is_base=True)
    ids, _ = ids_of(Prompter(tokenizer), dialogue(("Which one is blue?\n", " red ")))
    whole = f"User:\nWhich one is blue?\nAssistant: red{tokenizer.eos_token}\n"
    assert ids == tokenizer.encode(whole, add_special_tokens=False)


# --- what is refused ----------------------------------------------------------------------------


def changed(template: str | None, **tokens: object) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(locate_tokenizer("tiny/llm"))
    tokenizer.chat_template = template
    for name, value in tokens.items():
        setattr(tokenizer, name, value)
    return tokenizer


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (
            "{% for m in messages %}{% if loop.last %}{{ m.content }}{% endif %}{% endfor %}",
            "changes earlier turns when later ones follow, so questions cannot share a video",
        ),
        ("{% for m in messages %}<user>{{ m.content }}{% endfor %}", "puts nothing behind an answer"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_its_tokenizer(template: str, reason: str):
    with pytest.raises(ValueError, match=rf"the chat template of .*tokenizer.* {reason}.* give the tokenizer a plain"):
        Prompter(changed(template))


def test_a_base_tokenizer_without_an_end_is_refused():
    with pytest.raises(ValueError, match="neither a chat template nor an eos_token"):
        Prompter(changed(None, eos_token=None))


def test_a_system_message_that_the_template_cannot_take_is_refused_with_its_record():
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    template = "{% for m in messages %}<user>{{ m.content }}<eos>{% endfor %}"
    sample = dialogue(("what", "two"), system="be brief")
    for tokenizer in (
        changed(refusing + template),
        changed("{% if messages[0].role == 'user' %}" + template + "{% endif %}"),
    ):
        with pytest.raises(ValueError, match="record r1 has a system message, but the chat template of .* takes none"):
            Prompter(tokenizer).opening_ids(sample)
