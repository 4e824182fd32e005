import importlib.metadata
import json
import os
import shutil
import subprocess
import sys

import jax
import pytest

from saltjax.runs import environment
from saltjax.system import files


def test_describe_holds_command_versions_and_devices(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/saltjax/launch.py", "--config=x.py"])
    devices = jax.devices()[:2]
    found = environment.describe(devices)
    assert json.loads(json.dumps(found)) == found
    assert found["command"] == ["launch.py", "--config=x.py"]
    assert found["python"] == "{}.{}.{}".format(*sys.version_info[:3])
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["saltjax"] == importlib.metadata.version("saltjax")
    assert found["devices"] == [str(device) for device in devices]
    assert found["device_kind"] == "cpu"
    assert found["cpu_count"] == os.cpu_count()


@pytest.fixture
def source_tree(tmp_path, monkeypatch):
    """An empty directory that the program takes for its source tree."""
    folder = tmp_path / "source"
    folder.mkdir()
    monkeypatch.setattr(environment, "__file__", str(folder / "environment.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_commit_is_that_of_the_source_tree(source_tree):
    def git(*args):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(
            ["git", *identity, *args],
            check=True,
            cwd=source_tree,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    assert environment.git_commit() == ""
    git("init", "-q")
    (source_tree / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-q", "-m", "first")
    git("tag", "-a", "v1", "-m", "a tag")
    commit = git("rev-parse", "HEAD")
    assert len(commit) == 40
    assert environment.git_commit() == commit
    (source_tree / "a.py").write_text("2")
    assert environment.git_commit() == f"{commit}-dirty"


def test_commit_is_empty_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_commit() == ""


def test_another_device_count_is_announced(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    environment.announce_device_change(tmp_path, {"devices": ["a", "b"]})
    files.write_json(tmp_path / "env.json", {"devices": ["a", "b"]})
    environment.announce_device_change(tmp_path, {"devices": ["a", "b"]})
    assert not caplog.records
    environment.announce_device_change(tmp_path, {"devices": ["a"]})
    assert "2 before, 1 now" in caplog.text
