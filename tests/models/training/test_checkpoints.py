"""A training that goes on from a checkpoint is equal to the bit to one that was never interrupted."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from models.architecture import VideoLMM
from models.data import Prompter
from models.design import AdamW, LearningRates, Mix, Stage, TrialConfig
from models.training import Checkpoint, CheckpointStore, Ranks, Training, checkpoints_in, prune
from models.training.shared_starts import START_CACHE
from tests.models.training.small import ENGINE, small_corpus, small_model, with_design
from tests.models.training.test_recorded_losses import CASES, trial_of


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that libraries use
    torch.manual_seed(seed)


class Run:
    """A training in a process of its own, as far as its state is concerned."""

    def __init__(self, make: Callable[[], VideoLMM], prompter: Prompter, trial: TrialConfig, positions: int) -> None:
        START_CACHE._starts.clear()
        self.model = make()
        seed_everything(0)
        corpus = with_design(small_corpus(self.model, prompter), trial.design)
        self.training = Training(self.model, trial, corpus, ENGINE, positions)
        self.steps = self.training.run()

    def losses(self, count: int | None = None) -> list[float]:
        """Those of the next steps, with the norm of the gradient, the rates and the number of samples of each."""
        steps = self.steps if count is None else (next(self.steps) for _ in range(count))
        return [(step.step, step.loss, step.gradient_norm, step.rates, step.samples) for step in steps]


def store(folder: Path, ended: Callable[[int, str | None], object] = lambda *_: None, identity: str = "a"):
    return CheckpointStore(folder, identity, Ranks(), ended)


def saved(run: Run, folder: Path) -> None:
    """Save the position; the training takes a step while it is written."""
    ended: list[Any] = []
    one = store(folder, lambda *end: ended.append(end))
    one.save(run.training, {"points": [1.5]})
    run.losses(1)
    one.wait()
    assert [reason for _, reason in ended] == [None]


@pytest.fixture
def make(prompter: Prompter, tmp_path: Path) -> Callable[[], VideoLMM]:
    return lambda: small_model(prompter, tmp_path)


@pytest.mark.parametrize(("stages", "optimizer", "positions"), CASES)
def test_a_resumed_training_is_equal_to_the_bit(make, prompter, tmp_path, stages, optimizer, positions):
    trial = trial_of(stages, optimizer)
    whole = Run(make, prompter, trial, positions)
    expected = whole.losses()
    for done in (
        len(expected) * 2 // 3,
        len(expected) - 1,
    ):  # the end of the first of two stages, and later
        folder = tmp_path / str(done)
        first = Run(make, prompter, trial, positions)
        first.losses(done)
        saved(first, folder)
        second = Run(make, prompter, trial, positions)
        seed_everything(1)
        found = store(tmp_path).resume(second.training, [folder], pytest.fail)
        assert found is not None
        assert (found[0].step, second.training.step, found[1]) == (done, done, {"points": [1.5]})
        assert second.losses() == expected[done:]
        for mine, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
            assert torch.equal(mine, theirs)


def test_dropout_goes_on_too(make, prompter, tmp_path):
    def with_gpt2() -> VideoLMM:
        model = make()
        torch.manual_seed(0)
        sizes = {"vocab_size": model.llm.config.vocab_size, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
        return VideoLMM(model.encoder, model.resampler, GPT2LMHeadModel(GPT2Config(**sizes))).eval()

    trial = trial_of("connector, then all", "muon")
    expected = Run(with_gpt2, prompter, trial, 40).losses()
    first = Run(with_gpt2, prompter, trial, 40)
    first.losses(10)
    saved(first, tmp_path)
    second = Run(with_gpt2, prompter, trial, 40)
    store(tmp_path).resume(second.training, [tmp_path], pytest.fail)
    assert second.losses() == expected[10:]


def test_only_what_has_learned_is_saved(make, prompter, tmp_path):
    run = Run(make, prompter, trial_of("connector, then all", "adamw"), 40)
    run.losses(1)
    assert {name.split(".")[0] for name in run.training.state().tensors if "optimizer" not in name} == {
        "model/resampler"
    }
    run.losses(9)
    assert {name.split(".")[0] for name in run.training.state().tensors if "optimizer" not in name} == {
        "model/resampler",
        "model/encoder",
        "model/llm",
    }


def checkpointed(run: Run, folder: Path, steps: int) -> list[Checkpoint]:
    """A checkpoint after each of some steps."""
    one = store(folder)
    for _ in range(steps):
        run.losses(1)
        one.save(run.training, {})
    one.wait()
    return checkpoints_in([folder], "a")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["shard-*", "rank-0.json", "checkpoint.json"])
@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_a_damaged_checkpoint_is_skipped_for_the_one_before(make, prompter, tmp_path, name, damage):
    trial = trial_of("connector and LLM", "adamw")
    found = checkpointed(Run(make, prompter, trial, 40), tmp_path / "c", 2)
    (path,) = found[1].path.glob(name)
    damage(path)
    run, skipped = Run(make, prompter, trial, 40), list[str]()
    chosen = store(tmp_path).resume(run.training, [tmp_path / "c"], lambda one, why: skipped.append(why))
    if (name, damage) == ("checkpoint.json", flip):
        return  # a checksum differs, or the text is JSON no more
    assert chosen is not None
    assert chosen[0].step == 1
    assert all(path.name in why for why in skipped)
    assert len(skipped) == (name != "checkpoint.json")


def test_that_of_another_config_is_ignored_and_the_training_is_unchanged(make, prompter, tmp_path):
    trial = trial_of("connector and LLM", "adamw")
    checkpointed(Run(make, prompter, trial, 40), tmp_path / "c", 1)
    run = Run(make, prompter, trial, 40)
    assert store(tmp_path, identity="b").resume(run.training, [tmp_path / "c", tmp_path / "no"], pytest.fail) is None
    assert run.losses() == Run(make, prompter, trial, 40).losses()


def test_an_unfinished_one_is_none_and_the_last_two_are_kept(make, prompter, tmp_path):
    run = Run(make, prompter, trial_of("connector and LLM", "adamw"), 40)
    found = checkpointed(run, tmp_path / "c", 4)
    assert [one.step for one in found] == [1, 2, 3, 4]
    prune(found)
    assert [one.step for one in checkpoints_in([tmp_path / "c"], "a")] == [3, 4]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == ["3", "4"]
    (tmp_path / "c" / "4" / "checkpoint.json").unlink()
    assert [one.step for one in checkpoints_in([tmp_path / "c"], "a")] == [3]


def test_a_full_disk_is_reported_and_the_training_goes_on(make, prompter, tmp_path):
    trial = trial_of("connector and LLM", "adamw")
    run, ended = Run(make, prompter, trial, 40), list[Any]()
    before = run.losses(2)
    one = store(Path("/dev/full"), lambda *end: ended.append(end))  # a file, so that no folder can be made below it
    one.save(run.training, {})
    after = run.losses()
    one.wait()
    assert [step for step, _ in ended] == [2]
    assert os_error(errno.ENOTDIR) in ended[0][1]
    assert before + after == Run(make, prompter, trial, 40).losses()


def os_error(number: int) -> str:
    return f"Errno {number}"


def test_nothing_in_it_is_a_pickle(make, prompter, tmp_path):
    run = Run(make, prompter, trial_of("connector and LLM", "adamw"), 40)
    (one,) = checkpointed(run, tmp_path, 1)
    assert {path.suffix for path in one.path.iterdir()} == {".safetensors", ".json"}
    assert set(json.loads((one.path / "checkpoint.json").read_text())) == {"format", "identity", "step", "files"}


def test_buffers_that_change_are_saved(make, prompter, tmp_path):
    trial = trial_of("connector and LLM", "adamw")
    stage = Stage(name="a", share=1.0, batch=8, mix=Mix(text=1.0), lr=LearningRates(connector=1e-3))
    trial = trial.model_copy(update={"design": trial.design.model_copy(update={"schedule": (stage,)})})
    assert isinstance(trial.design.optimizer, AdamW)

    def with_norm() -> VideoLMM:
        model = make()
        model.resampler.register_buffer("running", torch.zeros(1))
        return model

    first = Run(with_norm, prompter, trial, 40)
    first.losses(1)
    first.model.resampler.running += 3
    saved(first, tmp_path / "c")
    second = Run(with_norm, prompter, trial, 40)
    store(tmp_path).resume(second.training, [tmp_path / "c"], pytest.fail)
    assert second.model.resampler.running == 3
