"""Imported scores: files are imported completely or not at all, and analysed like those of trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablate.errors import UsageError
from ablate.imports import import_scores
from ablate.paths import study_paths
from ablate.record import StudyFacts, TrialFolder, remember
from ablate.study import load_study, load_table, overview, rankings, report_on, study_with_scales
from analysis.consistency import Request

ROWS = "design,scale,seed,score\n" + "".join(
    f"d{i},{scale},0,{i * (1 + (scale == '7B')) + 10}\n" for i in range(6) for scale in ("1B", "7B")
)


@pytest.fixture
def take(tmp_path: Path):
    def take(text: str, study: str = "mine", *, lower: bool = False, replace: bool = False):
        file = tmp_path / "scores.csv"
        file.write_text(text)
        return import_scores(file, study, lower_is_better=lower, replace=replace)

    return take


def compare(study: str):
    return report_on(load_study(study), Request(small="", large="")).consistency


def test_imported_scores_are_a_study_like_any_other(take):
    done = take(ROWS)
    assert (done.trials, done.unchanged, done.skipped) == (12, 0, 0)
    result = compare("mine")
    assert (result.small, result.large, result.n) == ("1B", "7B", 6)
    assert result.r2 == pytest.approx(1)
    assert result.slope == pytest.approx(2)
    assert [f["design"].tolist()[0] for f in rankings(load_table("mine"))] == ["d5", "d5"]
    assert overview()[0] == {"study": "mine", "designs": 6, "scales": ["1B", "7B"], "done": 12, "failed": 0}


def test_the_same_file_again_changes_nothing_and_other_scores_need_replace(take):
    take(ROWS)
    assert take(ROWS).unchanged == 12
    changed = ROWS.replace("d0,1B,0,10", "d0,1B,0,99")
    with pytest.raises(UsageError, match=r"1 trials of study 'mine' have other scores already, first d0@1B/s0"):
        take(changed)
    assert take(changed, replace=True).unchanged == 11
    assert load_table("mine").frame["score"].max() == 99


def test_the_direction_is_stored_with_the_study(take):
    take(ROWS, lower=True)
    result = compare("mine")
    assert result.lower_is_better
    assert rankings(load_table("mine"))[0]["design"][0] == "d0"
    with pytest.raises(UsageError, match="lower is better; import with the same direction"):
        take(ROWS)


def test_an_import_into_a_study_of_sweeps_has_the_direction_of_each_metric(take):
    """A study that ranks by a loss, with scores of it from elsewhere, and an accuracy."""
    study = StudyFacts().with_sweep(metric="val/loss", lower_is_better=True, samples=None, spec=None)
    remember(study_paths("mine"), study)
    header, *rows = ROWS.splitlines()
    text = "\n".join([f"{header},benchmark,category", *(f"{row},val,loss" for row in rows)])
    take(text, lower=True)
    with pytest.raises(UsageError, match="'mine' lower is better for val/loss; import with the same direction"):
        take(text)
    take("\n".join([f"{header},benchmark,category", *(f"of-{row},mme,overall" for row in rows)]))
    assert rankings(load_table("mine"), "mme/overall")[0]["design"][0] == "of-d5"
    assert rankings(load_table("mine"), "val/loss")[0]["design"][0] == "d0"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("design,scale\na,1B\n", "column 'score' is missing; it has design, scale"),
        ("design,scale,score,note\na,1B,1,x\n", "unknown column 'note'"),
        ("design,scale,score\na,1B,high\n", "scores.csv:2: score 'high' is not a number"),
        ("design,scale,score\na,1B,inf\n", "scores.csv:2: score inf is not finite"),
        ("design,scale,score\n,1B,1\n", "scores.csv:2: design is empty"),
        ("design,scale,seed,score\na,1B,x,1\n", "scores.csv:2: seed 'x' is not a non-negative integer"),
        ("design,scale,seed,score\na,1B,1.7,1\n", "seed '1.7' is not a non-negative integer"),
        ("design,scale,benchmark,score\na,1B,x/y,1\n", "x/y"),
        ("design,scale,score\na,1B,1\na,1B,2\n", "scores.csv:3: the same trial and benchmark as line 2"),
        ("design,scale,score\na,1B,\n", "contains no score"),
        ("", "is not a CSV table"),
    ],
)
def test_a_bad_table_is_refused_whole(take, tmp_path, text, says):
    with pytest.raises(UsageError) as error:
        take(text)
    assert says in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_another_benchmark_is_added_to_the_same_trials(take):
    take(ROWS)
    other = ROWS.replace("score\n", "score,benchmark\n").replace("0\n", "0,other\n", 0)
    lines = other.splitlines()
    take("\n".join([lines[0], *(f"{line},other" for line in lines[1:])]))
    assert load_table("mine").metrics() == ("mine/overall", "other/overall")


def test_rows_without_a_score_are_counted(take):
    assert take(ROWS + "d9,1B,0,\n").skipped == 1


def test_the_default_study_has_both_scales(take):
    assert study_with_scales("1.5B", "7B") == "apollo"
    take(ROWS)
    assert study_with_scales("1B", "7B") == "mine"
    assert study_with_scales("1.5B", "7B") == "apollo"
    take(ROWS, "other")
    with pytest.raises(UsageError, match="several studies have these scales: mine, other"):
        study_with_scales("1B", "7B")


def test_the_records_of_a_study_are_read_once(take, monkeypatch):
    """A study of 10,000 trials takes seconds to read."""
    take(ROWS)
    paths: list[Path] = []
    read = TrialFolder.read
    monkeypatch.setattr(TrialFolder, "read", lambda folder: (paths.append(folder.path), read(folder))[1])
    load_study("mine")
    assert len(paths) == len(set(paths)) == 12


def test_names_that_do_not_exist_are_reported_with_those_that_do(take):
    take(ROWS)
    with pytest.raises(UsageError, match=r"no study 'x'.*mine, apollo \(built in\)"):
        load_table("x")
    with pytest.raises(UsageError, match="no trials at 3B in study mine; there are: 1B, 7B"):
        report_on(load_study("mine"), Request(small="3B", large="7B"))
    with pytest.raises(UsageError, match="nope"):
        rankings(load_table("mine"), "nope/overall")
    with pytest.raises(UsageError, match="built-in"):
        take(ROWS, "apollo")
