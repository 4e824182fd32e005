"""--mode=report: one HTML file of a run, finished or not, or of all runs in a directory."""

import pathlib

from saltjax.reporting import run_contents, run_report, runs_report
from saltjax.system import console
from saltjax.system.errors import InputError


def report(workdir: pathlib.Path, reference: str = "") -> None:
    """Writes report.html into the directory of a run, or of several; says what cannot be read.

    A run may be in training: what is there is shown.

    Args:
      workdir: the directory of a run, or one that holds some and is none.
      reference: of several, see `compared.read`.

    Raises:
      InputError: if there is no run, or of several no completed one or not the reference, or the
        report cannot be written.
    """
    if runs_report.holds_runs(workdir):
        runs_report.write(workdir, reference)
    elif reference:
        raise InputError(
            f"--reference={reference} is for the report of a directory of runs, and "
            f"--workdir={workdir} is not one"
        )
    else:
        run = run_contents.read(workdir)
        for problem in run.problems:
            console.say(f"Left out   {problem}")
        run_report.write(run)
    console.say(f"Report     {workdir / run_report.NAME}")
