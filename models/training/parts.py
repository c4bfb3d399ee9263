"""Which parts of the model learn in a stage."""

from __future__ import annotations

from models.architecture import VideoLMM
from models.design import LearningRates


def freeze(model: VideoLMM, lr: LearningRates) -> None:
    """Exactly the parts with a learning rate learn."""
    for name, part in model.parts().items():
        part.requires_grad_(getattr(lr, name) > 0)


def train_mode(model: VideoLMM, lr: LearningRates) -> None:
    """Parts that learn are in training mode; a frozen one computes as in evaluation, as its stored features were."""
    for name, part in model.parts().items():
        part.train(getattr(lr, name) > 0)
