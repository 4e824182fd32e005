import datetime
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

import jax
import pytest
from program import ROOT, TINY

from saltjax.runs import environment
from saltjax.system import files
from saltjax.system.errors import InputError


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_describe_holds_time_command_versions_and_devices(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/saltjax/launch.py", "--config=x.py"])
    devices = jax.devices()[:2]
    found = environment.describe(devices)
    assert json.loads(json.dumps(found)) == found
    time = datetime.datetime.strptime(found["time"], "%Y-%m-%dT%H:%M:%SZ")
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert abs(now - time) < datetime.timedelta(minutes=1)
    assert found["command"] == ["launch.py", "--config=x.py"]
    assert found["python"] == "{}.{}.{}".format(*sys.version_info[:3])
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["saltjax"] == project()["version"]
    assert found["devices"] == [str(device) for device in devices]
    assert found["device_kind"] == "cpu"
    assert found["cpu_count"] == os.cpu_count()


def test_distribution_is_that_of_the_project():
    assert project()["name"] == environment.DISTRIBUTION


@pytest.mark.parametrize(
    ("pyproject", "expected"),
    [
        ('[project]\nname = "{name}"\nversion = "7.1"\n', "7.1"),
        ('[project]\nname = "another"\nversion = "7.1"\n', "5.0"),
        ("[project", "5.0"),
        ('project = "x"', "5.0"),
        (None, "5.0"),
    ],
)
def test_version_of_a_checkout_and_of_an_installed_package(
    tmp_path, monkeypatch, pyproject, expected
):
    folder = tmp_path / "saltjax/runs"
    monkeypatch.setattr(environment, "__file__", str(folder / "environment.py"))
    monkeypatch.setattr(importlib.metadata, "version", {"saltjax": "5.0"}.__getitem__)
    monkeypatch.setattr(environment, "DISTRIBUTION", "saltjax")
    if pyproject is not None:
        (tmp_path / "pyproject.toml").write_text(pyproject.format(name="saltjax"))
    assert environment.version() == expected


def test_version_is_unknown_where_nothing_says_it(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "a/b/environment.py"))
    monkeypatch.setattr(environment, "DISTRIBUTION", "no-such-package")
    assert environment.version() == "unknown"


@pytest.mark.slow
def test_a_checkout_runs_where_only_its_dependencies_are_installed(tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    for folder in map(pathlib.Path, sys.path):
        if folder.name in ("site-packages", "dist-packages"):
            for path in folder.iterdir():
                other = not path.name.lower().startswith(("saltjax", "__editable__"))
                if other and not (packages / path.name).exists():
                    (packages / path.name).symlink_to(path)
    # -S leaves out the environment's own packages, and with them what says where saltjax is.
    command = [sys.executable, "-S"]
    env = os.environ | {"PYTHONPATH": str(packages)}
    absent = "import importlib.metadata as m; m.version('{}')"
    probe = [*command, "-c", absent.format(environment.DISTRIBUTION)]
    probed = subprocess.run(
        probe, check=False, env=env, cwd=tmp_path, capture_output=True
    )
    assert b"PackageNotFoundError" in probed.stderr
    options = ("--config=quickstart", f"--workdir={tmp_path}/run", *TINY)
    done = subprocess.run(
        [*command, str(ROOT / "launch.py"), *options],
        check=False,
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (start,) = environment.read(tmp_path / "run")
    assert start["versions"]["saltjax"] == project()["version"]
    assert start["versions"]["jax"] == jax.__version__


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A directory `source/package` that holds what the program takes for its own module."""
    folder = tmp_path / "source/package"
    folder.mkdir(parents=True)
    (folder / "environment.py").write_text("")
    monkeypatch.setattr(environment, "__file__", str(folder / "environment.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in environment.GIT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return folder


def git(folder, *args):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(
        ["git", *identity, *args],
        check=True,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def commit(package):
    """The commit of a repository around the package, which it does not track."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    repository = package.parent
    git(repository, "init", "-q")
    (repository / "a.py").write_text("1")
    git(repository, "add", "a.py")
    git(repository, "commit", "-q", "-m", "first")
    git(repository, "tag", "-a", "v1", "-m", "a tag")
    return git(repository, "rev-parse", "HEAD")


def test_commit_is_empty_outside_a_repository(package):
    assert environment.git_commit() == ""


@pytest.mark.parametrize("ignored", [False, True])
def test_commit_is_not_that_of_a_foreign_repository(package, commit, ignored):
    if ignored:
        (package.parent / ".gitignore").write_text("package/\n")
    assert environment.git_commit() == ""


def test_commit_is_that_of_the_checkout(package, commit, monkeypatch, tmp_path):
    git(package, "add", "environment.py")
    git(package, "commit", "-q", "-m", "second")
    expected = git(package, "rev-parse", "HEAD")
    assert len(expected) == 40
    assert expected != commit
    assert environment.git_commit() == expected
    # As within a hook of another repository.
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert environment.git_commit() == expected
    (package.parent / "a.py").write_text("2")
    assert environment.git_commit() == f"{expected}-dirty"


def test_commit_is_empty_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.git_commit() == ""


START = {
    "time": "2031-02-03T04:05:06Z",
    "python": "3.11.7",
    "versions": {"jax": "0.10.1", "numpy": "2.1"},
    "devices": ["a", "b"],
    "device_kind": "cpu",
}


def test_every_start_is_recorded(tmp_path):
    assert environment.read(tmp_path) == []
    for time in ("first", "second", "third"):
        environment.record(tmp_path, START | {"time": time})
    times = [start["time"] for start in environment.read(tmp_path)]
    assert times == ["first", "second", "third"]


def test_the_one_start_of_an_earlier_version_is_kept(tmp_path):
    earlier = {key: START[key] for key in ("python", "versions", "devices")}
    files.write_json(tmp_path / "env.json", earlier)
    assert environment.read(tmp_path) == [earlier]
    environment.record(tmp_path, START)
    assert environment.read(tmp_path) == [earlier, START]


@pytest.mark.parametrize("content", ["", "3", "[3]", '[{"a": 1}, null]'])
def test_damaged_starts_are_refused_and_kept(tmp_path, content):
    (tmp_path / "env.json").write_text(content)
    with pytest.raises(InputError, match=r"env\.json: damaged .*restore or delete it"):
        environment.record(tmp_path, START)
    assert (tmp_path / "env.json").read_text() == content


@pytest.mark.parametrize(
    ("name", "starts", "expected"),
    [
        ("a", [["launch.py", "--config=configs/best.py"]], "a (config best)"),
        ("a", [["saltjax", "-config", "best", "--config.seed=1"]], "a (config best)"),
        ("a", [["x", "--config=unet", "--config=fcn"], ["x", "--config=unet"]], "a (config fcn)"),
        ("fcn-seed=1", [["launch.py", "--config=configs/fcn.py"]], "fcn-seed=1"),
        ("fcn", [["launch.py", "--config=configs/fcn.py"]], "fcn"),
        ("unet_strided", [["launch.py", "--config=unet"]], "unet_strided (config unet)"),
        ("a", [["launch.py", "--flagfile=b"]], "a"),
        ("a", [], "a"),
    ],
)  # fmt: skip
def test_label_of_a_run_has_the_config_that_it_began_with(
    tmp_path, name, starts, expected
):
    run = tmp_path / name
    run.mkdir()
    for command in starts:
        environment.record(run, {"command": command})
    assert environment.run_label(run) == expected


def test_changes_since_the_last_start_are_named(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    environment.record(tmp_path, START)
    environment.record(tmp_path, START | {"time": "later"})
    assert not caplog.records
    newer = {"jax": "0.10.2", "numpy": "2.1", "scipy": "1.15"}
    changed = START | {"devices": ["a"], "device_kind": "H100", "versions": newer}
    environment.record(tmp_path, changed)
    text = "devices 2 × cpu before, 1 × H100 now; jax 0.10.1 before, 0.10.2 now: from"
    assert text in caplog.text
    assert "numpy" not in caplog.text
    assert "scipy" not in caplog.text
    caplog.clear()
    environment.record(tmp_path, changed | {"python": "3.12.1"})
    assert "Changed    Python 3.11.7 before, 3.12.1 now: from" in caplog.text
    assert "H100" not in caplog.text
