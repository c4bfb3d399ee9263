"""Which records a trial used survives the way to MLflow and back."""

from __future__ import annotations

from ablate.record import About
from ablate.tracking import encode
from ablate.tracking.decode import StoredRun, trial_in


def test_the_records_of_a_trial_are_read_back():
    config = {"design.data.digest": "1234", "design.data.skipped": "abcd", "design.data.folder": "/data"}
    about = About(
        key="k", design_key="d", label="a@1B/s0", design_label="a", study="s", sweep="x", scale="1B", seed=0, samples=8,
        axes={"sampling": "a"}, config=config, resolved={},
    )  # fmt: skip
    run = StoredRun(
        name="a", status="FINISHED", ended_ms=0, tags=encode.about_tags(about), params=encode.params(about), metrics={}
    )
    assert trial_in("s", run).data == ("1234", "abcd")
    imported = StoredRun(
        name="a", status="FINISHED", ended_ms=0, tags=run.tags, params={"scale": "1B", "seed": "0"}, metrics={}
    )
    assert trial_in("s", imported).data == ("", "")
