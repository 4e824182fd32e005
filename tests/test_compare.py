"""Tables of runs, and means over folds and seeds."""

import logging
import math
import shutil

import pytest
import tested_run

from saltjax import compare
from saltjax.reporting import averages, paired
from saltjax.runs import completed
from saltjax.runs.result import Interval
from saltjax.system.errors import InputError


def test_runs_are_ranked_by_the_validation_score_that_chose_their_thresholds(
    tmp_path, caplog
):
    caplog.set_level(logging.INFO, "saltjax")
    # Neither the validation loss nor the test ranks them.
    for name, score, loss in (("a", 0.6, 0.1), ("b", 0.8, 0.3), ("c", 0.7, 0.2)):
        validation = {"val_metric": "kaggle_map", "val_score": score, "val_loss": score}
        tested_run.write(tmp_path / name, None, loss=loss, **validation)
    # The validation loss of this one is lost.
    tested_run.write(tmp_path / "d", None, val_metric="kaggle_map", val_score=0.5)
    (tmp_path / "d/metrics.csv").write_text("epoch,val_loss\n1,x\n")
    compare.compare(tmp_path, "", "")
    rows = tested_run.read_csv(tmp_path / "compare.csv")
    assert [row["run"] for row in rows] == ["b", "c", "a", "d"]
    assert [row["val score"] for row in rows] == ["0.8", "0.7", "0.6", "0.5"]
    assert {row["chosen by"] for row in rows} == {"Kaggle mAP"}
    assert [row["val loss"] for row in rows] == ["0.8", "0.7", "0.6", ""]
    assert [row["test loss"] for row in rows] == ["0.3", "0.2", "0.1", "0.25"]
    assert (rows[0]["val F1"], rows[0]["val AP"]) == ("0.75", "0.8125")
    assert "Runs by validation Kaggle mAP\n" in caplog.text
    assert f"--mode=predict --workdir={tmp_path / 'b'} --input" in caplog.text
    assert "ensemble" not in caplog.text
    assert "d/metrics.csv: no epoch 2 in it" in caplog.text
    # These results are of a version that did not have all scores.
    assert rows[0]["two-class mean IoU"] == ""
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert "| – |" in lines[2]
    assert len(lines) == 6
    assert not (tmp_path / "differences.csv").exists()
    assert "No differences of b, c, a, d: without test_outputs.npz" in caplog.text


def test_runs_whose_thresholds_several_scores_chose_are_ranked_by_f1(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    tested_run.write(tmp_path / "a", None, val_score=0.7)
    tested_run.write(tmp_path / "b", None, val_score=0.8)
    # Its F1 is 0.75.
    tested_run.write(tmp_path / "c", None, val_metric="iou", val_score=0.9)
    compare.compare(tmp_path, "", "")
    rows = tested_run.read_csv(tmp_path / "compare.csv")
    assert [row["run"] for row in rows] == ["b", "c", "a"]
    assert [row["chosen by"] for row in rows] == ["F1", "IoU", "F1"]
    assert "Runs by validation F1" in caplog.text


def test_runs_on_several_data_are_ordered_by_these_first(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for name, data, score in (("a", "x", 0.6), ("b", "y", 0.9), ("c", "x", 0.8)):
        changes = {"data.dir": f"/tiles/{data}"}
        tested_run.write(tmp_path / name, None, changes, val_score=score, content=data)
    compare.compare(tmp_path, "", "")
    rows = tested_run.read_csv(tmp_path / "compare.csv")
    assert [row["run"] for row in rows] == ["c", "a", "b"]
    assert "Runs by data, then validation F1" in caplog.text


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
    rows = {row["runs"]: row for row in tested_run.read_csv(tmp_path / "folds.csv")}
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


def test_means_with_the_same_common_name_have_all_names(tmp_path):
    for number in range(4):
        changes = {"model.skip": number < 2, "seed": number}
        tested_run.write(tmp_path / f"run{number}", None, changes)
    compare.compare(tmp_path, "", "")
    rows = tested_run.read_csv(tmp_path / "folds.csv")
    assert [row["runs"] for row in rows] == ["run0, run1", "run2, run3"]


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
    rows = {row["runs"]: row for row in tested_run.read_csv(tmp_path / "folds.csv")}
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


def test_files_are_written_to_output(tmp_path):
    tested_run.write(tmp_path / "runs/a", tested_run.outputs(0.1, 1))
    tested_run.write(tmp_path / "runs/b", tested_run.outputs(0.1, 2), {"seed": 1})
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


def test_files_of_others_beside_the_runs_are_not_replaced(tmp_path):
    for name in ("a", "b"):
        tested_run.write(tmp_path / name, tested_run.outputs(0.1, 1))
    for name in ("compare.csv", "folds.csv"):  # this one would be deleted, not replaced
        (tmp_path / name).write_text("mine")
        message = rf"--workdir={tmp_path}: .*{name}: not written by this program"
        with pytest.raises(InputError, match=message):
            compare.compare(tmp_path, "", "")
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    for _ in range(2):
        compare.compare(tmp_path, "", "")
    # Of equal runs.
    (row,) = tested_run.read_csv(tmp_path / "differences.csv")
    assert float(row["IoU"]) == float(row["IoU low"]) == 0


def test_a_difference_of_zero_has_no_minus_sign():
    zero = Interval(-1e-9, -2e-5, 1e-9)
    assert paired.interval_text(zero) == "+0.0000 (+0.0000 to +0.0000)"


def test_runs_have_their_names_in_the_figure(tmp_path):
    for name, seed in (("a", 0), ("a-seed=1", 1)):
        tested_run.write(tmp_path / name, None, {"seed": seed})
    runs = completed.read_runs(tmp_path)
    means = averages.average(averages.group(runs), lambda run: {"F1": 0.5})
    labels = [row.label for row in compare.figure_rows(runs, means, [], False)]
    assert labels == ["a: seed=0", "a-seed=1", "a*; mean of 2 runs (seeds 0-1)"]


def test_a_run_in_place_of_the_directory_of_runs_is_refused(tmp_path):
    tested_run.write(tmp_path / "plain", None)
    with pytest.raises(InputError, match=f"plain is a run; .*, such as {tmp_path}$"):
        compare.compare(tmp_path / "plain", "", "")


def test_folds_of_several_sizes_are_applied(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for fold, test in ((0, 5), (1, 6)):
        changes = {"data.dir": "/data", "data.folds": 2, "data.fold": fold}
        tested_run.write(tmp_path / f"a{fold}", None, changes, counts=(39, 5, test))
    compare.compare(tmp_path, "", "")
    assert "data, then" not in caplog.text
    assert sum(line.startswith("Apply") for line in caplog.messages) == 2


def test_the_best_mean_is_the_first_and_is_applied_as_an_ensemble(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    # The best run is not one of the best mean.
    for name, seed, features, score in (
        ("a0", 0, (4, 8), 0.9),
        ("a1", 1, (4, 8), 0.5),
        ("b0", 0, (8, 16), 0.8),
        ("b1", 1, (8, 16), 0.7),
    ):
        changes = {"seed": seed, "model.features": features}
        outputs = tested_run.outputs(0.1, seed)
        tested_run.write(tmp_path / name, outputs, changes, val_score=score)
    compare.compare(tmp_path, "", "")
    assert [row["runs"] for row in tested_run.read_csv(tmp_path / "folds.csv")] == [
        "b*",
        "a*",
    ]
    references = {
        row["run"]: row["reference"]
        for row in tested_run.read_csv(tmp_path / "differences.csv")
    }
    assert references == {"b0": "a0", "b1": "a0", "a1": "a0", "a*": "b*"}
    lines = [line for line in caplog.messages if line.startswith("Apply")]
    assert [line.split("--workdir=")[1].split()[0] for line in lines] == [
        f"{tmp_path}/a0",
        f"{tmp_path}/b0,{tmp_path}/b1",
    ]


def test_a_link_to_a_run_is_a_reference(tmp_path):
    for name in ("runs/a", "elsewhere"):
        tested_run.write(tmp_path / name, tested_run.outputs(0.1, 1))
    (tmp_path / "runs/b").symlink_to(tmp_path / "elsewhere")
    compare.compare(tmp_path / "runs", f"{tmp_path}/runs/b", "")
    (row,) = tested_run.read_csv(tmp_path / "runs/differences.csv")
    assert (row["run"], row["reference"]) == ("a", "b")
