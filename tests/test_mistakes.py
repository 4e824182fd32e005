"""Mistakes and damage: status 2, what is wrong, what to do, no traceback."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from program import ROOT, TINY, assert_refused, launch


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
        (
            ("--config=configs/unet.py", "--config.model.skp=False"),
            ["'skp'\nDid you mean \"skip\" instead"],
        ),
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
    for content in ("[" * 100_000, '{"test": "x"}'):
        (plain / "result.json").write_text(content)
        assert_refused(launch(*options), "result.json", "damaged", "delete it")
    (plain / "result.json").unlink()
    assert launch(*options).returncode == 0
    assert json.loads((plain / "result.json").read_text()) == before


def test_a_result_without_its_config_is_nobodys(runs, tmp_path):
    (tmp_path / "result.json").write_bytes((runs[0] / "plain/result.json").read_bytes())
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}", *TINY)
    assert_refused(launch(*options), "without a config.json")


@pytest.mark.parametrize(
    ("options", "output", "status"),
    [
        ("--config=configs/unet.py --help", ">&-", 0),
        ("--config=configs/unet.py --config.seed=-1", ">&-", 2),
        ("--config=configs/unet.py --help", ">/dev/full", 2),
        (
            "--config=configs/unet.py --mode=check --workdir={new} {tiny}",
            ">/dev/full",
            2,
        ),
        ("--config=configs/quickstart.py --workdir={plain} {tiny}", ">/dev/full", 2),
    ],
)
def test_a_closed_or_full_output_ends_without_a_traceback(
    runs, tmp_path, options, output, status
):
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    tiny = " ".join(f"'{option}'" for option in TINY)
    options = options.format(plain=runs[0] / "plain", new=tmp_path / "new", tiny=tiny)
    done = subprocess.run(
        f"{sys.executable} launch.py {options} {output}",
        check=False,
        shell=True,
        cwd=ROOT,
        capture_output=True,
    )
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    if output == ">/dev/full":
        assert b"Error: cannot write to standard output" in done.stderr


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


def test_a_mistake_leaves_the_folder_free(tmp_path):
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}/run", *TINY)
    assert_refused(launch(*options, "--config.data.dir=nowhere"), "nowhere")
    done = launch(*options)
    assert done.returncode == 0, done.stderr
