"""The program in a fork of a process that has imported it already, which saves seconds a start."""

import itertools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

import quick
from program import ROOT, SECONDS

SERVER = multiprocessing.get_context("forkserver")
# No device is in use before the fork.
SERVER.set_forkserver_preload(
    [
        *(f"saltjax.{mode}" for mode in ("train", "check", "evaluate", "predict")),
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "scipy.ndimage",
        "sklearn.metrics",
    ]
)


def start(
    *args: object,
    stdout: pathlib.Path,
    stderr: pathlib.Path | None = None,
    cwd: pathlib.Path = ROOT,
    prepare: Callable[[], None] | None = None,
) -> multiprocessing.Process:
    """Starts the command line with these arguments in a process of its own.

    Args:
      args: the arguments.
      stdout: file that standard output is appended to.
      stderr: file that the errors are appended to; by default that of the output.
      cwd: the working directory.
      prepare: called in that process before the command line; at the top level of a module.
    """
    command = [str(ROOT / "launch.py"), *map(str, args)]
    child = SERVER.Process(
        target=_run, args=(command, stdout, stderr or stdout, cwd, prepare)
    )
    child.start()
    return child


def start_training(
    options: Sequence[str],
    tiles: pathlib.Path,
    workdir: pathlib.Path,
    prepare: Callable[[], None] | None = None,
) -> multiprocessing.Process:
    """Starts training on a directory of tiles, with other options; what it prints goes to `log_of`."""
    paths = f"--config.data.dir={tiles}", f"--workdir={workdir}"
    return start(*options, *paths, stdout=log_of(workdir), prepare=prepare)


def log_of(workdir: pathlib.Path) -> pathlib.Path:
    """Returns the file beside a run that `start_training` appends all output to."""
    return workdir.with_suffix(".log")


def finish(child: multiprocessing.Process) -> int:
    """Returns the exit status of a process of `start`; kills one that does not end."""
    child.join(SECONDS)
    status = child.exitcode
    if status is None:
        child.kill()
    assert status is not None, f"the program does not end within {SECONDS} s"
    return status


def launch(*args: object, cwd: pathlib.Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end, as `program.launch` does."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
        status = finish(start(*args, stdout=paths[0], stderr=paths[1], cwd=cwd))
        texts = [path.read_text(encoding="utf-8") for path in paths]
    return subprocess.CompletedProcess(args, status, *texts)


def send_signal(signum: int, call: int) -> None:
    """Makes this process send itself a signal in that call of a training step; for `prepare`."""
    from saltjax.training import steps

    if (
        signal.getsignal(signum) is signal.SIG_IGN
    ):  # SIGHUP, if the tests run under nohup
        signal.signal(signum, signal.SIG_DFL)
    train_call, calls = steps.train_call, itertools.count(1)

    def train_call_with_signal(*args):
        if next(calls) == call:
            os.kill(os.getpid(), signum)
        return train_call(*args)

    steps.train_call = train_call_with_signal


def _run(command, stdout, stderr, cwd, prepare) -> None:
    for descriptor, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
    os.chdir(cwd)
    sys.argv = command
    from saltjax import __main__

    quick.prepare()
    if prepare is not None:
        prepare()
    __main__.main()
