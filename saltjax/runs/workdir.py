"""The folder of a run: its lock, its config, and the files that tell what happened."""

import contextlib
import csv
import fcntl
import hashlib
import io
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import Any

from saltjax.system import console
from saltjax.system import files
from saltjax.system.errors import InputError

METRICS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "learning_rate",
    "seconds",
)
MAX_NAME_BYTES = 200
# A run may go on with others of these: they change nothing but rounding and, of "eval.", the test.
FREE_SETTINGS = (
    "train.cpu_devices",
    "train.compile_cache",
    "checkpoint.every_minutes",
    "predict.normalize",
    "predict.direction",
    "eval.threshold_metric",
    "eval.min_area",
    "eval.tta",
)
# config.json comes last: what is deleted without it would be taken for no run.
RUN_FILES = (
    "env.json",
    "data.json",
    "metrics.csv",
    "result.json",
    "evaluation.json",
    "config.json",
)
RUN_FOLDERS = ("checkpoints", "plots", "evaluation")
PACKAGES = (
    "saltjax",
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


def default_workdir(config_file: str, overrides: dict[str, Any]) -> str:
    """Returns the run folder for a config file and its overrides, of paths only the last part.

    A name too long for a file system is cut and ends with a hash of the whole.

    >>> default_workdir("configs/unet.py", {"model.skip": False, "data.dir": "/tgs/train/"})
    'runs/unet-data.dir=train-model.skip=False'
    """
    parts = [pathlib.Path(config_file).stem]
    for key, value in sorted(overrides.items()):
        text = value_text(value)
        last = pathlib.PurePath(text).name or text.replace("/", "_")
        parts.append(f"{key}={last}")
    name = "-".join(parts)
    encoded = os.fsencode(name)
    if len(encoded) > MAX_NAME_BYTES:
        digest = hashlib.sha256(encoded).hexdigest()[:12]
        name = encoded[:MAX_NAME_BYTES].decode(errors="ignore") + f"-{digest}"
    return f"runs/{name}"


def value_text(value: Any) -> str:
    """Returns a setting as it is written on a command line: (4, 8) is "4,8"."""
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


@contextlib.contextmanager
def lock(workdir: pathlib.Path) -> Iterator[None]:
    """Creates the folder and holds it: no other process can while this one does.

    If nothing was put into a folder that was made for it, the folder goes again.

    Raises:
      InputError: if it cannot be made or written, or another process holds it.
    """
    made = not workdir.exists()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(workdir / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise InputError(
            f"--workdir={workdir}: cannot write there ({error.strerror}); choose another folder"
        ) from None
    try:
        try:
            # The kernel drops the lock with the process, however it ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"--workdir={workdir}: another run is at work in it; wait for it, or choose another"
            ) from None
        if not _is_file(descriptor, workdir / ".lock"):
            raise InputError(f"--workdir={workdir}: another run has just ended; again")
        yield
    finally:
        if made and os.listdir(workdir) == [".lock"]:
            shutil.rmtree(workdir, ignore_errors=True)
        os.close(descriptor)


def _is_file(descriptor: int, path: pathlib.Path) -> bool:
    """Returns whether the open file is still what lies at the path."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def delete(workdir: pathlib.Path) -> None:
    """Deletes the run in a folder, config.json last, and nothing else that lies there.

    Raises:
      InputError: if files have a run's names but no config.json of ours is there, or if they
        cannot be deleted.
    """
    found = [name for name in (*RUN_FOLDERS, *RUN_FILES) if (workdir / name).exists()]
    # `check` draws figures into a folder that no run has claimed yet.
    if set(found) - {"plots"} and not _is_run(workdir):
        raise InputError(
            f"--overwrite: {workdir} holds {', '.join(found)} but no config.json of a run; "
            "delete them yourself, or choose another --workdir"
        )
    try:
        for name in found:
            path = workdir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise InputError(
            f"--overwrite: cannot delete {error.filename}: {error.strerror}"
        ) from None


def _is_run(workdir: pathlib.Path) -> bool:
    """Returns whether config.json, or metrics.csv where that is damaged, is one of ours."""
    try:
        if {"model", "optim", "train"} <= files.read_json(
            workdir / "config.json"
        ).keys():
            return True
    except InputError:
        pass
    try:
        with (workdir / "metrics.csv").open(encoding="utf-8") as file:
            return file.readline() == ",".join(METRICS) + "\n"
    except (OSError, ValueError):
        return False


def check_config(workdir: pathlib.Path, config: dict) -> None:
    """Raises InputError if the folder holds a run of another config, naming what differs.

    What differs in FREE_SETTINGS alone is no other config.
    """
    path = workdir / "config.json"
    if not path.exists():
        if (workdir / "result.json").exists():
            raise InputError(
                f"{workdir} holds a result.json without a config.json: whose result it is cannot "
                "be known; choose another --workdir"
            )
        return
    # As it will be read back: tuples are lists.
    before, now = files.read_json(path), json.loads(json.dumps(config))
    unknown = sorted(flatten(before).keys() - flatten(now).keys())
    if unknown:
        raise InputError(
            f"{path} has settings that this version does not know: {', '.join(unknown)}; a newer "
            "version wrote it, use that one, or choose another --workdir"
        )
    differences = [
        row for row in config_differences(before, now) if row[0] not in FREE_SETTINGS
    ]
    if differences:
        lines = [
            f"  {key}: {old!r} there, {new!r} now" for key, old, new in differences
        ]
        raise InputError(
            f"--workdir={workdir} holds a run of another config:\n"
            + "\n".join(lines)
            + "\nchoose another --workdir, or start anew with --overwrite"
        )


def tests_otherwise(workdir: pathlib.Path, config: dict) -> bool:
    """Returns whether the folder's run was tested with other settings of "eval."."""
    path = workdir / "config.json"
    return path.exists() and files.read_json(path).get("eval") != config["eval"]


def check_data(workdir: pathlib.Path, facts: dict) -> None:
    """Raises InputError if the folder's run began with other tiles than those of `facts`."""
    path = workdir / "data.json"
    if not path.exists():
        return
    before = files.read_json(path)
    if before.get("content_sha256") != facts["content_sha256"]:
        raise InputError(
            f"the data have changed since the run in {workdir} began: {before.get('tiles')} tiles, "
            f"hash {before.get('content_sha256')} then, {facts['tiles']} tiles, hash "
            f"{facts['content_sha256']} now; bring the old tiles back, or choose another --workdir"
        )
    if before.get("splits") != facts["splits"]:
        raise InputError(
            f"tiles are split otherwise than when the run in {workdir} began: has the file of "
            "config.data.groups changed? Bring it back, or choose another --workdir"
        )


def tell_device_change(workdir: pathlib.Path, environment: dict) -> None:
    """Says so if the folder's run was on other devices until now: no hindrance, but no secret."""
    path = workdir / "env.json"
    if path.exists():
        before = files.read_json(path).get("devices")
        if before != environment["devices"]:
            console.say(
                f"Devices    {len(before or [])} until now, {len(environment['devices'])} from "
                "here: the results stay the same up to rounding"
            )


def config_differences(old: dict, new: dict) -> list[tuple[str, Any, Any]]:
    """Returns (dotted key, old value, new value) for each setting that differs."""
    a, b = flatten(old), flatten(new)
    keys = sorted(a.keys() | b.keys())
    return [(k, a.get(k), b.get(k)) for k in keys if a.get(k) != b.get(k)]


def flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
    """Returns {"a.b": value} for {"a": {"b": value}}."""
    flat = {}
    if not isinstance(tree, dict):
        raise TypeError(f"{prefix or 'it'} holds {tree!r}, no settings")
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def write_metrics(workdir: pathlib.Path, history: Sequence[dict]) -> None:
    """Writes metrics.csv, a row for each epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, METRICS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    files.write_text(workdir / "metrics.csv", text.getvalue())


def environment(devices: list) -> dict:
    """Returns what the run depends on besides config and data: versions, devices, command, commit."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "devices": [str(d) for d in devices],
        "device_kind": devices[0].device_kind,
        "cpu_count": os.cpu_count(),
        "git_commit": _git_commit(),
    }


def _git_commit() -> str:
    """Returns the commit of the source tree, "" where there is none."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
