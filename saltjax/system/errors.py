"""Mistakes and mishaps that the user can mend."""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator


class InputError(ValueError):
    """A flag, config, data file or run folder is not as it must be.

    The message says what was found, what was expected, where, and what to do. `launch.py` prints
    it without a traceback and ends with status 2.
    """


class OutputError(Exception):
    """Nothing more can be printed: the disk is full, or nobody reads on."""


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write `path` in its body into an InputError that tells the free space."""
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
        f"cannot write {path}: {reason} ({_free_space(path)}); mend that, or choose another folder. "
        "What was saved before stays"
    )


def _free_space(path: pathlib.Path) -> str:
    for folder in path.absolute().parents:
        try:
            return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free there"
        except OSError:
            continue
    return "free space unknown"
