import numpy as np
import pytest

from saltjax.reporting import figures as plots
from saltjax.reporting import tables as report

EMPTY, HIT, MISS = (0, 0, 0, 100), (50, 0, 0, 50), (0, 0, 50, 50)


def test_examples_are_the_middles_of_fifths_by_iou():
    # Intersections of 0 to 24 of 50 pixels, shuffled: the middles of fifths are 2, 7, 12 …
    hits = np.random.default_rng(0).permutation(25)
    counts = np.stack([hits, 0 * hits, 50 - hits, 50 + 0 * hits], axis=1)
    picked = report.pick_examples(counts, seed=0)
    assert hits[picked].tolist() == [2, 7, 12, 17, 22]
    assert sorted(report.pick_examples(np.array([EMPTY, HIT, MISS]), 0)) == [0, 1, 2]
    # Of equals, the seed decides.
    equals = np.array([EMPTY] * 50)
    picks = {tuple(report.pick_examples(equals, seed)) for seed in range(3)}
    assert len(picks) == 3


def test_worst_are_least_iou_then_most_wrong_pixels():
    counts = np.array([HIT, (0, 1, 0, 99), EMPTY, MISS, (25, 0, 25, 50)])
    assert report.pick_worst(counts).tolist()[:3] == [3, 1, 4]


@pytest.mark.parametrize("points", [1, 2, 5000])
def test_thinned_curve_keeps_both_ends(points):
    recall = np.linspace(1, 0.1, points)
    curve = {
        "precision": np.linspace(0.3, 0.9, points),
        "recall": recall,
        "thresholds": np.linspace(0, 1, points, dtype=np.float32),
        "f1": np.full(points, 0.5),
        "average_precision": 0.7,
        "salt_share": 0.3,
    }
    curves = {"validation": curve, "test": curve}
    line = plots.precision_recall(curves, 0.5, "test").axes[0].lines[0]
    x = np.sort(line.get_xdata())
    assert len(x) <= plots.MAX_CURVE_POINTS
    assert (x[0], x[-1]) == (recall[-1], recall[0])
    assert np.max(np.diff(x), initial=0) <= max(0.9 / 500, 0.9 if points == 2 else 0)


def test_equal_tiles_have_an_interval_without_width():
    # Rounding puts the mean of equal numbers beside their percentiles.
    native = {
        "value": 0.7441860465116279,
        "low": 0.744186046511628,
        "high": 0.744186046511628,
    }
    result = {
        "data": {"source": "synthetic"},
        "test": {"loss": 0.5, "accuracy": 0.8, "f1": 0.7},
        "test_native": {"iou": native},
    }
    plots.comparison({"a": result, "b": result}, {}).canvas.draw()
