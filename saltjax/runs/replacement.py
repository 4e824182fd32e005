"""The replacement of a run's result, with its figures and the outputs of its test, by a new one."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator

from saltjax.runs import saved_outputs
from saltjax.runs.result import Result
from saltjax.system import files
from saltjax.system.errors import writing

# The new files are written to this directory of the run, and then replace the old ones.
STAGE = "plots.new"


@contextlib.contextmanager
def replace(workdir: pathlib.Path, new: Result) -> Iterator[pathlib.Path]:
    """Yields a directory for what belongs to a result; then that and result.json are replaced.

    It is for the figures of plots and for test_outputs.npz. However this is interrupted, result.json
    is the old one or the new one. Without an interruption the others belong to the same; after one,
    `recover` sees to it.

    Raises:
      InputError: if it cannot be written.
    """
    recover(workdir)
    stage = workdir / STAGE
    try:
        files.write_json(stage / "result.json", new)
        yield stage
        with writing(workdir / "result.json"):
            (stage / "result.json").replace(workdir / "result.json")
            files.sync(workdir)
    except BaseException:
        if (stage / "result.json").exists():
            shutil.rmtree(stage, ignore_errors=True)
        raise
    recover(workdir)


def recover(workdir: pathlib.Path) -> None:
    """Completes the replacement of a result that was interrupted, or discards what it left.

    Raises:
      InputError: if files cannot be moved or deleted.
    """
    stage, plots = workdir / STAGE, workdir / "plots"
    if not stage.is_dir():
        return
    with writing(plots):
        # Its result has taken its place already: the figures that lie here belong to it.
        if not (stage / "result.json").exists():
            files.make_directory(plots)
            for path in sorted(stage.glob("*.png")):
                path.replace(plots / path.name)
            if (stage / saved_outputs.NAME).exists():
                (stage / saved_outputs.NAME).replace(workdir / saved_outputs.NAME)
            files.sync(plots)
            files.sync(workdir)
        shutil.rmtree(stage)
