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
    """Turns a failure to write `path` into an InputError that names path, reason and free space.

    An error that names a file elsewhere is reported as one of that file. Reading within the body
    belongs in `reading`.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        reason = system_reason(error)
        if reason is None:
            raise
        if other := _file_elsewhere(error, path.parent):
            raise InputError(f"cannot open {other}: {reason}") from None
        raise InputError(
            f"cannot write {path}: {reason} ({_free_space(path)}); free space or change the "
            "permissions, or choose another directory"
        ) from None


@contextlib.contextmanager
def reading(path: object) -> Iterator[None]:
    """Turns a failure of the system to read `path` into an InputError that names path and reason."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = system_reason(error)
        if reason is None:
            raise
        raise InputError(
            f"cannot read {path}: {reason}; correct that, and run the same command again"
        ) from None


def system_reason(error: Exception) -> str | None:
    """Returns the reason that the operating system gave for an error, None if it is no such error.

    Tensorstore, below orbax, reports the system's errors as the text of a ValueError.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    code = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(code.group(1))) if code else None


def _file_elsewhere(error: Exception, folder: pathlib.Path) -> str:
    """Returns the file that a system error names; "" if none, or one in or above the directory."""
    name, folder = getattr(error, "filename", None), folder.absolute()
    if not isinstance(name, str):
        return ""
    path = pathlib.Path(name).absolute()
    inside = path.is_relative_to(folder) or folder.is_relative_to(path)
    return "" if inside else name


def _free_space(path: pathlib.Path) -> str:
    for parent in path.absolute().parents:
        try:
            return f"{shutil.disk_usage(parent).free / 1e6:.0f} MB free there"
        except OSError:
            continue
    return "free space unknown"
