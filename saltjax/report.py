"""--mode=report: one HTML file of a run, finished or not."""

import pathlib

from saltjax.reporting import run_contents, run_report
from saltjax.system import console


def report(workdir: pathlib.Path) -> None:
    """Writes report.html into the directory of a run; says which of its files cannot be read.

    The run may be in training: what is there is shown.

    Raises:
      InputError: if the directory holds no run, or cannot be written.
    """
    run = run_contents.read(workdir)
    for problem in run.problems:
        console.say(f"Left out   {problem}")
    run_report.write(run)
    console.say(f"Report     {workdir / run_report.NAME}")
