"""saltjax used as a library."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import program
import pytest
import written_run
from prediction import random_traces, run_predict, set_threshold
from program import ROOT

import saltjax
from saltjax import export
from saltjax.system import output_directory


@pytest.fixture
def workdir(tmp_path):
    """A run that is read only."""
    written_run.write(tmp_path / "run")
    return tmp_path / "run"


def run_script(script, *args):
    """Runs a Python script in a process of its own; returns the finished process."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        check=False,
        cwd=program.ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.slow
def test_load_and_predict_import_no_training_code(workdir, tmp_path):
    script = """
import json, pathlib, sys
import numpy as np
import saltjax
assert "jax" not in sys.modules
saltjax.load(sys.argv[1]).predict(np.ones((12, 10), np.float32))
pathlib.Path(sys.argv[2]).write_text(json.dumps(sorted(sys.modules)))
"""
    done = run_script(script, workdir, tmp_path / "modules.json")
    assert done.returncode == 0, done.stderr
    imported = json.loads((tmp_path / "modules.json").read_text())
    assert "saltjax.inference.predictor" in imported
    # Of the data it needs no more than the mark of an unlabelled pixel.
    data = {name for name in imported if name.startswith("saltjax.data.")}
    assert data <= {"saltjax.data.tiles"}
    unwanted = ("saltjax.training", "saltjax.reporting", "optax")
    for name in (*unwanted, "saltjax.train", "matplotlib", "sklearn"):
        assert name not in imported
        assert not any(module.startswith(f"{name}.") for module in imported)


HOST = """
import json, logging, os, pathlib, signal, sys, warnings
import absl.logging, flax.linen, jax, jax.experimental.multihost_utils, ml_collections
import msgspec, orbax.checkpoint, rich.console, rich.progress, scipy
import numpy as np

def state():
    loggers = {name: logging.getLogger(name) for name in ("root", "absl", "saltjax")}
    return {
        "unraisablehook": sys.unraisablehook,
        "excepthook": sys.excepthook,
        "streams": (sys.stdout, sys.stderr, sys.stdout.errors, sys.stderr.errors),
        "filters": list(warnings.filters),
        "levels": {name: x.level for name, x in loggers.items()},
        "handlers": {name: list(x.handlers) for name, x in loggers.items()},
        "disabled": logging.root.manager.disable,
        "signals": [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "jax": dict(jax.config.values),
        "numpy": np.geterr(),
        "configs": "configs" in sys.modules,
    }

jax.devices()
before = state()
import saltjax
network = saltjax.load(sys.argv[1])
prob = network.predict(np.load(sys.argv[2]))
after = state()
for key, value in before.items():
    assert after[key] == value, (key, value, after[key])
np.save(sys.argv[3], prob)
"""


@pytest.mark.slow
def test_library_changes_nothing_in_its_host_program(workdir, tmp_path):
    section = random_traces(30, 40)
    np.save(tmp_path / "section.npy", section)
    before = (workdir / "result.json").read_text()
    done = run_script(HOST, workdir, tmp_path / "section.npy", tmp_path / "prob.npy")
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    expected = saltjax.load(workdir).predict(section)
    np.testing.assert_allclose(np.load(tmp_path / "prob.npy"), expected, atol=1e-6)
    assert (workdir / "result.json").read_text() == before


def test_the_library_gives_what_predict_writes(plain, tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    volume = random_traces(3, 20, 30)
    np.save(tmp_path / "cube.npy", volume)
    shutil.copytree(plain, tmp_path / "run")
    plain = tmp_path / "run"
    # With the run's own threshold all samples may be salt, or none.
    set_threshold(plain, np.median(saltjax.load(plain).predict(volume)))
    run_predict(plain, tmp_path / "cube.npy", tmp_path / "out")
    prob = np.load(tmp_path / "out/cube_prob.npy")
    mask = np.load(tmp_path / "out/cube_mask.npy")
    network = saltjax.load(plain)
    expected = network.predict(volume)
    assert prob.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, prob >= np.float32(network.threshold))
    assert network.network.model.features == (4, 8)
    assert 0.4 < mask.mean() < 0.6
    assert f"{mask.mean():.1%} of the samples" in caplog.text
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "cube_prob.npy",
        "cube_mask.npy",
        output_directory.RECORD,
    }


WITHOUT_POSIX = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in (
    (os, ("fork", "posix_fallocate", "sched_getaffinity", "getuid", "geteuid")),
    (signal, ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
os.process_cpu_count = os.cpu_count  # Python 3.13's asks sched_getaffinity, which Windows lacks
import numpy as np
import saltjax
from saltjax import __main__
workdir, source, output = sys.argv[1:]
options = ("--mode=predict", f"--workdir={workdir}", f"--input={source}", f"--output={output}")
sys.argv = ["saltjax", *options]
__main__.main()
np.save("prob.npy", saltjax.load(workdir).predict(np.load(source)))
"""


@pytest.mark.slow
def test_loading_and_predicting_need_nothing_that_windows_lacks(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(20, 20))
    args = [str(path) for path in (plain, tmp_path / "a.npy", tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, *args],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    message = "cannot be locked (not supported by this operating system)"
    assert done.stdout.count(message) == 1
    expected = saltjax.load(plain).predict(np.load(tmp_path / "a.npy"))
    for name in ("out/a_prob.npy", "prob.npy"):
        np.testing.assert_allclose(np.load(tmp_path / name), expected, atol=1e-6)


def test_load_refuses_what_is_no_run(tmp_path, plain):
    with pytest.raises(ValueError, match=r"config\.json"):
        saltjax.load(tmp_path)
    shutil.copytree(plain, tmp_path / "run")
    (tmp_path / "run/data.json").write_text("{}")
    with pytest.raises(ValueError, match=r"data\.json: damaged"):
        saltjax.load(tmp_path / "run")


def test_the_library_example_of_the_readme_runs(plain):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {"section": random_traces(20, 30)}
    exec(example.replace("runs/strided", str(plain)), names)
    assert names["prob"].shape == names["mask"].shape == (20, 30)


def test_the_example_of_the_network_file_runs(plain, tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs/networks.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    export.export(plain, "final.safetensors")
    capsys.readouterr()
    exec(example, {})
    scores = json.loads((plain / "result.json").read_text())["test_native"]
    assert capsys.readouterr().out == f"{scores}\n"
