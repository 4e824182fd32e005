"""Configs by name, flags, and what the command line imports."""

import re
import subprocess
import sys

import forked
import pytest
from program import ROOT, assert_refused

CONFIGS = ("default", "fcn", "final", "quickstart", "unet", "unet_strided")


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


def test_modes_that_take_the_settings_of_a_run_refuse_overrides():
    done = forked.launch("--mode=predict", "--config.eval.tta=True")
    words = ("--config.eval.tta=True: --mode=predict takes the settings of the run",)
    assert_refused(done, *words)


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
    module = str(ROOT / "saltjax/__main__.py")
    assert (status, output.replace(module, "launch.py"), errors) == run("launch.py")
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
