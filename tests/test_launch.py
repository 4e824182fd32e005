"""The program: what it leaves, its command line, its exit statuses, its imports."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import forked
import numpy as np
import pytest
from PIL import Image
from program import ROOT, TINY, assert_refused, launch

from saltjax import __main__
from saltjax.system.errors import InputError

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
            "mean_iou",
            "mean_class_accuracy",
        )
    },
    "by_coverage": list,
    "calibration": {"ece": float, "bins": list},
    "test_units": int,
    "eval": {"threshold_metric": str, "min_area": int, "tta": bool},
}


def assert_shape(value, expected):
    if isinstance(expected, dict):
        assert set(value) == set(expected)
        for key in expected:
            assert_shape(value[key], expected[key])
    else:
        assert isinstance(value, expected)


def test_a_run_writes_the_documented_files(runs, plain):
    workdir, printed = plain, runs[1]
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
    (env,) = json.loads((workdir / "env.json").read_text())
    assert env["versions"]["jax"]
    assert "--config=configs/quickstart.py" in env["command"]
    with open(workdir / "metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    with np.load(workdir / "test_outputs.npz") as file:
        assert file["ids"].tolist() == splits["test"]
        assert file["probabilities"].shape == file["labels"].shape == (8, 101, 101)
    for name in ("best", "last"):
        assert (workdir / "checkpoints" / name).is_dir()
    # That the data are not real is printed first.
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
def test_every_figure_is_drawn(plain, name):
    with Image.open(plain / f"plots/{name}.png") as image:
        assert min(image.size) > 300
        # Not a blank page.
        assert np.asarray(image.convert("L")).std() > 10


def test_a_finished_run_prints_its_result_and_keeps_it(plain):
    before = (plain / "result.json").stat().st_mtime_ns
    done = forked.launch("--config=configs/quickstart.py", f"--workdir={plain}", *TINY)
    assert done.returncode == 0
    assert "complete" in done.stdout
    loss = json.loads((plain / "result.json").read_text())["test"]["loss"]
    assert f"{loss:.4f}" in done.stdout
    assert (plain / "result.json").stat().st_mtime_ns == before


def test_characters_that_a_terminal_cannot_show_are_replaced(plain):
    options = ("--config=configs/quickstart.py", f"--workdir={plain}", *TINY)
    command = [sys.executable, str(ROOT / "launch.py"), *options]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, check=False, env=env, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr
    interval = rb"IoU 0\.\d{4} \(0\.\d{4}\?0\.\d{4}\)"
    assert re.search(interval, done.stdout)


def test_another_config_is_refused_in_that_directory(plain):
    options = (*TINY, "--config.model.skip=False")
    done = forked.launch(
        "--config=configs/quickstart.py", f"--workdir={plain}", *options
    )
    assert_refused(done, "model.skip: True there, False now", "--overwrite")


@pytest.fixture(scope="module")
def no_skip(tmp_path_factory):
    """A run of a config given by name, after its overrides, from another working directory."""
    cwd = tmp_path_factory.mktemp("elsewhere")
    options = ("--config.model.skip=False", "--config.model.norm=none")
    done = forked.launch(*TINY, *options, "--config=quickstart", cwd=cwd)
    assert done.returncode == 0, done.stderr
    (workdir,) = (cwd / "runs").iterdir()
    return workdir


@pytest.mark.slow
def test_a_config_by_name_after_its_overrides_from_another_directory(no_skip):
    assert no_skip.name == (
        "quickstart-data.image_size=16-data.synthetic_count=50-model.features=4x8-"
        "model.norm=none-model.skip=False-train.batch_size=8-"
        "train.epochs=2"
    )
    config = json.loads((no_skip / "config.json").read_text())
    assert config["model"]["features"] == [4, 8]
    assert config["model"]["skip"] is False
    assert config["data"]["synthetic_count"] == 50
    # The config's own, which no override changes.
    assert config["optim"]["learning_rate"] == 3e-3
    result = json.loads((no_skip / "result.json").read_text())
    assert result["status"] == "completed"


@pytest.mark.slow
def test_compare_lists_the_runs_and_what_differs(plain, no_skip, tmp_path):
    shutil.copytree(plain, tmp_path / "plain")
    shutil.copytree(no_skip, tmp_path / "no_skip")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished/config.json").write_text("{}")
    done = forked.launch("--mode=compare", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "unfinished: not complete yet" in done.stdout
    with open(tmp_path / "compare.csv", newline="") as file:
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
    result = json.loads((plain / "result.json").read_text())
    assert float(rows["plain"]["test loss"]) == result["test"]["loss"]
    for name in rows:
        with open(tmp_path / name / "metrics.csv", newline="") as file:
            losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
        assert float(rows[name]["val loss"]) == min(losses)
    best = max(rows, key=lambda name: float(rows[name]["val F1"]))
    assert next(iter(rows)) == best
    markdown = (tmp_path / "compare.md").read_text().splitlines()
    assert len({line.count("|") for line in markdown[:4]}) == 1
    # Both have the same test tiles; the difference is that of their scores.
    (other,) = rows.keys() - {best}
    with open(tmp_path / "differences.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["run"], row["reference"], row["tiles"]) == (other, best, "8")
    native = [
        json.loads((tmp_path / name / "result.json").read_text())["test_native"]
        for name in (other, best)
    ]
    for title, key in (
        ("IoU", "iou"),
        ("F1", "f1"),
        ("accuracy at threshold", "accuracy"),
    ):
        expected = native[0][key]["value"] - native[1][key]["value"]
        assert float(row[title]) == pytest.approx(expected, abs=1e-9)
    assert (tmp_path / "compare.png").stat().st_size > 5000
    done = forked.launch(
        "--mode=compare", f"--workdir={tmp_path}", f"--reference={other}"
    )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "differences.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["run"], row["reference"]) == (best, other)
    done = forked.launch(
        "--mode=compare", f"--workdir={tmp_path}", "--reference=previous"
    )
    assert done.returncode == 0, done.stderr
    assert "gains over the row above" in done.stdout
    with open(tmp_path / "differences.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["run"], row["reference"]) == ("plain", "no_skip")
    assert "model.skip=True" in row["changes"].split(", ")


@pytest.mark.slow
@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize(
    ("signum", "status", "line"),
    [
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
    ]
    env = dict(os.environ)
    if line == "Compiling":
        # At XLA's default level, and not from the cache, it takes several seconds.
        del env["XLA_FLAGS"], env["JAX_COMPILATION_CACHE_DIR"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True
    )
    try:
        for found in process.stdout:
            if found.startswith(line):
                break
        time.sleep(1)  # into the compilation, or the next epochs
        process.send_signal(signum)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status
    assert "the same command resumes from here" in errors
    assert "Traceback" not in errors


def test_a_list_of_directories_whose_names_may_have_commas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-features=4,8").mkdir()
    assert [*map(str, __main__.workdirs("a-features=4,8"))] == ["a-features=4,8"]
    assert [*map(str, __main__.workdirs("a,runs/b"))] == ["a", "runs/b"]
    folds = [f"unet-data.folds=5-data.fold={fold}-{'x' * 60}" for fold in range(5)]
    assert [*map(str, __main__.workdirs(",".join(folds)))] == folds
    (tmp_path / "b-features=8,16").mkdir()
    both = "a-features=4,8,c,b-features=8,16"
    expected = ["a-features=4,8", "c", "b-features=8,16"]
    assert [*map(str, __main__.workdirs(both))] == expected
    with pytest.raises(InputError, match="one of its names is empty"):
        __main__.workdirs("a,,b")


@pytest.mark.slow
def test_a_run_whose_output_is_piped_to_head_is_completed(tmp_path):
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}/run", *TINY)
    command = shlex.join([sys.executable, "launch.py", *options])
    done = subprocess.run(
        ["bash", "-c", command + " | head -1; echo status ${PIPESTATUS[0]}"],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == [
        "These are built-in synthetic sections, not real data.",
        "status 0",
    ]
    assert done.stderr.splitlines() == [
        "Standard output was closed; the program goes on and prints no more."
    ]
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["status"], result["epochs"]) == ("completed", 2)


@pytest.mark.slow
def test_programs_from_the_compile_cache_are_loaded_in_silence(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    cache = f"--config.train.compile_cache={tmp_path}/cache"
    # The second one, a process of its own, loads what the first one has compiled.
    for start in (forked.launch, launch):
        workdir = f"--workdir={tmp_path}/{start.__module__}"
        done = start("--config=configs/quickstart.py", workdir, cache, *TINY)
        assert (done.returncode, done.stderr) == (0, "")
    assert any((tmp_path / "cache").iterdir())
