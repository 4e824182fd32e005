"""Differences of runs to a reference, paired by tile."""

import json
import logging

import numpy as np
import pytest
import tested_run

from saltjax import compare
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import metrics
from saltjax.system.errors import InputError


def by_hand(a, b, groups, resamples=3000):
    """Mean and percentiles of the differences of IoU and F1, one resample at a time."""
    rng = np.random.default_rng(99)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]

    def scores(counts):
        tp, fp, fn, _ = counts.T
        total = tp + fp + fn
        iou = np.where(total > 0, tp / np.maximum(total, 1), 1)
        return iou.mean(), 2 * tp.sum() / (2 * tp.sum() + fp.sum() + fn.sum())

    def difference(rows):
        return np.subtract(scores(a[rows]), scores(b[rows]))

    drawn = [
        difference(
            np.concatenate(
                [members[i] for i in rng.integers(0, len(members), len(members))]
            )
        )
        for _ in range(resamples)
    ]
    return difference(np.arange(len(a))), *np.percentile(drawn, (2.5, 97.5), axis=0)


@pytest.mark.parametrize("groups", [1, 4])
def test_differences_are_paired_and_resample_groups(tmp_path, groups):
    runs = {
        "good": tested_run.outputs(0.1, 1, groups=groups),
        "bad": tested_run.outputs(0.2, 2, groups=groups),
    }
    for name, found in runs.items():
        tested_run.write(tmp_path / name, found, val_score=len(name) / 10)
    compare.compare(tmp_path, "good", "")
    (row,) = tested_run.read_csv(tmp_path / "differences.csv")
    assert (row["run"], row["reference"]) == ("bad", "good")
    assert (row["tiles"], row["units"]) == ("40", str(40 // groups))
    counts = {
        name: metrics.confusion(found.prob > 32767, found.labels)
        for name, found in runs.items()
    }
    value, low, high = by_hand(counts["bad"], counts["good"], np.arange(40) // groups)
    for i, title in enumerate(("IoU", "F1")):
        width = high[i] - low[i]
        assert float(row[title]) == pytest.approx(value[i], abs=1e-12)
        assert float(row[f"{title} low"]) == pytest.approx(low[i], abs=0.15 * width)
        assert float(row[f"{title} high"]) == pytest.approx(high[i], abs=0.15 * width)
    results = [
        json.loads((tmp_path / name / "result.json").read_text())["test_native"]
        for name in ("bad", "good")
    ]
    for title, key in (
        ("Kaggle mAP", "kaggle_map"),
        ("accuracy at threshold", "accuracy"),
    ):
        expected = results[0][key]["value"] - results[1][key]["value"]
        assert float(row[title]) == pytest.approx(expected, abs=1e-12)


def test_difference_to_itself_is_zero_and_pairing_narrows_the_interval(tmp_path):
    good = tested_run.outputs(0.1, 1)
    nearly = SavedOutputs(good.ids, good.prob.copy(), good.labels, good.units)
    nearly.prob[0] = 65535 - nearly.prob[0]
    for name, found in {"a": good, "b": good, "c": nearly}.items():
        tested_run.write(tmp_path / name, found, {"seed": ord(name)})
    compare.compare(tmp_path, "a", "")
    rows = {
        row["run"]: row for row in tested_run.read_csv(tmp_path / "differences.csv")
    }
    for end in ("IoU", "IoU low", "IoU high", "F1 low", "accuracy at threshold high"):
        assert float(rows["b"][end]) == 0
    width = float(rows["c"]["IoU high"]) - float(rows["c"]["IoU low"])
    result = json.loads((tmp_path / "a/result.json").read_text())
    alone = result["test_native"]["iou"]
    assert 0 < width < 0.5 * (alone["high"] - alone["low"])


def test_tiles_are_paired_by_id_whatever_their_order(tmp_path):
    found = tested_run.outputs(0.1, 1)
    order = np.random.default_rng(0).permutation(40)
    arrays = (x[order] for x in (found.prob, found.labels, found.units))
    shuffled = SavedOutputs([found.ids[i] for i in order], *arrays)
    tested_run.write(tmp_path / "a", found)
    tested_run.write(tmp_path / "b", shuffled, {"seed": 1})
    compare.compare(tmp_path, "a", "")
    row = tested_run.read_csv(tmp_path / "differences.csv")[0]
    assert [float(row[key]) for key in ("IoU", "IoU low", "IoU high")] == [0, 0, 0]


def test_runs_on_other_tiles_have_no_difference(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    tested_run.write(tmp_path / "a", tested_run.outputs(0.1, 1), val_score=0.9)
    tested_run.write(
        tmp_path / "b", tested_run.outputs(0.1, 2), {"seed": 2}, val_score=0.8
    )
    other = tested_run.outputs(0.1, 3, range(20))
    tested_run.write(tmp_path / "c", other, {"seed": 3}, val_score=0.7)
    tested_run.write(tmp_path / "d", other, {"seed": 4}, val_score=0.6)
    # The same ids, of other data.
    found = tested_run.outputs(0.1, 2)
    tested_run.write(tmp_path / "e", found, {"seed": 5}, content="x", val_score=0.5)
    compare.compare(tmp_path, "b", "")
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    assert [(row["run"], row["reference"]) for row in rows] == [("a", "b")]
    for name in "cde":
        assert f"{name}: not the test tiles of b" in caplog.text
    # Without a reference it is the best on the same tiles.
    compare.compare(tmp_path, "", "")
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    pairs = [(row["run"], row["reference"]) for row in rows]
    assert pairs == [("b", "a"), ("d", "c")]


def test_means_over_folds_are_compared_on_the_tiles_of_all_folds(tmp_path):
    counts = {}
    for name, error, skip in (("x", 0.1, True), ("y", 0.2, False)):
        parts = []
        for fold in range(2):
            rows = range(20 * fold, 20 * fold + 20)
            found = tested_run.outputs(error, fold + len(counts) * 7, rows, groups=4)
            parts.append(metrics.confusion(found.prob > 32767, found.labels))
            changes = {"data.folds": 2, "data.fold": fold, "model.skip": skip}
            tested_run.write(tmp_path / f"{name}{fold}", found, changes)
        counts[name] = np.concatenate(parts)
    compare.compare(tmp_path, "x0", "")
    rows = {
        row["run"]: row for row in tested_run.read_csv(tmp_path / "differences.csv")
    }
    assert set(rows) == {"y0", "y*"}
    assert (rows["y*"]["reference"], rows["y0"]["reference"]) == ("x*", "x0")
    assert (rows["y*"]["tiles"], rows["y*"]["units"]) == ("40", "10")
    value, low, high = by_hand(counts["y"], counts["x"], np.arange(40) // 4)
    assert float(rows["y*"]["IoU"]) == pytest.approx(value[0], abs=1e-12)
    width = high[0] - low[0]
    assert float(rows["y*"]["IoU low"]) == pytest.approx(low[0], abs=0.15 * width)
    assert float(rows["y*"]["IoU high"]) == pytest.approx(high[0], abs=0.15 * width)


def test_means_over_seeds_are_compared_with_a_single_run(tmp_path):
    native = [
        tested_run.write(
            tmp_path / f"x{seed}", tested_run.outputs(0.1, seed), {"seed": seed}
        )
        for seed in range(3)
    ]
    single = tested_run.write(
        tmp_path / "y", tested_run.outputs(0.2, 9), {"model.skip": False}
    )
    compare.compare(tmp_path, str(tmp_path / "y"), "")
    rows = {
        row["run"]: row for row in tested_run.read_csv(tmp_path / "differences.csv")
    }
    assert set(rows) == {"x0", "x1", "x2", "x*"}
    mean = np.mean([tree["test_native"]["iou"]["value"] for tree in native])
    expected = mean - single["test_native"]["iou"]["value"]
    assert float(rows["x*"]["IoU"]) == pytest.approx(expected, abs=1e-12)


def test_outputs_that_are_not_of_the_result_are_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        tested_run.write(tmp_path / name, tested_run.outputs(0.1, seed), {"seed": seed})
    stale = (tmp_path / "a/test_outputs.npz").read_bytes()
    (tmp_path / "c/test_outputs.npz").write_bytes(stale)
    compare.compare(tmp_path, "a", "")
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    assert [row["run"] for row in rows] == ["b"]
    assert "c: no differences" in caplog.text
    assert "delete it and result.json" in caplog.text
    with pytest.raises(InputError, match="reference=c has no usable test_outputs"):
        compare.compare(tmp_path, "c", "")


def test_unknown_reference_is_refused(tmp_path):
    tested_run.write(tmp_path / "a", tested_run.outputs(0.1, 1))
    with pytest.raises(InputError, match=r"reference=x: no completed run .* one of a$"):
        compare.compare(tmp_path, "x", "")
    for path in ("a", "a/", tmp_path / "a", f"{tmp_path}/../{tmp_path.name}/a/"):
        compare.compare(tmp_path, str(path), "")
    # A run of that name in another directory.
    for path in ("/elsewhere/a", "runs/a", tmp_path):
        with pytest.raises(InputError, match="no completed run of that name in"):
            compare.compare(tmp_path, str(path), "")
