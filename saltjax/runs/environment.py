"""What a run depends on besides config and data: versions, devices, command line and commit.

env.json is a list with an entry for each start of the run that trained or tested, oldest first.
"""

import datetime
import itertools
import os
import pathlib
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from saltjax.system import console, files, hosts

# The name under which the package is installed.
DISTRIBUTION = "saltjax-seismic"
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "ml_collections",
    "numpy",
    "pillow",
    "scikit-learn",
    "scipy",
    "matplotlib",
)
# The key of a start under which the weights are recorded that the run began with.
INITIAL = "init"
ADVICE = "restore or delete it; it only says where the run was trained"
# They would name another repository than the one that holds this file.
GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


def describe(devices: list) -> dict[str, Any]:
    """Returns an entry of env.json; `devices` are the run's `jax.Device`s."""
    now = datetime.datetime.now(datetime.UTC)
    return {
        "time": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": [_name(sys.argv[0]), *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {"saltjax": version()} | {p: _installed(p) for p in PACKAGES},
        "devices": [str(d) for d in devices],
        "device_kind": devices[0].device_kind,
        "processes": hosts.count(),
        "cpu_count": os.cpu_count(),
        "git_commit": git_commit(),
    }


def program() -> str:
    """Returns how this program was started, for commands to copy."""
    match _name(path := sys.argv[0]):
        case "launch.py":
            return f"{python()} {shlex.quote(path)}"
        case "__main__.py" | "benchmark.py":
            return f"{python()} -m saltjax"
        case "saltjax" if not _is_found("saltjax", path):
            return shlex.quote(path)
    return "saltjax"


def python() -> str:
    """Returns what starts this Python, for commands to copy: a name that a shell finds, or its path."""
    names = [n for n in ("python", "python3") if _is_found(n, sys.executable)]
    return names[0] if names else shlex.quote(sys.executable)


def _is_found(name: str, path: str) -> bool:
    """Returns whether a shell finds a command in the directory of this path."""
    found = shutil.which(name)
    return found is not None and _folder(found) == _folder(path)


def _folder(path: str) -> str:
    return os.path.normcase(os.path.dirname(os.path.abspath(path)))


def command_line(command: list[str]) -> str:
    """Returns the `command` of an entry of env.json as it is typed; "" if there is none.

    >>> command_line(["launch.py", "--config.model.features=(4,8)"])
    "python launch.py '--config.model.features=(4,8)'"
    """
    if not command:
        return ""
    first = {"launch.py": "python launch.py", "__main__.py": "python -m saltjax"}
    return " ".join([first.get(command[0], command[0]), *map(shlex.quote, command[1:])])


def resuming(command: list[str]) -> list[str]:
    """Returns the command with which a run goes on that this one began: it deletes nothing.

    >>> resuming(["launch.py", "--config=unet", "--overwrite"])
    ['launch.py', '--config=unet']
    """
    kept = [
        word
        for word in command
        if word.lstrip("-").partition("=")[0] not in ("overwrite", "nooverwrite")
    ]
    if any(word.lstrip("-").startswith("flagfile") for word in kept):
        kept.append("--nooverwrite")  # the file may hold --overwrite
    return kept


def last_of_each(words: Sequence[str]) -> list[str]:
    """Returns the words of a command line without flags that another one replaces later.

    >>> last_of_each(["--config=unet", "--config.seed=1", "--config.seed", "2"])
    ['--config=unet', '--config.seed', '2']
    """
    flags: list[list[str]] = []
    for word in words:
        if re.match(r"--?[A-Za-z]", word) or not flags:
            flags.append([word])
        else:
            flags[-1].append(word)  # its value
    last: dict[str, list[str]] = {}
    for number, flag in enumerate(flags):
        name = flag[0].lstrip("-").partition("=")[0]
        key = f"{name} {number}" if name == "flagfile" else name  # all are read
        last.pop(key, None)
        last[key] = flag
    return list(itertools.chain(*last.values()))


def _name(path: str) -> str:
    return pathlib.Path(path).name


def version() -> str:
    """Returns the version of saltjax: of a checkout what its pyproject.toml says, else "unknown".

    An installed package has no pyproject.toml, and its version is the installed one.
    """
    path = pathlib.Path(__file__).parents[2] / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        if project["name"] == DISTRIBUTION:
            return project["version"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return _installed(DISTRIBUTION)


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def git_commit() -> str:
    """Returns the git commit of the checkout, with "-dirty" if it has changes; "" if there is none.

    There is none where git does not track this file: a package in site-packages is no part of a
    repository around it.
    """
    here = pathlib.Path(__file__)
    tracked = _git("ls-files", "--error-unmatch", here.name, cwd=here.parent)
    if not tracked:
        return ""
    arguments = ("--always", "--dirty", "--abbrev=40", "--exclude=*")
    return _git("describe", *arguments, cwd=here.parent)


def _git(*arguments: str, cwd: pathlib.Path) -> str:
    """Returns what git prints, "" if it fails or is not installed."""
    env = {k: v for k, v in os.environ.items() if k not in GIT_VARIABLES}
    try:
        done = subprocess.run(
            ["git", *arguments],
            check=False,
            cwd=cwd,
            env=env,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.strip()


def record(workdir: pathlib.Path, start: dict[str, Any]) -> None:
    """Adds a start, of `describe`, to env.json; prints what has changed since the one before.

    Raises:
      InputError: if env.json is damaged, or cannot be written.
    """
    starts = read(workdir)
    if starts:
        announce_changes(starts[-1], start)
    files.write_json(workdir / "env.json", [*starts, start])


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the starts of a run, oldest first; none if there is no env.json.

    In version 0.1 env.json was the object of the last start.

    Raises:
      InputError: if env.json is damaged.
    """
    path = workdir / "env.json"
    if not path.exists():
        return []
    starts: Any = files.read_any_json(path, ADVICE)
    if isinstance(starts, dict):
        starts = [starts]
    if not isinstance(starts, list) or not all(isinstance(s, dict) for s in starts):
        raise files.damaged(path, "no list of objects", ADVICE)
    return starts


def initial(starts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns what is recorded of the weights that a run began with; {} for random ones."""
    records = [start[INITIAL] for start in starts if INITIAL in start]
    return records[-1] if records and isinstance(records[-1], dict) else {}


def run_label(workdir: pathlib.Path) -> str:
    """Returns the name of a run for figures, with that of its config unless its own begins with it.

    The config is that of the command line that began the run; it is left out where that is not known,
    as of a network file.

    Raises:
      InputError: if env.json is damaged.
    """
    name = workdir.resolve().name
    command = [start.get("command") for start in read(workdir)[:1]]
    words = command[0] if command and isinstance(command[0], list) else []
    text = "\0".join(map(str, words))
    found = re.findall(r"(?:^|\0)--?config[=\0]([^\0]+)", text)
    config = pathlib.Path(found[-1]).stem if found else ""
    named = not config or name == config or name.startswith(f"{config}-")
    return name if named else f"{name} (config {config})"


def announce_changes(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Prints which devices and versions differ between two starts, if any."""
    older, newer = _compared(before), _compared(now)
    changes = [
        f"{name} {older[name]} before, {value} now"
        for name, value in newer.items()
        if name in older and older[name] != value
    ]
    if changes:
        console.say(
            f"Changed    {'; '.join(changes)}: from here on the run equals an uninterrupted one "
            "only up to rounding"
        )


def _compared(start: dict[str, Any]) -> dict[str, Any]:
    """Returns what `announce_changes` compares, by its name on the screen."""
    devices = f"{len(start.get('devices') or [])} × {start.get('device_kind')}"
    if (processes := start.get("processes", 1)) != 1:
        devices += f" of {processes} processes"
    versions = start.get("versions")
    found = {"devices": devices, "Python": start.get("python")}
    return found | (versions if isinstance(versions, dict) else {})
