import csv
import json
import subprocess
import sys

import pytest

from saltjax import run
from saltjax.errors import InputError


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "runs/unet_strided"),
        ({"model.skip": False}, "runs/unet_strided-model.skip=False"),
        (
            {"data.dir": "/data/competition_data/train"},
            "runs/unet_strided-data.dir=train",
        ),
        (
            {"optim.learning_rate": 1e-4, "model.features": (4, 8)},
            "runs/unet_strided-model.features=4,8-optim.learning_rate=0.0001",
        ),
    ],
)
def test_default_workdir_tells_the_overrides(overrides, expected):
    assert run.default_workdir("configs/unet_strided.py", overrides) == expected
    # The order in which the overrides stand makes no other folder.
    backwards = dict(reversed(overrides.items()))
    assert run.default_workdir("configs/unet_strided.py", backwards) == expected


def test_a_folder_belongs_to_one_config(tmp_path):
    config = {"seed": 0, "model": {"skip": True, "features": (4, 8)}}
    run.claim(tmp_path, config, overwrite=False)
    run.claim(tmp_path, config, overwrite=False)
    (tmp_path / "checkpoints").mkdir()
    other = {"seed": 0, "model": {"skip": False, "features": (4, 8)}}
    with pytest.raises(
        InputError, match=r"model\.skip: True there, False now"
    ) as caught:
        run.claim(tmp_path, other, overwrite=False)
    assert "seed" not in str(caught.value)
    assert "model.features" not in str(caught.value)
    run.claim(tmp_path, other, overwrite=True)
    assert json.loads((tmp_path / "config.json").read_text())["model"]["skip"] is False
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"seed": '])
def test_damaged_config_is_told(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        run.claim(tmp_path, {"seed": 0}, overwrite=False)


HOLD = """
import pathlib, sys
from saltjax import run
with run.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_process_is_refused_and_the_lock_dies_with_the_first(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="another run is at work"), run.lock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with run.lock(tmp_path):
        pass


def test_workdir_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot write there"), run.lock(path):
            pass


def test_overwrite_deletes_nothing_but_a_run(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    run.claim(tmp_path, {"seed": 0}, overwrite=False)
    run.claim(tmp_path, {"seed": 1}, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_metrics_csv_has_a_row_an_epoch(tmp_path):
    row = dict.fromkeys(run.METRICS, 0.5) | {"epoch": 1, "learning_rate": 1e-3}
    run.write_metrics(tmp_path, [row, row | {"epoch": 2}])
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    header = (
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds"
    )
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == header
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert float(rows[0]["learning_rate"]) == 1e-3
