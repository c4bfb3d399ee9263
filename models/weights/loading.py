"""Loading files in transformers' format: its errors in one sentence that names the fix, its loading report judged.

No code from a checkpoint is ever run: neither from a pickle nor from modelling files in the folder.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging

from models.weights.errors import CheckpointError, first_line, misfit
from models.weights.locations import hub_page, locate

MODEL_FILES = "config.json and model.safetensors"


@contextmanager
def one_sentence_errors(weights: str, *, option: str, files: str = MODEL_FILES) -> Iterator[None]:
    """Turn what transformers raises about files into a `CheckpointError`, and silence its warnings.

    Args:
        weights: a folder, a hub id, or `tiny/NAME@VERSION`.
        option: key of a spec that names these weights.
        files: names of the files to fetch.

    Raises:
        CheckpointError: a file is missing, damaged, unsafe, or not in transformers' format; the message names the fix.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from torch, about pickles that it then refuses
            logging.set_verbosity_error()  # tensors that do not fit are reported by `misfit_of`
            yield
    except CheckpointError:
        raise
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{weights}: its pickle holds more than tensors and was not read, as it could run code; "
            f"{fetch_hint(weights, 'model.safetensors', option=option)}"
        ) from None
    except (SafetensorError, EOFError) as error:
        raise CheckpointError(
            f"{weights}: the weights are damaged or truncated ({first_line(error)}); "
            f"{fetch_hint(weights, 'model.safetensors', option=option)}"
        ) from None
    except (OSError, ValueError, RuntimeError, ImportError, StrictDataclassError) as error:
        if "trust_remote_code" in str(error):
            raise CheckpointError(
                f"{weights} contains code of its own, which is never run; use a model that transformers has"
            ) from None
        reason = first_line(error)
        hint = fetch_hint(weights, files, option=option)
        raise CheckpointError(f"{weights} cannot be loaded ({reason}); {hint}") from None


def fetch_hint(weights: str, files: str, *, option: str) -> str:
    """Which files to fetch from where, as the end of a sentence."""
    path = locate(weights)
    if Path(path).exists():
        return f"fetch {files} again from where the model is published, into {path}"
    return (
        f"fetch {files} from {hub_page(weights)} and name their folder as `{option}`, or put it below $ABLATE_WEIGHTS"
    )


def misfit_of(info: Mapping[str, Any], unexpected: list[str]) -> str | None:
    """What is wrong with the tensors of a file, after "the file ..."; None if nothing is.

    Args:
        info: transformers' loading report.
        unexpected: names in it that may not be left out.
    """
    mismatched = sorted(
        f"{name} ({tuple(in_file)} instead of {tuple(in_model)})" for name, in_file, in_model in info["mismatched_keys"]
    )
    return misfit(missing=sorted(info["missing_keys"]), mismatched=mismatched, unexpected=sorted(unexpected))
