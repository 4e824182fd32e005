import dataclasses

import msgspec
import numpy as np
import pytest
import written_run
from PIL import Image

from saltjax.reporting import figures
from saltjax.runs import result
from saltjax.scoring.metrics import Curve

RESULT = msgspec.convert(written_run.RESULT, result.Result)


def make_curve(points, **changes):
    """Returns a curve whose recall falls from 1 to 0.1 over evenly spaced thresholds."""
    curve = Curve(
        precision=np.linspace(0.3, 0.9, points),
        recall=np.linspace(1, 0.1, points),
        f1=np.full(points, 0.5),
        thresholds=np.linspace(0, 1, points, dtype=np.float32),
        average_precision=0.7,
        best=0,
        salt_share=0.3,
    )
    return dataclasses.replace(curve, **changes)


def lines(axes):
    """Returns the (x, y) of each line by its label."""
    return {line.get_label(): line.get_xydata().T.tolist() for line in axes.lines}


@pytest.mark.parametrize("points", [1, 2, 5000])
def test_thinned_curve_keeps_both_ends(points):
    curve = make_curve(points)
    curves = {"validation": curve, "test": curve}
    line = figures.precision_recall(curves, 0.5, "test").axes[0].lines[0]
    x = np.sort(line.get_xdata())
    assert len(x) <= figures.MAX_CURVE_POINTS
    assert (x[0], x[-1]) == (curve.recall[-1], curve.recall[0])
    assert np.max(np.diff(x), initial=0) <= max(0.9 / 500, 0.9 if points == 2 else 0)


def test_threshold_is_on_the_first_curve_and_salt_share_of_the_last():
    first = make_curve(3, f1=np.array([0.1, 0.2, 0.3]))
    last = make_curve(3, salt_share=0.4, average_precision=0.6)
    figure = figures.precision_recall({"validation": first, "test": last}, 0.4, "x")
    found = lines(figure.axes[0])
    (recall,), (precision,) = found["threshold 0.400, F1 0.200 on validation"]
    assert (recall, precision) == (0.55, pytest.approx(0.6))
    assert found["salt everywhere, test: precision 0.40"][1] == [0.4, 0.4]
    assert "validation, average precision 0.700" in found
    assert "test, average precision 0.600" in found
    # Above all probabilities nothing is predicted: recall, precision and F1 are 0.
    alone = figures.precision_recall({"these tiles": first}, 2.0, "x")
    found = lines(alone.axes[0])
    assert found["threshold 2.000, F1 0.000 on these tiles"] == [[0.0], [0.0]]


def test_curves_show_every_epoch():
    history = [
        {
            "epoch": epoch,
            "train_loss": 0.5 / epoch,
            "val_loss": 0.6 / epoch,
            "train_accuracy": 0.1 * epoch,
            "val_accuracy": 0.2 * epoch,
            "learning_rate": 10.0**-epoch,
        }
        for epoch in (1, 2, 3)
    ]
    loss, accuracy, rate = figures.curves(history, 2, "x").axes
    assert lines(loss)["training"] == [[1, 2, 3], [0.5 / e for e in (1, 2, 3)]]
    assert lines(loss)["validation"][1] == [0.6 / e for e in (1, 2, 3)]
    assert lines(accuracy)["training"][1] == [0.1 * e for e in (1, 2, 3)]
    assert lines(accuracy)["validation"][1] == [0.2 * e for e in (1, 2, 3)]
    assert lines(loss)["tested, epoch 2"][0] == [2, 2]
    assert rate.lines[0].get_ydata().tolist() == [10.0**-e for e in (1, 2, 3)]
    scored = [row | {"val_kaggle_map": 0.3 * row["epoch"]} for row in history]
    *_, score, rate = figures.curves(scored, 2, "x").axes
    assert lines(score).keys() == {"validation", "tested, epoch 2"}
    assert lines(score)["validation"] == [[1, 2, 3], [0.3 * e for e in (1, 2, 3)]]
    assert rate.lines[0].get_ydata().tolist() == [10.0**-e for e in (1, 2, 3)]


def test_thresholds_show_f1_and_accuracies():
    curve = make_curve(3, f1=np.array([0.1, 0.8, 0.3]))
    f1, accuracy = figures.thresholds(
        RESULT.thresholds, RESULT.threshold, curve, "x"
    ).axes
    assert f1.lines[0].get_xydata().tolist() == [[0, 0.1], [0.5, 0.8], [1, 0.3]]
    at = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    found = lines(accuracy)
    assert found["validation"] == [at, [0.81, 0.82, 0.83, 0.84, 0.85, 0.86, 0.87]]
    assert found["test"] == [at, [0.71, 0.72, 0.73, 0.74, 0.75, 0.76, 0.77]]
    best = "threshold 0.169, chosen by Kaggle mAP on validation"
    assert found[best][0] == lines(f1)[best][0] == [RESULT.threshold.value] * 2


def test_coverage_counts_empty_tiles_apart():
    axes = figures.coverage(np.array([0, 0, 0, 0.05, 0.95, 1.0]), "x").axes[0]
    empty, *tenths = (bar.get_height() for bar in axes.patches)
    assert empty == 3
    assert tenths == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert axes.texts[0].get_text() == "3"
    assert lines(axes)["mean of all tiles 33.3%"][0] == [pytest.approx(1 / 3)] * 2


def test_coverage_of_patches_and_lines_of_a_volume():
    axes = figures.coverage(np.array([0, 0.5]), "x", "patch").axes[0]
    assert axes.get_ylabel() == "Patches"
    axes = figures.by_coverage(RESULT.by_coverage, "x", "line").axes[0]
    assert axes.get_ylabel() == "Mean over lines"
    assert axes.get_xticklabels()[1].get_text() == "10–40 %\n3 lines"


def test_scores_by_coverage_have_their_intervals():
    axes = figures.by_coverage(RESULT.by_coverage, "x").axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["none\n2 tiles", "10–40 %\n3 tiles"]
    iou, kaggle_map = axes.containers
    assert iou.get_label() == "IoU, 95 % interval"
    points, _, (bars,) = iou.lines
    assert points.get_ydata().tolist() == [1.0, 0.3333333333333333]
    spans = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert spans == [[1.0, 1.0], pytest.approx([0.1, 0.5])]
    assert kaggle_map.lines[0].get_ydata().tolist() == [1.0, 0.2]


def test_reliability_shows_the_bins():
    share, number = figures.reliability(RESULT.calibration, "x").axes
    label = "ten bins; expected calibration error 0.062"
    assert lines(share)[label] == [[0.03, 0.97], [0.05, 0.9]]
    bars = [(bar.get_x(), bar.get_height()) for bar in number.patches]
    assert bars == [(0.0, 1000), (0.9, 500)]


def test_figure_names_its_source_and_is_saved_as_png(tmp_path):
    figure = figures.figure_of(2, 1, "tiles of $a_{$/b")
    assert figure.get_supxlabel() == "Data: tiles of $a_{$/b"
    long = figures.figure_of(4, 1, " ".join(["word"] * 20)).get_supxlabel()
    assert max(map(len, long.splitlines())) <= 72
    figures.save(figure, tmp_path / "a/figure.png")
    with Image.open(tmp_path / "a/figure.png") as image:
        assert (image.format, image.size) == ("PNG", (300, 150))
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["figure.png"]
