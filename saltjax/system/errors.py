"""Errors that the user can correct."""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator


class InputError(ValueError):
    """A flag, config, data file or run directory is not as expected.

    The message says what was found, what was expected, where, and what to do. The command line
    prints it without a traceback and exits with status 2.
    """


class OutputError(Exception):
    """Standard output cannot be written: the disk is full, or a pipe was closed."""


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write `path` into an InputError that names path, reason and free space."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
    except ValueError as error:
        # Tensorstore, below orbax, reports the system's errors as text.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        reason = os.strerror(int(code.group(1)))
    else:
        return
    raise InputError(
        f"cannot write {path}: {reason} ({_free_space(path)}); free space or change the "
        "permissions, or choose another directory. What was saved before is kept"
    )


def _free_space(path: pathlib.Path) -> str:
    for parent in path.absolute().parents:
        try:
            return f"{shutil.disk_usage(parent).free / 1e6:.0f} MB free there"
        except OSError:
            continue
    return "free space unknown"
