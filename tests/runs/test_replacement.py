import dataclasses
import json
import signal
import subprocess
import sys

import pytest
import written_run

from saltjax.runs import replacement, result
from saltjax.system import files


def begin(workdir):
    """Writes a directory with an old result and its figures; returns another result."""
    (workdir / "result.json").write_text(json.dumps(written_run.RESULT))
    (workdir / "plots").mkdir()
    (workdir / "plots/curves.png").write_text("old")
    (workdir / "plots/coverage.png").write_text("data")
    return dataclasses.replace(result.read(workdir), best_epoch=5)


def found(workdir):
    """Returns the best epoch of result.json, and the figures, which are text here."""
    figures = {p.name: p.read_text() for p in (workdir / "plots").iterdir()}
    return result.read(workdir).best_epoch, figures


OLD = 2, {"curves.png": "old", "coverage.png": "data"}
NEW = 5, {"curves.png": "new", "worst.png": "new", "coverage.png": "data"}


def draw(figures):
    for name in ("curves.png", "worst.png"):
        (figures / name).write_text("new")


def test_result_and_figures_are_replaced_together(tmp_path):
    new = begin(tmp_path)
    with replacement.replace(tmp_path, new) as figures:
        draw(figures)
        assert found(tmp_path) == OLD
    assert found(tmp_path) == NEW
    assert {p.name for p in tmp_path.iterdir()} == {"plots", "result.json"}


def fail_after_drawing(workdir, new):
    with replacement.replace(workdir, new) as figures:
        draw(figures)
        raise ZeroDivisionError


def test_error_leaves_the_old_result_and_its_figures(tmp_path):
    new = begin(tmp_path)
    with pytest.raises(ZeroDivisionError):
        fail_after_drawing(tmp_path, new)
    assert found(tmp_path) == OLD
    assert {p.name for p in tmp_path.iterdir()} == {"plots", "result.json"}


REPLACE = """
import os, pathlib, signal, sys
from saltjax.runs import replacement, result

workdir, moment = pathlib.Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def counted(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

new = result.read(workdir / "new")
for name in ("mkdir", "write_text", "replace", "unlink"):
    setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
replacement.shutil.rmtree = counted(replacement.shutil.rmtree)
with replacement.replace(workdir, new) as figures:
    for name in ("curves.png", "worst.png"):
        (figures / name).write_text("new")
print(calls)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_result_with_its_figures(tmp_path):
    seen, moment = [], 1
    while True:
        workdir = tmp_path / str(moment)
        (workdir / "new").mkdir(parents=True)
        new = begin(workdir)
        files.write_json(workdir / "new/result.json", new)
        command = [sys.executable, "-c", REPLACE, str(workdir), str(moment)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        # What readers see before the next start.
        epoch, _ = found(workdir)
        replacement.recover(workdir)
        assert found(workdir) == (NEW if epoch == 5 else OLD)
        assert not (workdir / replacement.STAGE).exists()
        seen.append(epoch)
        moment += 1
    assert found(workdir) == NEW
    # Both outcomes occur, the old one first.
    assert seen == sorted(seen)
    assert set(seen) == {2, 5}
