"""A study of the user's own trainer: sweep, consistency, promote, run what was promoted, predicted against observed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Shop

pytestmark = pytest.mark.slow

PROGRAM = """\
import json, os, sys
config = json.load(open(sys.argv[1]))
out = sys.argv[2]
assert config["model"]["size"] == {"0.5B": 1, "1.5B": 2, "7B": 3}[config["scale"]]
loss = 4 - config["lr"] * 10 - 0.3 * (config["head"] != "mlp") - 0.5 * config["model"]["size"] + 0.01 * config["seed"]
with open(os.path.join(out, "progress.jsonl"), "a") as file:
    file.write(json.dumps({"step": 1, "steps": 1, "loss": loss}) + "\\n")
scores = [{"benchmark": "val", "category": "loss", "score": loss}, {"benchmark": "mme", "score": 10 * (4 - loss)}]
json.dump({"scores": scores}, open(os.path.join(out, "result.json"), "w"))
"""
SPEC = f"""\
study: mine
trainer:
  command: [{sys.executable}, train.py, "{{config}}", "{{out}}"]
  code: [train.py]
axes:
  lr: [0.01, 0.03]
  head: [mlp, {{name: perceiver, kind: perceiver, tokens: 64}}]
scales:
  - {{label: 0.5B, set: {{model.size: 1}}}}
  - {{label: 1.5B, set: {{model.size: 2}}}}
  - {{label: 7B, set: {{model.size: 3}}}}
metric: {{name: val/loss, lower_is_better: true}}
cost: {{gpu_hours: {{0.5B: 1, 7B: 60}}}}
"""


@pytest.fixture
def mine(shop: Shop) -> Path:
    (shop.folder / "train.py").write_text(PROGRAM)
    return shop.spec(SPEC, "mine.yaml")


def test_from_small_scales_to_a_promotion_and_back(shop: Shop, mine: Path):
    done = shop.json("sweep", mine, "--scales", "0.5B,1.5B")
    assert (done["done"], done["failed"]) == (8, 0)
    assert {rows[0]["design"] for rows in done["rankings"]} == {"lr0.03-perceiver"}  # the lowest loss
    answer = shop.json("consistency", "--study", "mine")
    assert (answer["lower_is_better"], answer["small"], answer["large"], answer["n"]) == (True, "0.5B", "1.5B", 4)
    assert answer["r2"] == pytest.approx(1)
    command = ("promote", "--study", "mine", "--to", "7B")
    promotion = shop.json(*command, "--gpu-hours", "130")
    assert (len(promotion["promoted"]), promotion["unit"], promotion["cost"]) == (2, "GPU-hours", 120)
    assert promotion["promoted"][0] == "lr0.03-perceiver"
    plan = shop.json("plan", promotion["spec"])
    assert [(t["scale"], t["status"]) for t in plan["trials"]] == [("7B", "new")] * 2
    assert shop.json("next", "--study", "mine", "--to", "7B")["steps"]
    assert "2 promoted" in shop.run(*command, "--top-k", "2", "--launch").stdout
    # the rest of the study's own sweep: what was promoted does not run again
    assert "10 done, 2 missing" in shop.run("sweep", mine).stderr
    checked = shop.json("consistency", "--study", "mine", "--large", "7B")["predictions"][0]
    assert {outcome["design"] for outcome in checked["outcomes"]} >= set(promotion["promoted"])
    assert len(shop.json("ls", "mine", "--metric", "mme/overall")["rankings"]) == 3
