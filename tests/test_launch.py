"""What the program does, started as a user starts it."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from program import ROOT, TINY, assert_refused, launch

RESULT_KEYS = {
    "status": str,
    "parameters": int,
    "epochs": int,
    "best_epoch": int,
    "stopped_early": bool,
    "train_seconds": float,
    "data": {"source": str, "dir": str, "train": int, "val": int, "test": int},
    "threshold": {"value": float, "f1": float, "metric": str, "score": float},
    "min_area": int,
    "thresholds": list,
    "average_precision": float,
    "test": dict.fromkeys(
        (
            "loss",
            "accuracy",
            "accuracy_at_threshold",
            "precision",
            "recall",
            "f1",
            "average_precision",
        ),
        float,
    ),
    "test_no_salt": {"accuracy": float, "kaggle_map": float},
    "test_native": {
        name: {"value": float, "low": float, "high": float}
        for name in (
            "iou",
            "dice",
            "kaggle_map",
            "accuracy",
            "precision",
            "recall",
            "f1",
        )
    },
    "by_coverage": list,
    "calibration": {"ece": float, "bins": list},
}


def assert_shape(value, expected):
    if isinstance(expected, dict):
        assert set(value) == set(expected)
        for key in expected:
            assert_shape(value[key], expected[key])
    else:
        assert isinstance(value, expected)


def test_a_run_leaves_what_the_contract_names(runs):
    folder, printed = runs
    workdir = folder / "plain"
    result = json.loads((workdir / "result.json").read_text())
    assert_shape(result, RESULT_KEYS)
    assert result["status"] == "completed"
    assert result["epochs"] == 2
    assert result["data"] == {
        "source": "synthetic",
        "dir": "",
        "train": 35,
        "val": 7,
        "test": 8,
    }
    config = json.loads((workdir / "config.json").read_text())
    assert config["model"]["features"] == [4, 8]
    assert config["optim"]["weight_decay"] == 0.01
    facts = json.loads((workdir / "data.json").read_text())
    splits = facts["splits"]
    assert {name: len(ids) for name, ids in splits.items()} == {
        "train": 35,
        "val": 7,
        "test": 8,
    }
    assert len(set(splits["train"] + splits["val"] + splits["test"])) == 50
    assert len(facts["content_sha256"]) == 64
    env = json.loads((workdir / "env.json").read_text())
    assert env["versions"]["jax"]
    assert "--config=configs/quickstart.py" in env["command"]
    with open(workdir / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    for name in ("best", "last"):
        assert (workdir / "checkpoints" / name).is_dir()
    # The data's source comes before anything else.
    assert "built-in synthetic sections" in printed.splitlines()[0]
    assert "epoch   2/2" in printed


@pytest.mark.parametrize(
    "name",
    [
        "curves",
        "precision_recall",
        "thresholds",
        "predictions",
        "worst",
        "by_coverage",
        "reliability",
        "examples",
        "coverage",
    ],
)
def test_every_figure_is_drawn(runs, name):
    with Image.open(runs[0] / f"plain/plots/{name}.png") as image:
        assert min(image.size) > 300
        # Ink, not a blank page.
        assert np.asarray(image.convert("L")).std() > 10


def test_a_finished_run_prints_its_result_and_does_nothing(runs):
    workdir = runs[0] / "plain"
    before = (workdir / "result.json").stat().st_mtime_ns
    done = launch("--config=configs/quickstart.py", f"--workdir={workdir}", *TINY)
    assert done.returncode == 0
    assert "complete" in done.stdout
    loss = json.loads((workdir / "result.json").read_text())["test"]["loss"]
    assert f"{loss:.4f}" in done.stdout
    assert (workdir / "result.json").stat().st_mtime_ns == before


def test_another_config_is_refused_in_that_folder(runs):
    workdir = runs[0] / "plain"
    options = (*TINY, "--config.model.skip=False")
    done = launch("--config=configs/quickstart.py", f"--workdir={workdir}", *options)
    assert_refused(done, "model.skip: True there, False now", "--overwrite")


def test_compare_lists_the_runs_and_what_differs(runs):
    folder, _ = runs
    options = (*TINY, "--config.model.skip=False", "--config.model.norm=none")
    done = launch(
        "--config=configs/quickstart.py", f"--workdir={folder}/no_skip", *options
    )
    assert done.returncode == 0, done.stderr
    (folder / "unfinished").mkdir()
    (folder / "unfinished/config.json").write_text("{}")
    done = launch("--mode=compare", f"--workdir={folder}")
    assert done.returncode == 0, done.stderr
    assert "unfinished: not complete yet" in done.stdout
    with open(folder / "compare.csv", newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"plain", "no_skip"}
    assert (rows["plain"]["model.skip"], rows["no_skip"]["model.skip"]) == (
        "True",
        "False",
    )
    assert (rows["plain"]["model.norm"], rows["no_skip"]["model.norm"]) == (
        "group",
        "none",
    )
    assert "model.features" not in rows["plain"]
    result = json.loads((folder / "plain/result.json").read_text())
    assert float(rows["plain"]["test loss"]) == result["test"]["loss"]
    markdown = (folder / "compare.md").read_text().splitlines()
    assert len(markdown) == 4
    assert len({line.count("|") for line in markdown}) == 1
    assert (folder / "compare.png").stat().st_size > 5000


def test_check_describes_a_folder_and_trains_nothing(tile_folder, tmp_path):
    options = (f"--config.data.dir={tile_folder}", "--config.train.batch_size=8")
    done = launch(
        "--config=configs/unet.py", "--mode=check", f"--workdir={tmp_path}/r", *options
    )
    assert done.returncode == 0, done.stderr
    assert "30 tiles of 10×12 pixels" in done.stdout
    assert "8 without salt (26.7%)" in done.stdout
    assert "21 train" in done.stdout
    assert {path.name for path in (tmp_path / "r").rglob("*")} == {
        ".lock",
        "plots",
        "examples.png",
        "coverage.png",
    }


@pytest.mark.parametrize(
    ("signum", "status", "line"),
    [
        (signal.SIGTERM, 143, "epoch   1/"),
        (signal.SIGINT, 130, "epoch   1/"),
        (signal.SIGTERM, 143, "Compiling"),
    ],
)
def test_a_signal_ends_the_program_with_its_status(tmp_path, signum, status, line):
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}/run", *TINY)
    command = [
        sys.executable,
        "-u",
        str(ROOT / "launch.py"),
        *options,
        "--config.train.epochs=5000",
        "--config.model.dropout=0.3",  # compiled by no other test
    ]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    for found in process.stdout:
        if found.startswith(line):
            break
    time.sleep(1)  # into the compilation, or the next epochs
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "the same command goes on" in errors
    assert "Traceback" not in errors


def test_a_terminal_without_fine_characters_is_no_reason_to_fail(runs):
    options = ("--config=configs/quickstart.py", f"--workdir={runs[0]}/plain", *TINY)
    command = [sys.executable, str(ROOT / "launch.py"), *options]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, check=False, env=env, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_help_needs_no_heavy_imports():
    code = (
        "import runpy, sys; sys.argv = ['launch.py', '--help'];"
        "runpy.run_path('launch.py', run_name='__main__'); print('LOADED', *sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    usage, loaded = done.stdout.split("LOADED")
    assert "--workdir" in usage
    assert not {"jax", "flax", "numpy", "matplotlib", "sklearn"} & set(loaded.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("launch", {"jax", "matplotlib", "sklearn", "numpy"}),
        ("saltjax.train", {"matplotlib", "sklearn", "scipy.stats"}),
    ],
)
def test_heavy_libraries_wait_until_they_are_needed(module, unwanted):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not unwanted & set(done.stdout.split())
