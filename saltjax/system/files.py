"""Reading and atomic writing of files: a reader sees the old file or the new one, never a part."""

import contextlib
import csv
import errno
import io
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from saltjax.system.errors import InputError, writing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

RESTORE = "restore the file, or start again with --overwrite"
# What some file systems answer that cannot sync a directory.
CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)
# Yields a temporary path, which takes the place of a path at the end: `atomic_write`, or the
# `write` of `output_directory.OutputDirectory`, which replaces only what saltjax wrote.
Writer = Callable[[pathlib.Path], AbstractContextManager[pathlib.Path]]


@contextlib.contextmanager
def temporary_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the directory of `path`; what is left there is deleted at the end.

    It may become a file or a directory.

    Raises:
      InputError: if it cannot be written.
    """
    temporary = path.with_name(f".saltjax-{secrets.token_hex(6)}.part")
    try:
        with writing(path):
            make_directory(path.parent)
            yield temporary
    finally:
        with contextlib.suppress(OSError):
            delete(temporary)


def delete(path: pathlib.Path) -> None:
    """Deletes a file, or a directory with what is in it, if there is one; raises OSError if it cannot."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def version(path: pathlib.Path) -> tuple[int, int]:
    """Returns size and time of change, by which a file is recognised as unchanged.

    Raises:
      OSError: if there is no such file.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def check_version(path: pathlib.Path, before: tuple[int, int]) -> None:
    """Checks that a file is as it was, see `version`.

    Raises:
      InputError: if it is not.
      OSError: if there is no such file.
    """
    if version(path) != before:
        raise InputError(
            f"cannot read {path}: it was changed while it was read; run the same command again"
        )


def reserve(file: io.BufferedIOBase, size: int) -> None:
    """Gives a file that many bytes, with their room on the disk where the system can reserve it.

    Raises:
      OSError: if there is no room.
    """
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


@contextlib.contextmanager
def atomic_write(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the directory of `path` and renames it to `path` at the end.

    After an error the temporary file is deleted and `path` is as before. At the end the file is on
    the disk: after a loss of power, too, it is complete.

    Raises:
      InputError: if the file cannot be written.
    """
    with temporary_file(path) as temporary:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)


def delete_parts(folder: pathlib.Path) -> None:
    """Deletes the temporary files and directories that killed processes left in a directory which is locked."""
    for part in folder.glob(".saltjax-*.part"):
        with contextlib.suppress(OSError):
            delete(part)


def make_directory(path: pathlib.Path) -> None:
    """Creates a directory, and those above it, on the disk; raises OSError if it cannot."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def sync(path: pathlib.Path) -> None:
    """Waits until the disk holds the content of a file, or the names in a directory.

    Raises:
      OSError: if it cannot be written.
    """
    folder, windows = path.is_dir(), os.name == "nt"
    if folder and windows:
        return  # which cannot open a directory
    try:
        descriptor = os.open(path, os.O_RDWR if windows else os.O_RDONLY)
        try:
            _flush(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not folder or error.errno not in CANNOT_SYNC:
            raise


def _flush(descriptor: int) -> None:
    """Waits until the disk holds what was written; on macOS fsync alone stops at its cache."""
    if hasattr(fcntl, "F_FULLFSYNC"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def write_text(path: pathlib.Path, text: str, write: Writer = atomic_write) -> None:
    """Writes a UTF-8 text file atomically."""
    with write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: pathlib.Path, value: Any, write: Writer = atomic_write) -> None:
    """Writes a dict or a dataclass atomically as indented JSON."""
    text = json.dumps(msgspec.to_builtins(value), indent=2) + "\n"
    write_text(path, text, write)


def write_csv(
    path: pathlib.Path,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    write: Writer = atomic_write,
) -> None:
    """Writes a CSV file atomically: a header line, then a line for each row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue(), write)


def read_json(path: pathlib.Path, advice: str = RESTORE) -> dict[str, Any]:
    """Returns the object in a JSON file of a run directory; `advice`: see `damaged`.

    Raises:
      InputError: if the file cannot be read, or holds no JSON object.
    """
    value = read_any_json(path, advice)
    if not isinstance(value, dict):
        raise damaged(path, "no JSON object", advice)
    return value


def read_any_json(path: pathlib.Path, advice: str = RESTORE) -> Any:
    """Returns the value in a JSON file, as `read_json`, of any type."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot read it ({error.strerror}); expected the directory of a run"
        ) from None
    except (ValueError, RecursionError) as error:
        raise damaged(path, error, advice) from None


def damaged(path: pathlib.Path, reason: object, advice: str = RESTORE) -> InputError:
    """Returns the error for a file of a run directory that has unexpected content, or cannot be read.

    `advice` says what to do about the content.
    """
    if isinstance(reason, PermissionError):
        return InputError(f"{path}: {reason.strerror}; change its permissions")
    return InputError(f"{path}: damaged ({reason}); {advice}")


def path_label(path: str) -> str:
    """Returns the last two parts of a path, made absolute, for the screen and figures.

    >>> path_label("/data/competition_data/train")
    'competition_data/train'
    """
    label = "/".join(pathlib.Path(path).resolve().parts[-2:])
    return label.encode(errors="replace").decode()


def unknown_keys(found: Any, known: Any) -> list[str]:
    """Returns the dotted keys of the objects in a JSON value that another one lacks.

    >>> unknown_keys({"a": [{"b": 1, "c": 2}], "d": 3}, {"a": [{"b": 0}]})
    ['a.0.c', 'd']
    """
    if isinstance(found, (list, tuple)) and isinstance(known, (list, tuple)):
        found, known = (dict(enumerate(value)) for value in (found, known))
    if not isinstance(found, dict) or not isinstance(known, dict):
        return []
    keys = []
    for key, value in found.items():
        below = unknown_keys(value, known[key]) if key in known else None
        keys += [str(key)] if below is None else [f"{key}.{name}" for name in below]
    return keys
