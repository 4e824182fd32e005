"""The command that each command names at its end: it is the expected one, and works."""

import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

import forked
import numpy as np
import pytest
from prediction import random_traces
from program import ROOT, TINY
from tile_files import write_tiles

from saltjax import next_command
from saltjax.runs import environment

BIN = pathlib.Path(sys.executable).parent


def last_command(done):
    """Returns the command that a finished one names, as a text."""
    assert done.returncode == 0, done.stderr
    title, _, command = done.stdout.splitlines()[-1].partition(" ")
    assert title == "Next"
    assert command.startswith(" " * (len("Report     ") - len("Next ")))
    return command.lstrip()


def following(done):
    """Returns the words that a finished command names after the program, as a shell splits them."""
    python, program, *words = shlex.split(last_command(done))
    assert pathlib.Path(shutil.which(python)).parent == BIN
    assert program == str(ROOT / "launch.py")
    return words


@pytest.fixture
def challenge(tmp_path):
    """A directory "my data" as the challenge's: 30 tiles in train, images alone in test."""
    tiles = write_tiles(tmp_path / "my data/train", 30)
    shutil.copytree(tiles / "images", tmp_path / "my data/test/images")
    return tmp_path


@pytest.mark.slow
def test_from_the_check_to_predictions_each_command_names_the_next(challenge):
    config = ["--config=quickstart", "--config.data.dir=my data/train", *TINY]
    tail = "--workdir=runs/first run"

    def launch(words):
        return forked.launch(*words, cwd=challenge)

    train = following(launch(["--mode=check", *config, tail]))
    assert train == [*config, tail]
    predict = following(launch(train))
    source, output = "--input=my data/test", "--output=runs/first run/predictions"
    assert predict == ["--mode=predict", tail, source, output]
    report = following(launch(predict))
    assert len(list((challenge / "runs/first run/predictions/masks").iterdir())) == 30
    assert report == ["--mode=report", tail]
    export = following(launch(report))
    file = "runs/first run.safetensors"
    assert export == ["--mode=export", tail, f"--output={file}"]
    apply = following(launch(export))
    paths = [source, "--output=runs/first run/predictions"]
    assert apply == ["--mode=predict", f"--workdir={file}", *paths]
    done = launch(apply)
    assert following(done) == ["--mode=predict", "--help"]
    assert launch(following(done)).stdout.startswith("--mode=predict\n")


@pytest.mark.slow
def test_what_was_scored_is_predicted_alike_and_the_other_way_round(run, challenge):
    tiles, output = challenge / "my data/train", challenge / "out"
    given = [f"--workdir={run}", f"--input={tiles}"]
    chosen = ["--threshold=0.3", "--min_area=4", "--notta"]
    done = forked.launch("--mode=evaluate", *given, f"--output={output}", *chosen)
    predict = following(done)
    assert predict == [
        *("--mode=predict", *given, f"--output={output}/predictions", *chosen)
    ]
    evaluate = following(forked.launch(*predict))
    scores = f"--output={output}/predictions/scores"
    assert evaluate == ["--mode=evaluate", *given, scores, *chosen]
    report = following(forked.launch(*evaluate))
    assert report == ["--mode=report", f"--workdir={run}"]
    first, second = (
        pathlib.Path(folder, "evaluation.json").read_text()
        for folder in (output, output / "predictions/scores")
    )
    assert first == second


@pytest.mark.slow
def test_a_section_is_predicted_once_more_with_a_page(run, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(20, 20))
    words = [f"--workdir={run}", f"--input={tmp_path}/a.npy", f"--output={tmp_path}/o"]
    done = forked.launch("--mode=predict", "--threshold=0.3", *words)
    again = following(done)
    assert again == ["--mode=predict", *words, "--threshold=0.3", "--report"]
    # Then the page is looked at.
    command = last_command(forked.launch(*again))
    page = tmp_path / "o/a_report.html"
    assert page.exists()
    assert paste(command, BROWSER="echo").splitlines()[0] == page.as_uri()


@pytest.mark.slow
def test_a_run_on_synthetic_sections_that_is_alone_is_exported(run):
    place = f"--workdir={run}"
    done = forked.launch("--mode=evaluate", place)
    assert following(done) == ["--mode=report", place]
    done = forked.launch("--mode=report", place)
    assert following(done) == ["--mode=export", place, f"--output={run}.safetensors"]
    done = forked.launch("--mode=export", place, f"--output={run}.safetensors")
    last = ["--mode=predict", f"--workdir={run}.safetensors", "--help"]
    assert following(done) == last
    assert forked.launch(*last).returncode == 0


@pytest.mark.slow
def test_runs_beside_each_other_are_compared(run):
    shutil.copytree(run, run.parent / "other")
    place, both = f"--workdir={run}", f"--workdir={run.parent}"
    for mode in ("evaluate", "report"):
        assert following(forked.launch(f"--mode={mode}", place)) == [
            *("--mode=compare", both)
        ]
    page = forked.launch("--mode=report", both, "--reference=other")
    compare = following(page)
    assert compare == ["--mode=compare", both, "--reference=other"]
    report = following(forked.launch(*compare))
    assert report == ["--mode=report", both, "--reference=other"]
    export = following(forked.launch(*report))
    assert export[0] == "--mode=export"
    best = pathlib.Path(export[1].removeprefix("--workdir="))
    assert best in (run, run.parent / "other")
    assert export[2:] == [f"--output={best}.safetensors"]
    following(forked.launch(*export))


@pytest.mark.slow
def test_a_finished_run_that_is_trained_again_and_has_no_page_gets_it(run):
    (run / "report.html").unlink()
    done = forked.launch("--config=quickstart", f"--workdir={run}", *TINY)
    assert following(done) == ["--mode=report", f"--workdir={run}"]


@pytest.mark.slow
def test_the_report_of_an_interrupted_run_names_the_command_that_goes_on(run):
    (run / "result.json").unlink()
    moved = run.rename(run.with_name("moved"))
    done = forked.launch("--mode=report", f"--workdir={moved}")
    train = ["--config=configs/quickstart.py", *TINY, f"--workdir={moved}"]
    assert following(done) == train
    done = forked.launch(*train)
    assert done.returncode == 0
    assert "Resuming after epoch 2" in done.stdout


@pytest.mark.slow
def test_the_description_of_an_artifact_is_shown(run, tmp_path):
    output = tmp_path / "ex ported"
    done = forked.launch("--mode=export", f"--workdir={run}", f"--output={output}")
    command = last_command(done)
    assert command.endswith(f" -m json.tool '{output}/model.json'")
    assert '"threshold"' in paste(command)


@pytest.mark.slow
def test_the_line_can_be_pasted_into_a_shell(run):
    moved = run.rename(run.with_name("it's $HOME & `co`; 50%"))
    done = forked.launch("--mode=evaluate", f"--workdir={moved}")
    following(done)
    assert str(moved) in paste(done.stdout.splitlines()[-1].removeprefix("Next"))


def paste(command, **variables):
    """Returns what bash prints for a command."""
    done = subprocess.run(
        ["bash", "-c", command],
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--mode=check", "--config=quickstart", "--config.data.dir=nowhere"],
        ["--mode=report", "--workdir=nowhere"],
        ["--help"],
    ],
)
def test_nothing_is_named_after_an_error_or_help(words):
    done = forked.launch(*words)
    assert "Next" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["--config=unet", "--overwrite"], "--config=unet"),
        (["-overwrite=True", "--config=unet"], "--config=unet"),
        (["--flagfile=f"], "--flagfile=f --nooverwrite"),
        (["--workdir", "a b", "--config", "unet"], "--config unet"),
        (
            ["--config.seed=1", "--config=a", "-config.seed", "-2", "--config=b"],
            "-config.seed -2 --config=b",
        ),
        (
            ["--flagfile=f", "--flagfile=g"],
            "--flagfile=f --flagfile=g --nooverwrite",
        ),
    ],
)
def test_the_command_that_goes_on_repeats_no_flag_and_does_not_delete_the_run(
    tmp_path, monkeypatch, command, expected
):
    (tmp_path / "config.json").write_text("{}")
    start = {"command": ["launch.py", *command]}
    (tmp_path / "env.json").write_text(json.dumps([start]))
    monkeypatch.setattr(sys, "argv", ["launch.py"])
    found = next_command.find("report", [tmp_path])
    assert found == f"{environment.python()} launch.py {expected} --workdir={tmp_path}"


def test_a_run_on_a_volume_segments_it(tmp_path, monkeypatch):
    run, volume = tmp_path / "run", tmp_path / "salt.sgy"
    run.mkdir()
    (run / "report.html").write_text("")
    (run / "config.json").write_text(json.dumps({"data": {"volume": str(volume)}}))
    monkeypatch.setattr(sys, "argv", ["launch.py"])
    assert "--mode=export" in next_command.find("train", [run])
    volume.write_text("")
    assert next_command.find("train", [run]).endswith(
        f" --mode=predict --workdir={run} --input={volume} --output={run}/predictions"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("compare.csv", ""),
        ("compare.csv", "name,value\nunet,3\n"),
        ("config.json env.json", "[{}]"),
        ("config.json env.json", '[{"command": 3}]'),
        ("config.json env.json", '[{"command": [3, 4]}]'),
    ],
)
def test_files_that_are_damaged_or_of_others_end_nothing(
    tmp_path, caplog, name, content
):
    for each in name.split():
        (tmp_path / each).write_text(content)
    next_command.say("report", [tmp_path])
    assert "Next" not in caplog.text


@pytest.mark.parametrize(
    ("given", "others", "expected"),
    [
        (["--mode=check", "--config=a b"], ["mode"], "'--config=a b'"),
        (["--config", "c.py", "-mode", "check"], ["mode"], "--config c.py"),
        (
            ["--flagfile=f", "--config=unet"],
            ["mode"],
            "--flagfile=f --config=unet --mode=train",
        ),
        (
            ["--steps=3", "--batch", "4", "--config=unet"],
            ["steps", "batch"],
            "--config=unet",
        ),
        (["--config=a", "--config=b", "--mode=check"], ["mode"], "--config=b"),
    ],
)
def test_training_takes_the_flags_of_a_check_or_benchmark(
    monkeypatch, given, others, expected
):
    monkeypatch.setattr(sys, "argv", ["/x y/launch.py"])
    expected = f"{environment.python()} '/x y/launch.py' {expected}"
    assert next_command.training(given, others) == expected


@pytest.mark.parametrize(
    ("started", "found", "expected"),
    [
        ("launch.py", "/venv/bin/python", "python launch.py"),
        ("launch.py", "/usr/bin/python", "/venv/bin/python3.11 launch.py"),
        ("launch.py", None, "/venv/bin/python3.11 launch.py"),
        ("/a b/launch.py", "/venv/bin/python3", "python3 '/a b/launch.py'"),
        ("/x/saltjax/__main__.py", "/venv/bin/python", "python -m saltjax"),
        ("/x/saltjax/benchmark.py", None, "/venv/bin/python3.11 -m saltjax"),
        ("/venv/bin/saltjax", "/venv/bin/saltjax", "saltjax"),
        ("/venv/bin/saltjax", "/usr/bin/saltjax", "/venv/bin/saltjax"),
        ("/venv/bin/saltjax", None, "/venv/bin/saltjax"),
    ],
)
def test_a_command_begins_as_the_program_was_started(
    monkeypatch, started, found, expected
):
    monkeypatch.setattr(sys, "argv", [started])
    monkeypatch.setattr(sys, "executable", "/venv/bin/python3.11")

    def which(name):
        return found if found and pathlib.Path(found).name == name else None

    monkeypatch.setattr(shutil, "which", which)
    assert environment.program() == expected
