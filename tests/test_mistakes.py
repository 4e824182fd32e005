"""Mistakes and damage: status 2, a message that says what is wrong and what to do, no traceback."""

import json
import pathlib
import shutil
import subprocess
import sys

import forked
import pytest
from program import ROOT, TINY, assert_refused


def test_check_names_bad_files_with_status_2(tile_folder):
    (tile_folder / "images/t03.png").write_bytes(b"garbage")
    (tile_folder / "masks/t05.png").unlink()
    done = forked.launch(
        "--config=configs/unet.py", "--mode=check", f"--config.data.dir={tile_folder}"
    )
    assert_refused(done, "images/t03.png", "images/t05.png", "2 bad file(s)")


def test_a_misspelt_flag_is_not_attributed_to_the_config_file():
    done = forked.launch("--config=configs/unet.py", "--workdr=x")
    assert_refused(done, "Error: Unknown command line flag 'workdr'")
    assert "unet.py" not in done.stderr


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
        (
            ("--config=configs/unet.py", "--config.optim.warmup_epochs=3"),
            ["config.optim.warmup_epochs=3", "only cosine has a warm-up: expected 0"],
        ),
        (
            ("--config=configs/best.py", "--config.train.epochs=5"),
            ["warmup_epochs=5 of config.train.epochs=5; expected fewer"],
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
def test_a_mistake_ends_with_status_2_and_is_named(args, words, tmp_path):
    if "--mode=compare" not in args:
        args = (*args, f"--workdir={tmp_path}/run")
    assert_refused(forked.launch(*args), *words)


def test_an_error_in_a_config_file_is_reported(tmp_path):
    (tmp_path / "broken.py").write_text("def get_config():\n    return 1 / 0\n")
    assert_refused(
        forked.launch(f"--config={tmp_path}/broken.py"), "division by zero", "broken.py"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "config.train.epochs = 'ten'",
            ["config.train.epochs='ten'", "a whole number, such as 100"],
        ),
        ("config.train.epochs = None", ["config.train.epochs=None"]),
        ("config.model.features = 8", ["config.model.features=8", "tuple"]),
        ("config.model.skip = 'no'", ["config.model.skip='no'", "True or False"]),
        ("config.data.dir = 5", ["config.data.dir=5", "str"]),
        ("raise SystemExit('bye')", ["bye"]),
    ],
)
def test_wrong_types_in_a_config_file_are_refused(tmp_path, line, words):
    (tmp_path / "own.py").write_text(
        "from configs import default\n\ndef get_config():\n"
        "    config = default.get_config().unlock()\n"
        f"    with config.ignore_type():\n        {line}\n    return config\n"
    )
    assert_refused(forked.launch(f"--config={tmp_path}/own.py"), "own.py", *words)


def test_unknown_and_missing_settings_of_a_config_file_are_refused(tmp_path):
    (tmp_path / "typo.py").write_text(
        "from configs import final\n\ndef get_config():\n    config = final.get_config()\n"
        "    config.optim.weigth_decay = 0.1\n    return config\n"
    )
    assert_refused(
        forked.launch(f"--config={tmp_path}/typo.py"), "weigth_decay", "weight_decay"
    )
    (tmp_path / "own.py").write_text(
        "from ml_collections import ConfigDict\n\ndef get_config():\n"
        "    return ConfigDict({'seed': 0, 'color': 'red'})\n"
    )
    assert_refused(
        forked.launch(f"--config={tmp_path}/own.py"),
        "missing settings: ",
        "model.name",
        "unknown settings: color",
    )


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--flagfile=/nowhere",), ["Error: Unable to open", "/nowhere"]),
        (
            ("--config=configs/unet.py:wide",),
            ["--config=configs/unet.py:wide: no such file"],
        ),
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
def test_malformed_command_lines_are_refused(args, words):
    assert_refused(forked.launch(*args), *words)


DAMAGES = {
    "text": lambda config, result: result["test"].update(loss="abc"),
    "null": lambda config, result: result.update(parameters=None),
    "no-data": lambda config, result: result.pop("data"),
    "no-dict": lambda config, result: result.update(data="x"),
    "no-low": lambda config, result: result["test_native"]["iou"].pop("low"),
    "config": lambda config, result: config.update(model=3),
}


def damage(run, folder):
    """Writes config and result of a run with each of DAMAGES into a directory of its name."""
    for name, change in DAMAGES.items():
        config, result = (
            json.loads((run / f"{kind}.json").read_text())
            for kind in ("config", "result")
        )
        change(config, result)
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
        (folder / name / "result.json").write_text(json.dumps(result))


@pytest.mark.slow
def test_a_run_with_a_damaged_result_is_tested_again(runs, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(runs[0] / "plain", plain)
    before = json.loads((plain / "result.json").read_text())
    options = ("--config=configs/quickstart.py", f"--workdir={plain}", *TINY)
    for content in ("[" * 100_000, '{"test": "x"}'):
        (plain / "result.json").write_text(content)
        assert_refused(forked.launch(*options), "result.json", "damaged", "delete it")
    (plain / "result.json").unlink()
    assert forked.launch(*options).returncode == 0
    assert json.loads((plain / "result.json").read_text()) == before


def test_a_result_without_its_config_is_refused(runs, tmp_path):
    (tmp_path / "result.json").write_bytes((runs[0] / "plain/result.json").read_bytes())
    options = ("--config=configs/quickstart.py", f"--workdir={tmp_path}", *TINY)
    assert_refused(forked.launch(*options), "has a result.json but no config.json")


@pytest.mark.parametrize(
    ("options", "output", "status"),
    [
        ("--config=configs/unet.py --help", ">&-", 0),
        ("--config=configs/unet.py --config.seed=-1", ">&-", 2),
        ("--config=configs/unet.py --config.seed=-1", "2>/dev/full", 2),
        ("--config=configs/unet.py --help", ">/dev/full 2>/dev/full", 2),
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


def test_special_characters_in_names_of_runs(runs, tmp_path):
    shutil.copytree(runs[0] / "plain", tmp_path / "a|b $^$ x")
    (tmp_path / "damaged").mkdir()
    for name in ("config", "result"):
        (tmp_path / f"damaged/{name}.json").write_text("{}")
    damage(runs[0] / "plain", tmp_path)
    done = forked.launch("--mode=compare", f"--workdir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "damaged: left out" in done.stdout
    assert done.stdout.count(": left out (") == 1 + len(DAMAGES)
    assert r"a\|b $^$ x" in (tmp_path / "compare.md").read_text()


def test_a_mistake_does_not_block_the_directory(tmp_path):
    workdir = tmp_path / "run"
    options = ("--config=configs/quickstart.py", f"--workdir={workdir}", *TINY)
    done = forked.launch(*options, "--config.data.dir=nowhere")
    assert_refused(done, "nowhere/images")
    assert not workdir.exists()
    # Another config than that of the first command is not refused.
    done = forked.launch(*options, "--config.data.dir=elsewhere", "--config.seed=1")
    assert_refused(done, "elsewhere/images")


@pytest.mark.parametrize(
    "args",
    [
        ("--mode=predict", "--workdir=runs", "--input={}.sgy", "--output=x"),
        ("--mode=predict", "--workdir={}", "--input=docs/quickstart.png", "--output=x"),
        ("--mode=evaluate", "--workdir={}"),
        ("--mode=export", "--workdir={}", "--output=x"),
        ("--mode=compare", "--workdir={}"),
        ("--mode=check", "--config=quickstart", "--workdir={}", *TINY),
        ("--config=quickstart", "--workdir={}", *TINY),
        ("--config=quickstart", "--config.data.dir={}"),
        ("--config={}.py",),
    ],
    ids=" ".join,
)
def test_a_path_that_the_file_system_refuses_is_named(tmp_path, args):
    # Too long a name: permissions, which it answers for in the same way, do not hold for root.
    long = f"{tmp_path}/{'a' * 300}"
    done = forked.launch(*(arg.format(long) for arg in args))
    assert_refused(done, long, "File name too long")
