"""Figures render, and say what they should; labels keep clear of one another."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.consistency import compare
from analysis.figures import MOST_RANKED, consistency_figure, ranking_figure, save_png
from analysis.labels import LONGEST, shortened
from analysis.ranking import ranking

PNG = b"\x89PNG\r\n\x1a\n"


def labels(figure):
    """Design names drawn in the axes, the subtitle left out."""
    from matplotlib.text import Annotation

    axes = figure.axes[0]
    return [child for child in axes.get_children() if isinstance(child, Annotation) and child.xycoords == "data"]


def words(figure) -> str:
    axes = figure.axes[0]
    legend = [text.get_text() for each in figure.legends for text in each.get_texts()]
    drawn = [text.get_text() for text in [*axes.texts, axes.xaxis.label, axes.yaxis.label]]
    return " | ".join([axes.get_title(loc="left"), *drawn, *legend])


def test_consistency_figure_of_apollo(apollo, tmp_path):
    figure = consistency_figure(compare(apollo, "0.5B", "7B"))
    said = words(figure)
    for phrase in ("0.69", "0.41 to 0.87", "21 designs", "decision accuracy 81%", "regret@1 1.77 points"):
        assert phrase in said
    assert "best at 0.5B: v18" in said
    assert "best at 7B: v20" in said
    assert {"v18", "v20", "v07", "v17"} <= {label.get_text() for label in labels(figure)}
    save_png(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("n", [3, 8, 12, 60])
def test_labels_never_overlap(table_of, n):
    from matplotlib.text import Text

    rng = np.random.default_rng(n)
    x = rng.normal(50, 3, size=n)
    figure = consistency_figure(compare(table_of(x.tolist(), (x + rng.normal(size=n)).tolist()), "1M", "2M"))
    figure.canvas.draw()
    boxes = [Text.get_window_extent(label) for label in labels(figure)]  # without the leader line
    assert len(boxes) == n if n <= 8 else len(boxes) >= 5
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(figure.axes[0].bbox.padded(1).contains(*corner) for box in boxes for corner in (box.min, box.max))


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
def test_odd_data_render(table_of, tmp_path, x, y):
    save_png(consistency_figure(compare(table_of(x, y), "1M", "2M")), tmp_path / "figure.png")


def test_direction_is_shown(table_of):
    said = words(consistency_figure(compare(table_of([1, 2, 3], [2, 1, 3], lower_is_better=True), "1M", "2M")))
    assert "lower is better" in said
    assert "best at 1M: d00" in said
    assert "best at 2M: d01" in said


def test_names_are_text_not_mathematics(rows_of, tmp_path):
    from analysis.table import ScoreTable

    scores = {scale: {f"$x^{i}{{$": [float(i)] for i in range(3)} for scale in ("1M", "2M")}
    table = ScoreTable(rows_of(scores))
    save_png(consistency_figure(compare(table, "1M", "2M")), tmp_path / "a.png")
    save_png(ranking_figure(ranking(table, "1M"), "50$ of $x_$"), tmp_path / "b.png")


def test_long_names_lose_their_middle():
    name = "uniform-8-frames-perceiver-4-tokens-lr-3e-05"
    assert len(shortened(name)) == LONGEST
    assert shortened(name).startswith("uniform-8")
    assert shortened(name).endswith("3e-05")
    assert shortened("short") == "short"


def test_ranking_figure(apollo, tmp_path):
    figure = ranking_figure(pd.concat([ranking(apollo, scale) for scale in apollo.scales]), "% correct")
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks[:3] == ["v20", "v16", "v19"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["0.5B", "1.5B", "4B", "7B"]
    assert "one seed each" in words(figure)
    save_png(figure, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(PNG)


def test_a_ranking_of_many_shows_the_first(table_of, tmp_path):
    table = table_of([[float(i), i + 1.0] for i in range(60)], [float(i) for i in range(60)])
    figure = ranking_figure(ranking(table, "1M"))
    assert f"the first {MOST_RANKED} of 60 designs; bars: one standard deviation" in words(figure)
    assert figure.axes[0].get_yticklabels()[0].get_text() == "d59"
    assert not figure.legends


def test_designs_not_run_at_the_large_scale_come_after(rows_of):
    from analysis.table import ScoreTable

    table = ScoreTable(rows_of({"1M": {"a": [9.0], "b": [5.0], "c": [7.0]}, "2M": {"b": [1.0]}}))
    figure = ranking_figure(pd.concat([ranking(table, scale) for scale in table.scales]))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["b", "a", "c"]
