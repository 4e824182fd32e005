"""What a run depends on besides config and data: versions, devices, command line and commit."""

import os
import pathlib
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

from saltjax.system import console, files

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


def describe(devices: list) -> dict[str, Any]:
    """Returns the content of env.json; `devices` are the run's `jax.Device`s."""
    return {
        "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "devices": [str(d) for d in devices],
        "device_kind": devices[0].device_kind,
        "cpu_count": os.cpu_count(),
        "git_commit": git_commit(),
    }


def git_commit() -> str:
    """Returns the git commit of the source tree, with "-dirty" if it has changes; "" if none."""
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


def announce_device_change(workdir: pathlib.Path, environment: dict[str, Any]) -> None:
    """Prints a line if the run used other devices before: its results then differ by rounding."""
    path = workdir / "env.json"
    if not path.exists():
        return
    before, now = files.read_json(path).get("devices"), environment["devices"]
    if before != now:
        console.say(
            f"Devices    {len(before or [])} before, {len(now)} now: results are equal up to "
            "rounding"
        )
