"""Configs by name, flags, and what the command line imports."""

import pathlib
import re
import subprocess
import sys

import forked
import pytest
from program import ROOT, assert_refused

CONFIGS = ("best", "default", "fcn", "final", "quickstart", "unet", "unet_strided")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("form", ["{}", "{}.py", "configs/{}.py"])
def test_a_config_is_found_by_its_name_from_any_directory(tmp_path, name, form):
    done = forked.launch(
        f"--config={form.format(name)}", "--config.seed=-1", cwd=tmp_path
    )
    assert_refused(done, f"--config={ROOT}/configs/{name}.py: config.seed=-1")


def test_an_unknown_config_is_refused_with_a_list_of_all():
    done = forked.launch("--config=unet_wide")
    assert_refused(done, "--config=unet_wide: no such file", ", ".join(CONFIGS))
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} == {
        "__init__",
        *CONFIGS,
    }


@pytest.mark.parametrize(
    "override", ["--config.train.epochs=7", "--config.model.features=(4,8)"]
)
def test_overrides_without_a_config_are_refused_with_an_example(tmp_path, override):
    done = forked.launch(override)
    assert_refused(done, f"{override} overrides a setting", "no --config is given")
    (example,) = re.findall("expected for example (.*)", done.stderr)
    # The example, with a mistake that is found after everything else was accepted.
    done = forked.launch(*example.split(), "--config.data.dir=nowhere", cwd=tmp_path)
    assert_refused(done, "nowhere/images")
    assert override in example.split()


def test_what_is_suggested_outside_a_clone_is_there(tmp_path):
    done = forked.launch(cwd=tmp_path)
    assert_refused(done, "no --config given; for a first try: --config=quickstart\n")
    done = forked.launch("--config=quickstart", "--config.sed=1", cwd=tmp_path)
    path, _, rest = done.stderr.splitlines()[-1].partition(" ")
    assert (path, rest) == (f"{ROOT}/configs/default.py", "has all settings")
    done = forked.launch("--help", cwd=tmp_path)
    assert f"{path} has all settings" in " ".join(done.stdout.split())
    for name in ("--", "--config.seed=1"):
        done = forked.launch(name, cwd=tmp_path)
        assert_refused(done, "--config=unet")


def test_modes_that_take_the_settings_of_a_run_refuse_overrides():
    done = forked.launch("--mode=predict", "--config.eval.tta=True")
    words = ("--config.eval.tta=True: --mode=predict takes the settings of the run",)
    assert_refused(done, *words)


@pytest.mark.parametrize("words", [("--mode=evaluate",), ("--mode", "evaluate")])
def test_the_mode_of_an_override_can_be_a_word_of_its_own(words):
    done = forked.launch("--config.eval.tta=True", *words)
    assert_refused(done, "--mode=evaluate takes the settings of the run")


@pytest.mark.parametrize(
    "words",
    [
        ("--config=unt",),
        ("--config=unt.py",),
        ("--config", "nowhere/unet.py"),
        ("-config=/nowhere/unet.py",),
        ("--config=",),
        ("--config",),
        ("--config=configs",),  # a directory
        ("--config=~/unt.py",),
    ],
)
def test_a_wrong_config_is_refused_with_a_list_of_all_in_every_spelling(words):
    assert_refused(forked.launch(*words), "no such file", ", ".join(CONFIGS))


def test_a_flag_file_is_read_as_the_command_line_is(tmp_path):
    (tmp_path / "inner").write_text("--config.train.epochs=0\n")
    (tmp_path / "flags").write_text(
        f"# overrides before the config, by its name\n--flagfile={tmp_path}/inner\n"
        "--config.seed=-1\n\n--config=unet\n"
    )
    for words in (
        (f"--flagfile={tmp_path}/flags",),
        ("--flagfile", tmp_path / "flags"),
    ):
        done = forked.launch(*words)
        assert_refused(done, "config.seed=-1", "config.train.epochs=0", "unet.py")
    (tmp_path / "flags").write_text("--config.seed=1\n")
    done = forked.launch(f"--flagfile={tmp_path}/flags")
    assert_refused(done, "--config.seed=1 overrides a setting", "no --config is given")
    (tmp_path / "flags").write_text("--mode=evaluate\n--config.seed=1\n")
    done = forked.launch(f"--flagfile={tmp_path}/flags")
    assert_refused(done, "--mode=evaluate takes the settings of the run")


def test_the_home_directory_is_expanded(tmp_path):
    home = pathlib.Path.home()
    train = ("--config=unet", "--config.data.dir=~/nowhere")
    assert_refused(forked.launch(*train), f"cannot list {home}/nowhere/images")
    options = ("--workdir=~/run_a,~/run_b", "--output=~/out", "--input=~/nowhere.png")
    done = forked.launch("--mode=predict", *options)
    assert_refused(done, f"--input={home}/nowhere.png: no such file")
    done = forked.launch("--mode=compare", "--workdir=~/nowhere")
    assert_refused(done, f"--workdir={home}/nowhere: cannot list it")
    # In a config file no shell expands it.
    (tmp_path / "own.py").write_text(
        "from configs import unet\n\ndef get_config():\n    config = unet.get_config()\n"
        "    config.data.dir = '~/elsewhere'\n    return config\n"
    )
    done = forked.launch(f"--config={tmp_path}/own.py")
    assert_refused(done, f"cannot list {home}/elsewhere/images")


def test_all_paths_are_expanded_and_other_values_kept(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    paths = ["data.volume", "train.init_from", "train.compile_cache"]
    overrides = [f"--config.{name}=~/{name}" for name in paths]
    overrides += ["--config.data.labels=~/top,~/base"]
    overrides += ["--workdir=~/a,b,~/c", "--output=x~"]
    code = (
        "import sys; from saltjax import commandline, options\n"
        "commandline.parse(sys.argv, options.define); F = commandline.FLAGS\n"
        "print(F.config.data.volume, F.config.train.init_from)\n"
        "print(F.config.train.compile_cache, F.config.data.labels)\n"
        "print(F.config.data.resize, F.workdir, F.output, F.mode)"
    )
    command = [sys.executable, "-c", code, "--config=unet", *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *(f"/home/anna/{name}" for name in paths),
        *("/home/anna/top,/home/anna/base", "nearest"),
        *("/home/anna/a,b,/home/anna/c", "x~", "train"),
    ]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--config.optim.decoupled=nah", "True or False"),
        ("--tta=nah", "True or False"),
        ("--config.optim.learning_rate=a: b", "a number"),
        ("--config.train.epochs=1.5", "a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused(option, expected):
    done = forked.launch("--config=quickstart", option)
    assert_refused(done, f"Error: flag {option}: expected {expected}\n")


@pytest.mark.parametrize("mode", ["evaluate", "predict", "compare", "export"])
def test_modes_that_take_the_config_of_a_run_refuse_another(mode):
    done = forked.launch(f"--mode={mode}", "--config=unet", "--workdir=x")
    reason = f"--mode={mode} takes no --config: the settings are those of the run"
    assert_refused(done, reason)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("--config.model.features=(4,8)", "-config.model.features=(8,16)"),
            "--config.model.features is given twice",
        ),
        (("--", "--workdir=x"), "unexpected: --; expected only options"),
    ],
)
def test_flags_that_could_be_taken_otherwise_are_refused(args, message):
    assert_refused(forked.launch("--config=quickstart", *args), message)


def test_launch_only_starts_the_command_line():
    lines = (ROOT / "launch.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 80


@pytest.mark.parametrize("option", ["--help", "--mode=tain", "--config=unet_wide"])
def test_the_module_is_the_same_program(option):
    def run(*command):
        done = subprocess.run(
            [sys.executable, *command, option],
            check=False,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    status, output, errors = run("-m", "saltjax")
    there = run("launch.py")
    # Lines are broken elsewhere after another name.
    assert re.sub(r"[\\\s]+", " ", output) == re.sub(
        r"[\\\s]+", " ", there[1].replace("launch.py", "-m saltjax")
    )
    assert (status, errors) == (there[0], there[2])
    assert (status == 0) == bool(output)
    assert (status == 0) != bool(errors)


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
        ("saltjax", {"jax", "matplotlib", "sklearn", "numpy"}),
        ("saltjax.train", {"matplotlib", "sklearn", "scipy.stats"}),
    ],
)
def test_heavy_libraries_are_imported_when_they_are_needed(module, unwanted):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not unwanted & set(done.stdout.split())
