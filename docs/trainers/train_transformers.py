"""Trains a tiny language model with transformers' Trainer; `reporter.py`, copied beside it, reports to ablate."""

import os
from dataclasses import dataclass

import reporter
import torch
from transformers import HfArgumentParser, LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint


@dataclass
class ModelArguments:
    hidden_size: int = 16
    period: int = 3


class Report(TrainerCallback):
    """Reports what Trainer logs."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        numbers = {name: value for name, value in (logs or {}).items() if isinstance(value, (int, float))}
        reporter.report(step=state.global_step, steps=state.max_steps, **numbers)

    def on_evaluate(self, args, state, control, **kwargs):
        reporter.report(step=state.global_step, steps=state.max_steps, phase="testing")


def sequences(number, period):
    """Texts that repeat a random pattern of some tokens."""
    patterns = torch.randint(0, 8, (number, period))
    return [{"input_ids": ids, "labels": ids} for ids in patterns.repeat(1, 24 // period)]


if __name__ == "__main__":
    model_arguments, arguments = HfArgumentParser((ModelArguments, TrainingArguments)).parse_args_into_dataclasses()
    torch.manual_seed(arguments.seed)
    size = model_arguments.hidden_size
    config = LlamaConfig(
        vocab_size=8, hidden_size=size, intermediate_size=2 * size, num_hidden_layers=1, num_attention_heads=2
    )
    trainer = Trainer(
        model=LlamaForCausalLM(config),
        args=arguments,
        train_dataset=sequences(256, model_arguments.period),
        eval_dataset=sequences(64, model_arguments.period),
        callbacks=[Report()],
    )
    earlier = os.environ.get("ABLATE_RESUME")
    try:
        trainer.train(resume_from_checkpoint=get_last_checkpoint(earlier) if earlier else None)
    except torch.OutOfMemoryError as error:
        reporter.fail("oom", error)
        raise
    loss = trainer.evaluate()["eval_loss"]
    reporter.finish({"patterns/loss": loss}, counts={"steps": trainer.state.global_step})
