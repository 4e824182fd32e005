"""Tables of runs, and means over folds."""

import csv
import json
import logging
import math

import pytest

from saltjax import compare
from saltjax.system.errors import InputError


def test_names_that_share_nothing_are_all_listed():
    assert compare.common_name(["1", "2", "3"]) == "1, 2, 3"


def test_settings_that_differ_or_are_missing():
    first = {"seed": 0, "model.skip": True, "model.norm": "none"}
    second = first | {"model.skip": False, "model.width": 2}
    expected = ["model.skip", "model.width"]
    assert compare.differing_settings([first, second]) == expected


def write_run(plain, folder, loss, **settings):
    """Writes config and result of a run like `plain`, with that loss and those data settings."""
    config, result = (
        json.loads((plain / f"{name}.json").read_text())
        for name in ("config", "result")
    )
    config["data"] |= settings
    result["test"]["loss"] = loss
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps(result))


def test_folds_of_the_same_config_are_averaged(runs, tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    plain = runs[0] / "plain"
    for fold, loss in enumerate((0.1, 0.2, 0.6)):
        write_run(plain, tmp_path / f"a{fold}", loss, folds=5, fold=fold)
    write_run(plain, tmp_path / "a2-again", 9.0, folds=5, fold=2)
    for fold, loss in enumerate((0.3, 0.5)):
        by = {"folds": 2, "fold": fold, "split_by": "coverage"}
        write_run(plain, tmp_path / f"b{fold}", loss, **by)
    # A single fold, and runs that are no folds, are not averaged.
    write_run(plain, tmp_path / "c", 0.7, folds=3, fold=1)
    write_run(plain, tmp_path / "d", 0.8)
    compare.compare(tmp_path)
    printed = caplog.text
    assert "a2-again: the same fold as a2, left out of the mean" in printed
    with open(tmp_path / "folds.csv", newline="") as file:
        rows = {row["runs"]: row for row in csv.DictReader(file)}
    assert {name: row["folds"] for name, row in rows.items()} == {
        "a*": "3 of 5",
        "b*": "2 of 2",
    }
    # By hand: deviations -0.2, -0.1, 0.3, so a variance of 0.14 / 2.
    error = math.sqrt(0.07 / 3)
    assert float(rows["a*"]["test loss"]) == pytest.approx(0.3)
    assert float(rows["a*"]["test loss standard error"]) == pytest.approx(error)
    assert float(rows["b*"]["test loss standard error"]) == pytest.approx(0.1)
    assert f"0.3000 ± {error:.4f}" in printed
    assert f"| 0.3000 ± {error:.4f} |" in (tmp_path / "compare.md").read_text()
    assert (tmp_path / "compare.png").stat().st_size > 5000


def test_a_run_in_place_of_the_directory_of_runs_is_refused(runs):
    folder, _ = runs
    with pytest.raises(InputError, match=f"plain is a run; .*, such as {folder}$"):
        compare.compare(folder / "plain")
