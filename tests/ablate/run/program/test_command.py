"""Commands: placeholders, and a design as flags that argument parsers read back as the same values."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.errors import UsageError
from ablate.run.program import Context, command_line, variables
from ablate.run.program.flags import FLAGS
from ablate.spec import EXPANDED, PLACEHOLDERS
from tests.ablate.run.program.programs import program

CONFIG = {
    "data": ["/videos/a.json", "/videos/b.json"],
    "model": {"name": "Qwen/Qwen2.5-0.5B", "lora": {"rank": 8, "on": True}},
    "lr": 1e-5,
    "note": 'two words, "quoted"',
    "nothing": None,
    "layers": [1, 2],
    "scale": "0.5B",
    "seed": 3,
    "samples": 1000,
}
NUMBERS = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
SCALARS = st.booleans() | NUMBERS | TEXTS
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,6}", fullmatch=True)
DESIGNS = st.recursive(
    st.dictionaries(NAMES, SCALARS | st.lists(SCALARS, max_size=3), min_size=1, max_size=4),
    lambda inner: st.dictionaries(NAMES, inner | SCALARS, min_size=1, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def context(attempt):
    return Context(attempt=attempt, gpus=8, nodes=2, node_rank=1, master_addr="10.0.0.1", master_port=29500)


def test_every_placeholder_has_a_value(context, attempt):
    template = " ".join(f"{name}={{{name}}}" for name in PLACEHOLDERS if name not in EXPANDED)
    line = command_line(program(template, config=CONFIG), context)
    values = dict(part.split("=", 1) for part in line[0].replace('", "', '","').split(" "))
    assert set(values) == set(PLACEHOLDERS) - EXPANDED
    assert values["out"] == str(attempt.path / "out")
    assert values["config"].endswith("attempts/0/inputs/config.json")
    assert values["config_yaml"].endswith("attempts/0/inputs/config.yaml")
    assert (values["gpus"], values["nodes"], values["node_rank"]) == ("8", "2", "1")
    assert (values["master_addr"], values["master_port"]) == ("10.0.0.1", "29500")
    assert (values["seed"], values["scale"], values["samples"], values["attempt"]) == ("3", "0.5B", "1000", "0")
    assert json.loads(values["data"]) == CONFIG["data"]
    assert values["resume"] == ""


def test_a_group_with_an_empty_placeholder_is_left_out(attempt):
    command = ("train", ("--resume", "{resume}"), ("--samples", "{samples}"), ("--seed={seed}", "-v"))
    first = command_line(program(*command), Context(attempt=attempt))
    assert first == ["train", "--seed=3", "-v"]
    again = command_line(program(*command), Context(attempt=attempt, resume="/trial/attempts/0/out"))
    assert again == ["train", "--resume", "/trial/attempts/0/out", "--seed=3", "-v"]


def test_outside_of_a_group_an_empty_placeholder_is_an_empty_argument(attempt):
    assert command_line(program("train", "{resume}"), Context(attempt=attempt)) == ["train", ""]


def test_braces_gpus_and_shell_characters(attempt):
    line = command_line(program("{{{seed}}}", "$HOME; `ls` *", "{gpus}"), Context(attempt=attempt, gpus=0.5))
    assert line == ["{3}", "$HOME; `ls` *", "1"]


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("--lr={lr}", "there is no placeholder {lr}; use one of config, config_yaml, flags"),
        ("{}", "there is no placeholder {}"),
        ("{seed:03d}", "there is no placeholder {seed:03d}"),
        ("{seed!r}", "there is no placeholder {seed!r}"),
        ('{"a": 1}', "write {{ and }} for braces"),
        ("a}", "a single brace; write {{ and }}"),
        ("x{flags}", "{flags} becomes several arguments; write it as an argument of its own"),
        ("{dotlist}{seed}", "{dotlist} becomes several arguments"),
    ],
)
def test_wrong_placeholders_are_refused_by_name(context, argument, problem):
    with pytest.raises(UsageError) as refusal:
        command_line(program("train", argument), context)
    assert problem in str(refusal.value)
    assert repr(argument) in str(refusal.value)


def test_the_three_forms_of_flags(context):
    def expanded(placeholder):
        return command_line(program(placeholder, config=CONFIG), context)

    assert expanded("{flags}") == [
        "--model.name=Qwen/Qwen2.5-0.5B",
        "--model.lora.rank=8",
        "--model.lora.on=true",
        "--lr=1.0e-05",
        '--note=two words, "quoted"',
        "--layers=[1, 2]",
    ]
    assert expanded("{flags_space}") == [
        *("--model_name", "Qwen/Qwen2.5-0.5B", "--model_lora_rank", "8", "--model_lora_on", "true"),
        *("--lr", "1.0e-05", "--note", 'two words, "quoted"', "--layers", "1", "2"),
    ]
    assert expanded("{dotlist}") == [
        *("model.name=Qwen/Qwen2.5-0.5B", "model.lora.rank=8", "model.lora.on=true", "lr=1.0e-05"),
        *('note="two words, \\"quoted\\""', "nothing=null", "layers=[1,2]"),
    ]


def test_two_values_with_the_same_flag_are_refused(context):
    of = program("{flags_space}", config={"a": {"b": 1}, "a_b": 2})
    with pytest.raises(UsageError, match=r"a\.b and a_b of the design both become --a_b"):
        command_line(of, context)


def test_a_design_without_values_leaves_a_group_of_flags_out(attempt):
    of = program("train", ("--set", "{dotlist}"), config={"seed": 0, "scale": "0.5B"})
    assert command_line(of, Context(attempt=attempt)) == ["train"]


def test_arguments_reach_the_program_unchanged_without_a_shell(context):
    of = program(sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", "{flags}", config=CONFIG)
    line = command_line(of, context)
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == line[3:]


def leaves(design, path=()):
    for name, value in design.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def parse(text, value):
    """Read a text as the type of the expected value, as the `type` of an argparse argument does."""
    if isinstance(value, bool):
        return {"true": True, "false": False}[text]
    return type(value)(text)


@given(DESIGNS)
def test_argparse_reads_flags_back(design):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    values = {".".join(path): value for path, value in leaves(design)}
    for name, value in values.items():
        kind = json.loads if isinstance(value, list) else lambda text, value=value: parse(text, value)
        parser.add_argument(f"--{name}", type=kind)
    assert vars(parser.parse_args(FLAGS["flags"](design))) == values


@given(DESIGNS)
def test_omegaconf_reads_dotlists_back(design):
    omegaconf = pytest.importorskip("omegaconf")
    texts = [value for _, leaf in leaves(design) for value in (leaf if isinstance(leaf, list) else [leaf])]
    if any("${" in text for text in texts if isinstance(text, str)):
        return  # OmegaConf's own placeholders: documented
    config = omegaconf.OmegaConf.to_container(omegaconf.OmegaConf.from_dotlist(FLAGS["dotlist"](design)))
    assert config == design


@dataclass
class Arguments:
    model_name: str
    learning_rate: float = 0.1
    bf16: bool = False
    layers: list[int] = field(default_factory=list)
    output_dir: str | None = None


def test_transformers_reads_flags_with_spaces_back():
    from transformers import HfArgumentParser

    design = {"model": {"name": "a b 'c'"}, "learning_rate": 1e-5, "bf16": True, "layers": [1, 2], "output_dir": None}
    (arguments,) = HfArgumentParser(Arguments).parse_args_into_dataclasses(FLAGS["flags_space"](design))
    assert arguments == Arguments("a b 'c'", 1e-5, True, [1, 2], None)
    (off,) = HfArgumentParser(Arguments).parse_args_into_dataclasses(
        FLAGS["flags_space"]({"bf16": False, "model_name": "m"})
    )
    assert off.bf16 is False


def test_the_environment_says_where_the_files_are(attempt):
    of = program(env={"WANDB_MODE": "offline"})
    assert variables(of, Context(attempt=attempt)) == {
        "WANDB_MODE": "offline",
        "ABLATE_CONFIG": str(attempt.path / "inputs" / "config.json"),
        "ABLATE_OUT": str(attempt.out),
        "ABLATE_RESUME": "",
        "ABLATE_ATTEMPT": "0",
    }
