"""The whole workflow on real trials: sweep, consistency, promote, launch, predicted against observed."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import SMALL

SPEC = (
    SMALL.replace("{kind: fps, fps: 1}", "{kind: fps, fps: 1}\n    - {kind: uniform, frames: 2}")
    .replace("[0.05M]", "[0.05M, 0.15M]")
    .replace("640", "320")
)


@pytest.mark.slow
def test_from_small_scales_to_a_promotion_and_back(shop):
    shop.run("sweep", shop.spec(SPEC))
    answer = shop.json("consistency", "--study", "small")
    assert (answer["small"], answer["large"], answer["n"]) == ("0.05M", "0.15M", 3)
    assert answer["verdict"] == "no verdict: too few designs"
    assert answer["predictions"] == []
    command = ("promote", "--study", "small", "--to", "0.4M", "--top-k", "2")
    promotion = shop.json(*command)
    spec = shop.folder / promotion["spec"]
    assert promotion["is_relative"]
    plan = shop.json("plan", spec)
    assert [(t["scale"], t["status"]) for t in plan["trials"]] == [("0.4M", "new")] * 2
    assert {t["design"] for t in plan["trials"]} == set(promotion["promoted"])
    output = shop.run(*command, "--launch").stdout
    assert "2 promoted" in output
    assert "2 declared, 0 excluded, 0 duplicate, 2 done" in output
    again = shop.json("promote", "--study", "small", "--to", "0.4M", "--top-k", "1")
    assert again["num_known"] == 2
    assert set(again["promoted"]) == {c["design"] for c in again["candidates"]} - set(promotion["promoted"])
    shop.run("sweep", shop.spec(SPEC), "--scales", "0.4M")
    answer = shop.json("consistency", "--study", "small", "--large", "0.4M")
    latest, first = answer["predictions"][0], answer["predictions"][-1]
    assert [o["design"] for o in latest["outcomes"]] == again["promoted"]
    assert {o["design"] for o in first["outcomes"]} >= set(promotion["promoted"])
    assert 0 <= first["inside"] <= len(first["outcomes"])
    assert "predicted from 0.05M and 0.15M" in shop.run("consistency", "--study", "small", "--large", "0.4M").stdout
