"""Names of stored features, and which encoders of a trial need no weights because all their features are stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ablate.record import WeightsContent
from models.design import CustomEncoder, Design, Encoder, TinyData
from models.weights import is_shipped

if TYPE_CHECKING:
    import torch


def features_name(encoder: Encoder, weights: list[WeightsContent]) -> str:
    """Name of a file of stored features: the content of the encoder's weights, and its settings.

    Args:
        encoder: the encoder.
        weights: content of the hub ids and addresses of the trial.
    """
    config = encoder.model_dump(exclude={"kind", "digest"})
    if not isinstance(encoder, CustomEncoder):
        content = [one.digest for one in weights if one.role == "encoder" and one.weights == encoder.weights]
        config["weights"] = encoder.digest or "-".join([encoder.weights, *content])
    version = type(encoder).VERSION
    return "-".join(str(value) for value in config.values()) + (f"-v{version}" if version > 1 else "")


def stored_encoders(
    design: Design, folder: Path, device: torch.device, dtype: torch.dtype | None = None
) -> frozenset[int]:
    """Indices of the encoders whose features of all frames are stored.

    That of a hub id is not among them: what it contains is known only once it is loaded.

    Args:
        design: of the trial.
        folder: that of the data.
        device: on which the encoder would compute them.
        dtype: that of frozen encoders' weights; fp32 by default.
    """
    import torch

    from models.encoders import are_stored

    if not isinstance(design.data, TinyData) or any(stage.lr.vision > 0 for stage in design.schedule):
        return frozenset()
    candidates = [i for i in design.image_encoders if _is_known(design.encoders[i])]
    names = {i: features_name(design.encoders[i], []) for i in candidates}
    return frozenset(i for i, name in names.items() if are_stored(folder, name, device, dtype or torch.float32))


def _is_known(encoder: Encoder) -> bool:
    """Whether the content of an encoder's weights is known before they are loaded."""
    return not isinstance(encoder, CustomEncoder) and (encoder.digest is not None or is_shipped(encoder.weights))
