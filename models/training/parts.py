"""Which parts of the model learn in a stage."""

from __future__ import annotations

from models.architecture import VideoLMM, adapters
from models.design import LearningRates
from models.training.sharding import follow, reshard


def freeze(model: VideoLMM, lr: LearningRates) -> None:
    """Freeze the parts whose learning rate is 0; all others learn. Of an LLM with adapters these alone learn."""
    reshard(model)
    for name, part in model.parts().items():
        part.requires_grad_(getattr(lr, name) > 0)
    own = list(adapters(model.llm))
    if own:
        model.llm.requires_grad_(False)
    for adapter in own:
        adapter.requires_grad_(lr.llm > 0)
    follow(model)


def train_mode(model: VideoLMM, lr: LearningRates) -> None:
    """Put the parts that learn into training mode and all others into evaluation mode.

    A frozen part must compute as in evaluation, since its stored features were computed so.
    """
    for name, part in model.parts().items():
        part.train(getattr(lr, name) > 0)
