"""Tables of runs, means over folds and seeds, and paired differences."""

import csv
import json
import logging
import math
import shutil

import numpy as np
import pytest
import tested_run

from saltjax import compare
from saltjax.runs.test_outputs import TestOutputs
from saltjax.scoring import metrics
from saltjax.system.errors import InputError


def outputs(error, seed, rows=range(40), groups=1):
    """Outputs for tiles of the same 40: of the rows, with that share of wrong pixels."""
    rows, labels = np.array(rows), tested_run.labels_of(40)
    prob = tested_run.prob_of(labels, error, seed)
    ids = [f"t{i:02d}" for i in rows]
    return TestOutputs(ids, prob[rows], labels[rows], rows // groups)


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_runs_are_ranked_by_validation_loss(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for name, val_loss, loss in (("a", 0.3, 0.1), ("b", 0.2, 0.3), ("c", 0.25, 0.2)):
        tested_run.write(tmp_path / name, None, val_loss=val_loss, loss=loss)
    # The validation loss of this one is lost; it comes last.
    tested_run.write(tmp_path / "d", None, val_loss=0.1)
    (tmp_path / "d/metrics.csv").write_text("epoch,val_loss\n1,x\n")
    compare.compare(tmp_path, "", "")
    rows = read_csv(tmp_path / "compare.csv")
    assert [row["run"] for row in rows] == ["b", "c", "a", "d"]
    assert [row["val loss"] for row in rows] == ["0.2", "0.25", "0.3", ""]
    assert [row["val accuracy"] for row in rows] == ["0.8", "0.75", "0.7", ""]
    assert [row["test loss"] for row in rows] == ["0.3", "0.2", "0.1", "0.25"]
    assert (rows[0]["val F1"], rows[0]["val AP"]) == ("0.75", "0.8125")
    assert "d/metrics.csv: no epoch 2 in it" in caplog.text
    # These results are of a version that did not have all scores.
    assert rows[0]["two-class mean IoU"] == ""
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert "| – |" in lines[2]
    assert len(lines) == 6
    assert not (tmp_path / "differences.csv").exists()
    assert "No differences of b, c, a, d: without test_outputs.npz" in caplog.text


def test_folds_of_the_same_config_are_averaged(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")

    def write(name, loss, **settings):
        data = {f"data.{key}": value for key, value in settings.items()}
        # These change no weights; the folds may differ in them.
        data |= {"train.cpu_devices": len(name), "predict.direction": "both"}
        tested_run.write(tmp_path / name, None, data, loss=loss)

    for fold, loss in enumerate((0.1, 0.2, 0.6)):
        write("a" * fold + f"a{fold}", loss, folds=5, fold=fold)
    write("aaa2-again", 9.0, folds=5, fold=2)
    for fold, loss in enumerate((0.3, 0.5)):
        write(f"b{fold}", loss, folds=2, fold=fold, split_by="coverage")
    # A single fold, and runs that are no folds, are not averaged.
    write("c", 0.7, folds=3, fold=1)
    write("d", 0.8)
    compare.compare(tmp_path, "", "")
    printed = caplog.text
    assert (
        "aaa2-again: the same fold and seeds as aaa2, left out of the mean" in printed
    )
    rows = {row["runs"]: row for row in read_csv(tmp_path / "folds.csv")}
    assert {name: row["mean of"] for name, row in rows.items()} == {
        "a*": "3 runs (folds 0-2 of 5); error over 3 folds",
        "b*": "2 runs (folds 0-1 of 2); error over 2 folds",
    }
    # By hand: deviations -0.2, -0.1, 0.3, so a variance of 0.14 / 2.
    error = math.sqrt(0.07 / 3)
    assert float(rows["a*"]["test loss"]) == pytest.approx(0.3)
    assert float(rows["a*"]["test loss standard error"]) == pytest.approx(error)
    assert float(rows["b*"]["test loss standard error"]) == pytest.approx(0.1)
    assert rows["a*"]["two-class mean IoU"] == ""
    assert f"0.3000 ± {error:.4f}" in printed
    assert f"| 0.3000 ± {error:.4f} |" in (tmp_path / "compare.md").read_text()
    assert (tmp_path / "compare.png").stat().st_size > 5000


def test_the_same_tiles_at_another_path_are_no_difference(tmp_path):
    paths = ("/data/tiles", "/data/tiles/", "/mnt/moved")
    for fold, path in enumerate(paths):
        changes = {"data.folds": 3, "data.fold": fold, "data.dir": path}
        changes["data.groups"] = f"{path}/groups.csv"
        loss = {"val_loss": 0.1 * fold}
        tested_run.write(tmp_path / f"a{fold}", None, changes, **loss)
    # At the path of the first, but other tiles; and the same tiles, but other groups.
    changes |= {"data.dir": paths[0], "data.groups": f"{paths[0]}/groups.csv"}
    tested_run.write(tmp_path / "tiles", None, changes, content="other")
    changes["data.groups"] = "/data/others.csv"
    tested_run.write(tmp_path / "groups", None, changes, units="other")
    compare.compare(tmp_path, "", "")
    (mean,) = read_csv(tmp_path / "folds.csv")
    assert (mean["runs"], mean["mean of"][:22]) == ("a*", "3 runs (folds 0-2 of 3")
    rows = {row["run"]: row for row in read_csv(tmp_path / "compare.csv")}
    assert "data.dir" not in rows["a0"]
    assert {name: row["data.groups"] for name, row in rows.items()} == dict.fromkeys(
        ("a0", "a1", "a2", "tiles"), f"{paths[0]}/groups.csv"
    ) | {"groups": "/data/others.csv"}
    assert {row["data"] for row in rows.values()} == {"data/tiles 40/5/5"}


def test_settings_of_the_test_are_not_averaged_over(tmp_path):
    for fold, tta in enumerate((False, True)):
        changes = {"data.folds": 2, "data.fold": fold, "eval.tta": tta}
        tested_run.write(tmp_path / f"a{fold}", None, changes)
    compare.compare(tmp_path, "", "")
    assert not (tmp_path / "folds.csv").exists()


def test_errors_over_folds_and_seeds(tmp_path):
    # Two folds with three seeds each: the means 0.2 and 0.4 of the folds, so an error of 0.1.
    losses = {
        (0, 0): 0.1,
        (0, 1): 0.2,
        (0, 2): 0.3,
        (1, 0): 0.4,
        (1, 1): 0.4,
        (1, 2): 0.4,
    }
    for (fold, seed), loss in losses.items():
        changes = {"data.folds": 2, "data.fold": fold, "seed": seed}
        tested_run.write(tmp_path / f"x{fold}{seed}", None, changes, loss=loss)
    # Three seeds on the same test tiles: deviations -0.1, 0 and 0.1, so a variance of 0.01.
    for seed, loss in enumerate((0.1, 0.2, 0.3)):
        changes = {"model.skip": False, "seed": seed}
        tested_run.write(tmp_path / f"y{seed}", None, changes, loss=loss)
    for seed, loss in enumerate((0.1, 0.2, 0.3)):
        changes = {"model.norm": "group", "data.seed": seed}
        tested_run.write(tmp_path / f"z{seed}", None, changes, loss=loss)
    compare.compare(tmp_path, "", "")
    rows = {row["runs"]: row for row in read_csv(tmp_path / "folds.csv")}
    found = {
        name: (float(row["test loss"]), float(row["test loss standard error"]))
        for name, row in rows.items()
    }
    assert found["x*"] == pytest.approx((0.3, 0.1))
    assert found["y*"] == found["z*"] == pytest.approx((0.2, 0.1 / math.sqrt(3)))
    assert {name: row["mean of"] for name, row in rows.items()} == {
        "x*": "6 runs (folds 0-1 of 2, seeds 0-2); error over 2 folds",
        "y*": "3 runs (seeds 0-2); error over 3 seeds",
        "z*": "3 runs (data.seed 0-2); error over 3 splits",
    }


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
        "good": outputs(0.1, 1, groups=groups),
        "bad": outputs(0.2, 2, groups=groups),
    }
    for name, found in runs.items():
        tested_run.write(tmp_path / name, found, val_loss=len(name) / 10)
    compare.compare(tmp_path, "good", "")
    (row,) = read_csv(tmp_path / "differences.csv")
    assert (row["run"], row["reference"]) == ("bad", "good")
    assert (row["tiles"], row["units"]) == ("40", str(40 // groups))
    counts = {
        name: metrics.confusion(found.prob >= 0.5, found.labels)
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
    good = outputs(0.1, 1)
    nearly = TestOutputs(good.ids, good.prob.copy(), good.labels, good.units)
    nearly.prob[0] = 1 - nearly.prob[0]
    for name, found in {"a": good, "b": good, "c": nearly}.items():
        tested_run.write(tmp_path / name, found, {"seed": ord(name)})
    compare.compare(tmp_path, "a", "")
    rows = {row["run"]: row for row in read_csv(tmp_path / "differences.csv")}
    for end in ("IoU", "IoU low", "IoU high", "F1 low", "accuracy at threshold high"):
        assert float(rows["b"][end]) == 0
    width = float(rows["c"]["IoU high"]) - float(rows["c"]["IoU low"])
    result = json.loads((tmp_path / "a/result.json").read_text())
    alone = result["test_native"]["iou"]
    assert 0 < width < 0.5 * (alone["high"] - alone["low"])


def test_tiles_are_paired_by_id_whatever_their_order(tmp_path):
    found = outputs(0.1, 1)
    order = np.random.default_rng(0).permutation(40)
    arrays = (x[order] for x in (found.prob, found.labels, found.units))
    shuffled = TestOutputs([found.ids[i] for i in order], *arrays)
    tested_run.write(tmp_path / "a", found)
    tested_run.write(tmp_path / "b", shuffled, {"seed": 1})
    compare.compare(tmp_path, "a", "")
    row = read_csv(tmp_path / "differences.csv")[0]
    assert [float(row[key]) for key in ("IoU", "IoU low", "IoU high")] == [0, 0, 0]


def test_runs_on_other_tiles_have_no_difference(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    tested_run.write(tmp_path / "a", outputs(0.1, 1), val_loss=0.1)
    tested_run.write(tmp_path / "b", outputs(0.1, 2), {"seed": 2}, val_loss=0.2)
    other = outputs(0.1, 3, range(20))
    tested_run.write(tmp_path / "c", other, {"seed": 3}, val_loss=0.3)
    tested_run.write(tmp_path / "d", other, {"seed": 4}, val_loss=0.4)
    # The same ids, of other data.
    found = outputs(0.1, 2)
    tested_run.write(tmp_path / "e", found, {"seed": 5}, content="x", val_loss=0.5)
    compare.compare(tmp_path, "b", "")
    rows = read_csv(tmp_path / "differences.csv")
    assert [(row["run"], row["reference"]) for row in rows] == [("a", "b")]
    for name in "cde":
        assert f"{name}: not the test tiles of b" in caplog.text
    # Without a reference it is the best on the same tiles.
    compare.compare(tmp_path, "", "")
    rows = read_csv(tmp_path / "differences.csv")
    pairs = [(row["run"], row["reference"]) for row in rows]
    assert pairs == [("b", "a"), ("d", "c")]


def test_means_over_folds_are_compared_on_the_tiles_of_all_folds(tmp_path):
    counts = {}
    for name, error, skip in (("x", 0.1, True), ("y", 0.2, False)):
        parts = []
        for fold in range(2):
            rows = range(20 * fold, 20 * fold + 20)
            found = outputs(error, fold + len(counts) * 7, rows, groups=4)
            parts.append(metrics.confusion(found.prob >= 0.5, found.labels))
            changes = {"data.folds": 2, "data.fold": fold, "model.skip": skip}
            tested_run.write(tmp_path / f"{name}{fold}", found, changes)
        counts[name] = np.concatenate(parts)
    compare.compare(tmp_path, "x0", "")
    rows = {row["run"]: row for row in read_csv(tmp_path / "differences.csv")}
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
        tested_run.write(tmp_path / f"x{seed}", outputs(0.1, seed), {"seed": seed})
        for seed in range(3)
    ]
    single = tested_run.write(tmp_path / "y", outputs(0.2, 9), {"model.skip": False})
    compare.compare(tmp_path, str(tmp_path / "y"), "")
    rows = {row["run"]: row for row in read_csv(tmp_path / "differences.csv")}
    assert set(rows) == {"x0", "x1", "x2", "x*"}
    mean = np.mean([tree["test_native"]["iou"]["value"] for tree in native])
    expected = mean - single["test_native"]["iou"]["value"]
    assert float(rows["x*"]["IoU"]) == pytest.approx(expected, abs=1e-12)


def test_outputs_that_are_not_of_the_result_are_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        tested_run.write(tmp_path / name, outputs(0.1, seed), {"seed": seed})
    stale = (tmp_path / "a/test_outputs.npz").read_bytes()
    (tmp_path / "c/test_outputs.npz").write_bytes(stale)
    compare.compare(tmp_path, "a", "")
    rows = read_csv(tmp_path / "differences.csv")
    assert [row["run"] for row in rows] == ["b"]
    assert "c: no differences" in caplog.text
    assert "delete it and result.json" in caplog.text
    with pytest.raises(InputError, match="reference=c has no usable test_outputs"):
        compare.compare(tmp_path, "c", "")


def test_unknown_reference_is_refused(tmp_path):
    tested_run.write(tmp_path / "a", outputs(0.1, 1))
    with pytest.raises(InputError, match=r"reference=x: no completed run .* one of a$"):
        compare.compare(tmp_path, "x", "")
    for path in ("a", "a/", tmp_path / "a", f"{tmp_path}/../{tmp_path.name}/a/"):
        compare.compare(tmp_path, str(path), "")
    # A run of that name in another directory.
    for path in ("/elsewhere/a", "runs/a", tmp_path):
        with pytest.raises(InputError, match="no completed run of that name in"):
            compare.compare(tmp_path, str(path), "")


def test_files_are_written_to_output(tmp_path):
    tested_run.write(tmp_path / "runs/a", outputs(0.1, 1))
    tested_run.write(tmp_path / "runs/b", outputs(0.1, 2), {"seed": 1})
    compare.compare(tmp_path / "runs", "", str(tmp_path / "out"))
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written - {".saltjax-files.jsonl"} == {
        "compare.csv",
        "compare.md",
        "compare.png",
        "differences.csv",
        "folds.csv",
    }
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"a", "b"}
    # With one run less there are no means and differences; the old ones do not stay.
    shutil.rmtree(tmp_path / "runs/b")
    compare.compare(tmp_path / "runs", "", str(tmp_path / "out"))
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written & {"folds.csv", "differences.csv"} == set()
    # What somebody else wrote is not replaced.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/compare.csv").write_text("mine")
    with pytest.raises(InputError, match=r"compare\.csv: not written by this program"):
        compare.compare(tmp_path / "runs", "", str(tmp_path / "mine"))


@pytest.mark.parametrize("source", ["/data/tiles", ""])
def test_the_number_of_synthetic_tiles_is_a_setting_of_synthetic_data(tmp_path, source):
    for count in (40, 50):
        changes = {"data.dir": source, "data.synthetic_count": count}
        tested_run.write(tmp_path / f"{count}", None, changes)
    compare.compare(tmp_path, "", "")
    header = (tmp_path / "compare.csv").read_text().splitlines()[0].split(",")
    assert ("data.synthetic_count" in header) == (source == "")


def test_a_run_in_place_of_the_directory_of_runs_is_refused(tmp_path):
    tested_run.write(tmp_path / "plain", None)
    with pytest.raises(InputError, match=f"plain is a run; .*, such as {tmp_path}$"):
        compare.compare(tmp_path / "plain", "", "")
