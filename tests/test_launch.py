"""The program started as a user starts it."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
TINY = (
    "--config.data.synthetic_count=50",
    "--config.data.image_size=16",
    "--config.model.features=(4,8)",
    "--config.train.batch_size=8",
    "--config.train.epochs=2",
)
RESULT_KEYS = {
    "status": str,
    "parameters": int,
    "epochs": int,
    "best_epoch": int,
    "stopped_early": bool,
    "train_seconds": float,
    "data": {"source": str, "dir": str, "train": int, "val": int, "test": int},
    "threshold": {"value": float, "f1": float},
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
}


def launch(*args, cwd=ROOT):
    """Runs launch.py; returns the finished process, with stdout and stderr as text."""
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, args)]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
    )


def assert_shape(value, expected):
    if isinstance(expected, dict):
        assert set(value) == set(expected)
        for key in expected:
            assert_shape(value[key], expected[key])
    else:
        assert isinstance(value, expected)


def assert_refused(done, *words):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of runs with one in it, called `plain`, and what was printed meanwhile."""
    folder = tmp_path_factory.mktemp("runs")
    done = launch("--config=configs/quickstart.py", f"--workdir={folder}/plain", *TINY)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


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


def test_check_names_bad_files_with_status_2(tile_folder):
    (tile_folder / "images/t03.png").write_bytes(b"garbage")
    (tile_folder / "masks/t05.png").unlink()
    done = launch(
        "--config=configs/unet.py", "--mode=check", f"--config.data.dir={tile_folder}"
    )
    assert_refused(done, "images/t03.png", "images/t05.png", "2 bad file(s)")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ["--config"]),
        (("--config=configs/nowhere.py",), ["configs/nowhere.py"]),
        (("--config=configs/unet.py", "--config.model.skp=False"), ["skp", "skip"]),
        (
            ("--config=configs/unet.py", "--config.train.epochs=many"),
            ["train.epochs", "many"],
        ),
        (
            ("--config=configs/unet.py", "--config.model.downsample=avg"),
            ["avg", "strided"],
        ),
        (
            ("--config=configs/unet.py", "--config.model.features=(True,4)"),
            ["features", "channels"],
        ),
        (("--config=configs/unet.py", "stray"), ["stray"]),
        (("--config=configs/unet.py", "--mode=tain"), ["mode", "train"]),
        (("--config=configs/unet.py", "--workdr=x"), ["workdr", "workdir"]),
        (("--mode=compare", "--workdir=nowhere"), ["nowhere"]),
        (("--mode=compare", "--overwrite"), ["--mode=compare takes no --overwrite"]),
        (("--config=configs/unet.py", "--config.data.dir=nowhere"), ["nowhere/images"]),
        (
            ("--config=configs/unet.py", "--config.data.synthetic_count=30"),
            ["30 tiles split into 21", "train.batch_size"],
        ),
    ],
)
def test_a_mistake_ends_with_status_2_and_says_which(args, words, tmp_path):
    done = (
        launch(*args, f"--workdir={tmp_path}/run")
        if "--mode=compare" not in args
        else launch(*args)
    )
    assert_refused(done, *words)


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_the_program_with_its_status(tmp_path, signum, status):
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}/run", *TINY)
    command = [
        sys.executable,
        "-u",
        str(ROOT / "launch.py"),
        *options,
        "--config.train.epochs=5000",
    ]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)
    for line in process.stdout:
        if line.startswith("epoch   1/"):
            break
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert "the same command goes on" in errors
    assert "Traceback" not in errors


def test_a_config_that_raises_is_the_users_mistake(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    assert_refused(
        launch(f"--config={tmp_path}/broken.py"), "division by zero", "broken.py"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("config.train.epochs = 'ten'", ["config.train.epochs='ten'", "int, as 100"]),
        ("config.train.epochs = None", ["config.train.epochs=None"]),
        ("config.model.features = 8", ["config.model.features=8", "tuple"]),
        ("config.model.skip = 'no'", ["config.model.skip='no'", "bool"]),
        ("config.data.dir = 5", ["config.data.dir=5", "str"]),
        ("raise SystemExit('bye')", ["bye"]),
    ],
)
def test_a_config_file_of_wrong_types_is_told(tmp_path, line, words):
    (tmp_path / "own.py").write_text(
        "from configs import default\n\ndef get_config():\n"
        "    config = default.get_config().unlock()\n"
        f"    with config.ignore_type():\n        {line}\n    return config\n"
    )
    assert_refused(launch(f"--config={tmp_path}/own.py"), "own.py", *words)


def test_an_unknown_or_lacking_key_in_a_config_file_is_told(tmp_path):
    (tmp_path / "typo.py").write_text(
        "from configs import final\n\ndef get_config():\n    config = final.get_config()\n"
        "    config.optim.weigth_decay = 0.1\n    return config\n"
    )
    assert_refused(
        launch(f"--config={tmp_path}/typo.py"), "weigth_decay", "weight_decay"
    )
    (tmp_path / "own.py").write_text(
        "from ml_collections import ConfigDict\n\ndef get_config():\n"
        "    return ConfigDict({'seed': 0, 'color': 'red'})\n"
    )
    assert_refused(
        launch(f"--config={tmp_path}/own.py"), "lacks", "model.name", "color"
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--flagfile=/nowhere",), ["/nowhere"]),
        (("--config=configs/unet.py:wide",), ["takes 0 positional arguments"]),
        (
            (
                "--config=configs/unet.py",
                "--config.model.features=(4,8)",
                "--config.model.features=(2,)",
            ),
            ["--config.model.features is given twice"],
        ),
    ],
)
def test_odd_command_lines_are_refused(args, words):
    assert_refused(launch(*args), *words)


DAMAGES = {
    "text": lambda config, result: result["test"].update(loss="abc"),
    "null": lambda config, result: result.update(parameters=None),
    "no-data": lambda config, result: result.pop("data"),
    "no-dict": lambda config, result: result.update(data="x"),
    "no-low": lambda config, result: result["test_native"]["iou"].pop("low"),
    "config": lambda config, result: config.update(model=3),
}


def damage(run, folder):
    """Copies config and result of a run for each of DAMAGES into the folder, damaged so."""
    for name, change in DAMAGES.items():
        config, result = (
            json.loads((run / f"{kind}.json").read_text())
            for kind in ("config", "result")
        )
        change(config, result)
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
        (folder / name / "result.json").write_text(json.dumps(result))


def test_a_damaged_result_is_tested_anew(runs, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(runs[0] / "plain", plain)
    before = json.loads((plain / "result.json").read_text())
    options = ("--config=configs/quickstart.py", f"--workdir={plain}", *TINY)
    for content in ("{", "[" * 100_000, '{"test": "x"}'):
        (plain / "result.json").write_text(content)
        assert_refused(launch(*options), "result.json", "damaged", "delete it")
    (plain / "result.json").unlink()
    assert launch(*options).returncode == 0
    assert json.loads((plain / "result.json").read_text()) == before


def test_a_result_without_its_config_is_nobodys(runs, tmp_path):
    (tmp_path / "result.json").write_bytes((runs[0] / "plain/result.json").read_bytes())
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}", *TINY)
    assert_refused(launch(*options), "without a config.json")


def test_a_closed_or_full_output_ends_without_a_traceback(tmp_path):
    command = f"{sys.executable} {ROOT}/launch.py --config=configs/unet.py"
    for more, status in (("--help >&-", 0), ("--config.seed=-1 >&-", 2)):
        done = subprocess.run(
            f"{command} {more}", check=False, shell=True, cwd=ROOT, capture_output=True
        )
        assert done.returncode == status
        assert b"Traceback" not in done.stderr
    if pathlib.Path("/dev/full").exists():
        done = subprocess.run(
            f"{command} --mode=check --config.data.synthetic_count=60 "
            f"--workdir={tmp_path}/x >/dev/full",
            check=False,
            shell=True,
            cwd=ROOT,
            capture_output=True,
        )
        assert done.returncode == 2
        assert b"cannot write to standard output" in done.stderr
        assert b"Traceback" not in done.stderr


def test_dollars_and_bars_in_names_are_only_names(runs, tmp_path):
    shutil.copytree(runs[0] / "plain", tmp_path / "a|b $^$ x")
    (tmp_path / "damaged").mkdir()
    for name in ("config", "result"):
        (tmp_path / f"damaged/{name}.json").write_text("{}")
    damage(runs[0] / "plain", tmp_path)
    done = launch("--mode=compare", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "damaged: left out" in done.stdout
    assert done.stdout.count("left out, its files are damaged") == 1 + len(DAMAGES)
    assert r"a\|b $^$ x" in (tmp_path / "compare.md").read_text()


def test_a_terminal_without_fine_characters_is_no_reason_to_fail(runs):
    options = ("--config=configs/quickstart.py", f"--workdir={runs[0]}/plain", *TINY)
    command = [sys.executable, str(ROOT / "launch.py"), *options]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, check=False, env=env, cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_mistake_leaves_the_folder_free(tmp_path):
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}/run", *TINY)
    assert_refused(launch(*options, "--config.data.dir=nowhere"), "nowhere")
    done = launch(*options)
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
