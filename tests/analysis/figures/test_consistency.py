"""Figures render with the right texts; no text covers another or leaves the page, for any study."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.consistency import Request, compare, study_report
from analysis.figures import backtest_figure, promotion_figure, ranking_figure, report_figure, save_figure
from analysis.figures.consistency import MOST_RANKED, consistency_figure
from analysis.figures.labels import LONGEST, shortened
from analysis.figures.promotion import MOST_CANDIDATES
from analysis.promotion import Backtest, Candidate, Policy, Replayed, Selection
from analysis.tables import ScoreTable, ranking

PNG = b"\x89PNG\r\n\x1a\n"
LONG = "internvideo2-with-siglip-so400m-384-perceiver-resampler-16-tokens"


def texts(figure):
    """All that is drawn as text and can be seen."""
    from matplotlib.text import Text

    figure.canvas.draw()
    hidden = {
        text for axes in figure.axes if not axes.axison for a in (axes.xaxis, axes.yaxis) for text in a.findobj(Text)
    }
    visible = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    outside = ticks_outside(figure)
    return [text for text in visible if text not in hidden and text not in outside]


def ticks_outside(figure) -> set:
    """Labels of ticks beyond the limits of their axis exist, but are not drawn."""
    outside = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low - slack <= tick.get_loc() <= high + slack:
                outside |= {tick.label1, tick.label2}
    return outside


def words(figure) -> str:
    return " | ".join(text.get_text() for text in texts(figure))


def assert_readable(figure):
    """No text on another, none cut off, none below 8 points on a page 7 inches wide."""
    from matplotlib.text import Text

    drawn = texts(figure)
    boxes = [(text.get_text(), Text.get_window_extent(text)) for text in drawn]  # without leader lines
    for text, box in boxes:
        inside = figure.bbox.padded(1)
        assert inside.contains(*box.min), f"{text!r} leaves the page"
        assert inside.contains(*box.max), f"{text!r} leaves the page"
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.padded(-1).overlaps(b.padded(-1)), f"{one!r} lies on {other!r}"
    assert figure.get_figwidth() == 7
    assert min(text.get_fontsize() for text in drawn) >= 8


def labels(figure):
    """Names of designs beside their points."""
    from matplotlib.text import Annotation

    return [text for text in texts(figure) if isinstance(text, Annotation) and text.xycoords == "data"]


def study(n, *, scales=("1M", "2M"), seeds=1, budgets=(1000,), name="d{:03d}", lower_is_better=False, factors=True):
    """Scores that rise with the scale, each design one step of a quality, with up to three axes."""
    rng = np.random.default_rng(n)
    quality = rng.normal(50, 3, size=n)
    rows = [
        ("s", name.format(i), scale, seed, budget, "bench", "overall", "video", quality[i] + 3 * s + rng.normal())
        for i in range(n)
        for s, scale in enumerate(scales)
        for seed in range(seeds)
        for budget in (budgets if s == 0 else budgets[-1:])
    ]
    names = [name.format(i) for i in range(n)]
    levels = [(f"e{i % 3}", 8 * (i // 3 % 6), i // 18) for i in range(n)]
    axes = pd.DataFrame(levels, index=names, columns=["encoder", "tokens", "depth"])
    columns = ["study", "design", "scale", "seed", "samples", "benchmark", "category", "modality", "score"]
    frame = pd.DataFrame(rows, columns=columns)
    return ScoreTable(frame, lower_is_better=lower_is_better, factors=axes if factors else pd.DataFrame())


def report_of(table, small="1M", large="2M"):
    budgets = sorted(table.frame["samples"].dropna().unique())
    if len(budgets) > 1:
        return study_report(table.only(samples=int(budgets[-1])), Request(small=small, large=large), all_samples=table)
    return study_report(table, Request(small=small, large=large))


def test_consistency_figure_of_apollo(apollo, tmp_path):
    figure = consistency_figure(compare(apollo, "0.5B", "7B"))
    drawn_words = words(figure)
    for phrase in ("0.69", "0.39 to 0.87", "21 designs", "decision accuracy 81%", "regret@1 1.77 points"):
        assert phrase in drawn_words
    assert "best at 0.5B: v18" in drawn_words
    assert "best at 7B: v20" in drawn_words
    assert {"v18", "v20", "v07", "v17"} <= {label.get_text() for label in labels(figure)}
    assert_readable(figure)
    save_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(("ending", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figures_are_saved_as_vectors_too(table_of, tmp_path, ending, start):
    path = tmp_path / f"figure.{ending}"
    save_figure(consistency_figure(compare(table_of([1, 2, 3], [2, 1, 3]), "1M", "2M")), path)
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("n", [3, 8, 12, 60])
def test_labels_never_overlap(table_of, n):
    rng = np.random.default_rng(n)
    x = rng.normal(50, 3, size=n)
    figure = consistency_figure(compare(table_of(x.tolist(), (x + rng.normal(size=n)).tolist()), "1M", "2M"))
    assert len(labels(figure)) == n if n <= 8 else len(labels(figure)) >= 5
    assert_readable(figure)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([1, 1, 1, 1], [1, 2, 3, 4]),
        ([1, 2, 3, 4], [5, 5, 5, 5]),
        ([2, 2, 2], [2, 2, 2]),
        ([1, 2, 3], [3, 2, 1]),
        ([1e-9, 2e-9, 4e-9], [1e9, 2e9, 5e9]),
    ],
)
def test_odd_data_render(table_of, x, y):
    table = table_of(x, y)
    assert_readable(consistency_figure(compare(table, "1M", "2M")))
    assert_readable(report_figure(report_of(table)))


def test_direction_is_shown(table_of):
    table = table_of([1, 2, 3], [2, 1, 3], lower_is_better=True)
    for figure in (consistency_figure(compare(table, "1M", "2M")), report_figure(report_of(table))):
        assert "lower is better" in words(figure)
        assert "best at 1M: d00" in words(figure)
        assert "best at 2M: d01" in words(figure)


def test_names_are_text_not_mathematics(rows_of, tmp_path):
    scores = {scale: {f"$x^{i}{{$": [float(i)] for i in range(3)} for scale in ("1M", "2M")}
    table = ScoreTable(rows_of(scores))
    save_figure(report_figure(report_of(table)), tmp_path / "a.png")
    save_figure(ranking_figure(ranking(table, "1M"), "50$ of $x_$"), tmp_path / "b.png")


def test_long_names_lose_their_middle():
    name = "uniform-8-frames-perceiver-4-tokens-lr-3e-05"
    assert len(shortened(name)) == LONGEST
    assert len(shortened(name, 11)) == 11
    assert shortened(name).startswith("uniform-8")
    assert shortened(name).endswith("3e-05")
    assert shortened("short") == "short"


def test_report_figure_of_apollo_has_the_papers_panel(apollo):
    figure = report_figure(report_of(apollo, "1.5B", "7B"))
    drawn_words = words(figure)
    assert "R\u00b2 = 0.12 ln x + 0.78" in drawn_words
    assert "0.9 expected at 2.8B" in drawn_words
    assert "R\u00b2 0.74 without v07, v14, v21" in drawn_words
    assert "data_mix: C for A" in drawn_words
    assert "by samples" not in drawn_words
    assert {"v20", "v16", "v07", "v14", "v21"} <= {label.get_text() for label in labels(figure)}
    assert_readable(figure)


@pytest.mark.slow
def test_panels_are_left_out_where_the_study_has_nothing_for_them():
    alone = report_figure(report_of(study(12, factors=False)))
    assert "by size" not in words(alone)
    assert "transfer" not in words(alone)
    assert_readable(alone)
    two_sizes = report_figure(report_of(study(12, scales=("1M", "2M", "9M"), factors=False), "1M", "9M"))
    assert "too few sizes for a trend" in words(two_sizes)
    assert "expected at" not in words(two_sizes)
    assert_readable(two_sizes)


@pytest.mark.slow
def test_all_panels_at_once():
    table = study(30, scales=("1M", "2M", "9M", "20M"), seeds=2, budgets=(1000, 20_000, 1_500_000))
    figure = report_figure(report_of(table, "1M", "20M"))
    drawn_words = words(figure)
    for phrase in ("by size", "by samples", "1.5M", "20M trained on 1.5M", "Does each choice transfer?"):
        assert phrase in drawn_words
    assert_readable(figure)


@pytest.mark.slow
def test_budget_panel_says_where_it_levels_off():
    report = report_of(study(12, budgets=(1000, 2000, 4000), factors=False))
    late = report_figure(replace(report, by_samples=replace(report.by_samples, levels_off=4000)))
    assert "no plateau below 4K" in words(late)
    early = report_figure(replace(report, by_samples=replace(report.by_samples, levels_off=2000)))
    assert "levels off at 2K" in words(early)
    assert_readable(early)


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, 1e30, 1e-30, 3e6, 40e6])
def test_size_for_the_target_r2_may_lie_anywhere(size):
    report = report_of(study(12, scales=("1M", "2M", "5M", "9M"), factors=False), "1M", "9M")
    fit = replace(report.scaling.fit, target_size=size, is_extrapolated=size != 3e6)
    figure = report_figure(replace(report, scaling=replace(report.scaling, fit=fit)))
    assert ("expected at" in words(figure)) == (size in (3e6, 40e6))
    assert_readable(figure)


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 200])
@pytest.mark.parametrize("lower_is_better", [False, True])
def test_report_of_few_and_of_many(n, lower_is_better):
    figure = report_figure(report_of(study(n, lower_is_better=lower_is_better)))
    assert ("Effect in points" in words(figure)) is True
    assert ("best, worst" in words(figure)) == (n > 12)
    assert_readable(figure)
    assert figure.get_figheight() < 10  # a page


@pytest.mark.slow
def test_long_names_stay_on_the_page():
    report = report_of(study(14, name=LONG + "-{:02d}", scales=("1M", "2M", "9M", "20M")), "1M", "20M")
    consistency = replace(report.consistency, study=LONG * 2, metric=f"{LONG}/{LONG}")
    assert_readable(report_figure(replace(report, consistency=consistency)))
    assert_readable(consistency_figure(consistency))


def test_a_reversed_choice_is_labelled():
    report = report_of(study(12, seeds=2))
    choice = report.axes[0].choices[0]
    interval = type(report.consistency.intervals["r2"])
    small = replace(choice.small, value=2.0, interval=interval(1.0, 3.0))
    turned = replace(choice, small=small, large=replace(choice.large, value=-2.0, interval=interval(-900.0, -1.0)))
    figure = report_figure(replace(report, axes=(replace(report.axes[0], choices=(turned,)),)))
    assert "reverses" in words(figure)
    effects = figure.axes[-1]
    assert effects.get_xlim()[0] > -10, "one wide interval must not squeeze the rest"
    assert_readable(figure)


def replayed(proxy="1M", n=14):
    """Policies as analysis.backtest names them, on a curve that falls to zero."""
    common = {"proxy": proxy, "small_cost": 0.2, "winner_in": 0.9, "whole": (3, 0.0, True)}
    named = [(f"top-{k}", k / n, max(0.0, 1.5 - 0.3 * k)) for k in range(1, n + 1)]
    named += [(f"random-{k}", k / n, 5.0 / k) for k in range(1, n + 1)]
    named += [("regret 0.1", 0.5, 0.0), ("regret 0.5", 0.3, 0.2), ("confidence 0.8", 0.4, 0.1)]
    named += [("next, regret 0.1", 0.35, 0.05), ("next, regret 0.5", 0.2, 0.4)]
    return tuple(
        Replayed(policy=name, promoted=cost * n, cost=cost, regret=lost, regret_95=2 * lost, **common)
        for name, cost, lost in named
    )


def backtest(*proxies, study="apollo", rows=None, **changed):
    rows = rows if rows is not None else tuple(row for proxy in proxies for row in replayed(proxy))
    return Backtest(study=study, large="7B", designs=21, subsets=60, prior="assumed", rows=rows, **changed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "proxies", [["1.5B"], ["0.5B", "1.5B", "4B"], ["0.5B", "1.5B", "4B", "0.5B+1.5B", "0.5B+1.5B+4B"]]
)
def test_backtest_figure(proxies, tmp_path):
    figure = backtest_figure([backtest(proxy) for proxy in proxies])
    drawn_words = words(figure)
    for proxy in proxies:
        assert f"from {proxy}" in drawn_words
    for phrase in (
        "60 random subsets",
        "top 1",
        "k random designs",
        "small-scale runs cost 20%",
        "one at a time, regret at most 0.5, 0.1",
    ):
        assert phrase in drawn_words
    assert "best design promoted, probability 0.8" in drawn_words
    assert_readable(figure)
    save_figure(figure, tmp_path / "figure.png")


def test_backtest_without_loss_or_numbers_renders():
    rows = [replace(row, regret=0.0, regret_95=0.0) for row in replayed()]
    assert_readable(backtest_figure([backtest(rows=tuple(rows))]))
    rows = [replace(row, regret=math.nan, regret_95=math.nan) for row in replayed()]
    assert_readable(backtest_figure([backtest(rows=tuple(rows))]))


def test_backtests_of_two_studies_are_not_mixed():
    with pytest.raises(ValueError, match="one study and large scale at a time"):
        backtest_figure([backtest("1.5B"), backtest("1.5B", study="other")])
    with pytest.raises(ValueError, match="at least one policy"):
        backtest_figure([])


def selection(n, *, same_cost=False, name="d{:03d}", promoted=3, half_width=2.0):
    candidates = [
        Candidate(
            design=name.format(i),
            predicted=60 - 0.3 * i,
            half_width=0.0 if i == 1 else half_width,
            is_known=i == 1,
            chance=1 / n,
            cost=100.0 if same_cost else 100.0 + i,
            is_promoted=i != 1 and (i < promoted or i == n - 1),
            is_on_front=False,
            order=None,
            reason="",
        )
        for i in range(n)
    ]
    return Selection(
        policy=Policy(rule="regret", value=0.25),
        candidates=tuple(candidates),
        promoted=tuple(c.design for c in candidates if c.is_promoted),
        expected_regret=0.2,
        chance=0.8,
        cost=300.0,
        curve=(),
    )


@pytest.mark.parametrize("n", [3, 21, 200])
def test_promotion_figure(n):
    figure = promotion_figure(selection(n), "Predicted score at 7B")
    drawn_words = words(figure)
    for phrase in ("Promoted: 3 of", "expected regret 0.20 points", "probability 80%", "already trained", "Cost"):
        assert phrase in drawn_words or (n == 3 and phrase.startswith("Promoted"))
    assert f"d{n - 1:03d}" in drawn_words, "all that are promoted are drawn"
    assert ("are not shown" in drawn_words) == (n > MOST_CANDIDATES)
    assert_readable(figure)


def test_promotion_figure_of_equal_costs_and_unknown_widths():
    figure = promotion_figure(selection(8, same_cost=True, name=LONG + "-{:02d}", half_width=math.nan))
    assert "Cost" not in words(figure)
    assert_readable(figure)


def test_ranking_figure(apollo, tmp_path):
    figure = ranking_figure(pd.concat([ranking(apollo, scale) for scale in apollo.scales]), "% correct")
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks[:3] == ["v20", "v16", "v19"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0.5B", "1.5B", "4B", "7B"]
    assert "one seed each" in words(figure)
    assert_readable(figure)
    save_figure(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)


def test_a_ranking_of_many_shows_the_first(table_of):
    table = table_of([[float(i), i + 1.0] for i in range(60)], [float(i) for i in range(60)])
    figure = ranking_figure(ranking(table, "1M"))
    assert f"the first {MOST_RANKED} of 60 designs; bars: one standard deviation" in words(figure)
    assert figure.axes[0].get_yticklabels()[0].get_text() == "d59"
    assert not figure.legends


def test_designs_not_run_at_the_large_scale_come_after(rows_of):
    table = ScoreTable(rows_of({"1M": {"a": [9.0], "b": [5.0], "c": [7.0]}, "2M": {"b": [1.0]}}))
    figure = ranking_figure(pd.concat([ranking(table, scale) for scale in table.scales]))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["b", "a", "c"]
