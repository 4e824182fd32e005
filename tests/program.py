"""Starts the program as a user does."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
# Many times what a command takes on a machine that does nothing else.
SECONDS = 900
TINY = (
    "--config.data.synthetic_count=50",
    "--config.data.image_size=16",
    "--config.model.features=(4,8)",
    "--config.train.batch_size=8",
    "--config.train.epochs=2",
    "--config.train.cpu_devices=4",  # as the tests themselves, which apply these runs
)


def launch(*args, cwd=ROOT):
    """Runs launch.py; returns the finished process, with stdout and stderr as text."""
    command = [sys.executable, str(ROOT / "launch.py"), *map(str, args)]
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def assert_refused(done, *words):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
