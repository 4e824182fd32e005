"""Which runs of a directory are compared, and which count as repeats of the same settings."""

import logging

import pytest
import tested_run

from saltjax import compare


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
    (mean,) = tested_run.read_csv(tmp_path / "folds.csv")
    assert (mean["runs"], mean["mean of"][:22]) == ("a*", "3 runs (folds 0-2 of 3")
    rows = {row["run"]: row for row in tested_run.read_csv(tmp_path / "compare.csv")}
    assert "data.dir" not in rows["a0"]
    assert {name: row["data.groups"] for name, row in rows.items()} == dict.fromkeys(
        ("a0", "a1", "a2", "tiles"), f"{paths[0]}/groups.csv"
    ) | {"groups": "/data/others.csv"}
    assert {row["data"] for row in rows.values()} == {"data/tiles 40/5/5"}


def test_the_same_volume_or_initial_weights_at_another_path_are_no_difference(
    tmp_path,
):
    for seed, folder in ((0, ""), (1, "/data/")):
        changes = {
            "seed": seed,
            "data.volume": f"{folder}salt.sgy",
            "data.labels": f"{folder}labels.sgy",
            "train.init_from": f"{folder}start.safetensors",
        }
        tested_run.write(tmp_path / f"a{seed}", None, changes, initial="weights")
    # The same path leads to other weights.
    changes |= {"seed": 2, "train.init_from": "start.safetensors"}
    tested_run.write(tmp_path / "other", None, changes, initial="other weights")
    compare.compare(tmp_path, "", "")
    (row,) = tested_run.read_csv(tmp_path / "folds.csv")
    assert row["runs"] == "a*"
    header = tested_run.read_csv(tmp_path / "compare.csv")[0].keys()
    assert not {"data.volume", "data.labels"} & header
    assert "train.init_from" not in header


def test_the_scaling_of_a_volume_and_its_patches_are_settings(tmp_path):
    for number, changes in enumerate(
        [
            {"seed": 0},
            {"seed": 1, "predict.direction": "both"},
            {"seed": 0, "predict.normalize": "minmax"},
            {"seed": 0, "data.seed": 1, "predict.normalize": "minmax"},
        ]
    ):
        changes |= {"data.volume": "salt.sgy", "data.labels": "labels.sgy"}
        tested_run.write(tmp_path / f"run{number}", None, changes)
    compare.compare(tmp_path, "", "")
    means = {
        row["mean of"]: row["runs"]
        for row in tested_run.read_csv(tmp_path / "folds.csv")
    }
    # data.seed draws patches and chooses no test lines.
    assert means == {
        "2 runs (seeds 0-1); error over 2 seeds": "run0, run1",
        "2 runs (data.seed 0-1); error over 2 seeds": "run2, run3",
    }


def test_settings_of_the_test_are_not_averaged_over(tmp_path):
    for fold, tta in enumerate((False, True)):
        changes = {"data.folds": 2, "data.fold": fold, "eval.tta": tta}
        tested_run.write(tmp_path / f"a{fold}", None, changes)
    compare.compare(tmp_path, "", "")
    assert not (tmp_path / "folds.csv").exists()


@pytest.mark.parametrize("source", ["/data/tiles", ""])
def test_the_number_of_synthetic_tiles_is_a_setting_of_synthetic_data(tmp_path, source):
    for count in (40, 50):
        changes = {"data.dir": source, "data.synthetic_count": count}
        tested_run.write(tmp_path / f"{count}", None, changes)
    compare.compare(tmp_path, "", "")
    header = (tmp_path / "compare.csv").read_text().splitlines()[0].split(",")
    assert ("data.synthetic_count" in header) == (source == "")


def test_what_cannot_be_compared_is_left_out(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    for name in ("a", "b", "x\ty", "x?y", "damaged"):
        tested_run.write(tmp_path / name, tested_run.outputs(0.1, 1))
    (tmp_path / "b/data.json").unlink()
    path = tmp_path / "damaged/config.json"
    path.write_text(path.read_text().replace('"fold": 0', '"fold": "a"'))
    compare.compare(tmp_path, "", "")
    assert "b: no differences (its data.json cannot be read)" in caplog.text
    assert "damaged: left out" in caplog.text
    assert "data.fold 'a'" in caplog.text
    rows = tested_run.read_csv(tmp_path / "differences.csv")
    assert {row["run"] for row in rows} == {"x?y", "x?y~"}


def test_a_name_that_is_not_utf_8_is_written_with_replacements(tmp_path):
    for name, folder in (("a", "/x/\udcff"), ("b", "/x/y")):
        tested_run.write(tmp_path / name, None, {"data.dir": folder}, content=name)
    compare.compare(tmp_path, "", "")
    rows = tested_run.read_csv(tmp_path / "compare.csv")
    assert {row["data.dir"] for row in rows} == {"/x/?", "/x/y"}
