"""A study whose trials take a moment, for tests of what a trial's process does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from ablate.plan import Plan, make_plan
from ablate.spec import load_spec

TALK = [{"from": "human", "value": "<image>\nwhat color"}, {"from": "gpt", "value": "red"}]
QUESTION = {"question": "what color", "options": ["red", "blue"], "answer": 0, "category": "ocr"}
STAGE = {"name": "all", "share": 1.0, "batch": 2, "mix": {"image": 1.0}, "lr": {"connector": 1e-3}}


class Study:
    """A study of one-step trials on two images, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.data.mkdir()
        for name in ("0.png", "1.png"):
            Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(self.data / name)
        self.write("train", [{"image": f"{n}.png", "conversations": TALK} for n in (0, 1)])
        self.write("test", [{"image": "0.png", "questions": [QUESTION]}])

    def write(self, name: str, records: list[dict[str, Any]]) -> None:
        (self.data / f"{name}.json").write_text(json.dumps(records))

    def plan(self, encoder: object, llm: object = None, study: str = "s", **changes: Any) -> Plan:
        """The plan of two seeds; `changes` are of the design, and of the number of samples."""
        spec = {
            "study": study,
            "base": "tiny",
            "set": {
                "data": {"kind": "manifest", "benchmark": "b", "folder": "data", "scoring": "text"},
                "encoders": [{"kind": "siglip", "weights": str(encoder)}],
                "schedule": [STAGE],
                **{name: value for name, value in changes.items() if name != "samples"},
            },
            "axes": {"sampling.frames": [1]},
            "scales": [{"label": "mine", "llm": str(llm)}] if llm else ["0.05M"],
            "seeds": [0, 1],
            "samples": changes.get("samples", 2),
            "resources": {"gpus": 0},
        }
        with (self.folder / "s.yaml").open("w") as file:
            YAML().dump(spec, file)
        return make_plan(load_spec(self.folder / "s.yaml"))
