"""Locks on directories, so that only one process writes there."""

import contextlib
import logging
import os
import pathlib
from collections.abc import Iterator

from saltjax.system import console, files
from saltjax.system.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
# Below a directory that is locked, where saltjax writes.
SUBFOLDERS = ("probs", "masks", "plots", "check", "evaluation")


@contextlib.contextmanager
def lock(folder: pathlib.Path, option: str) -> Iterator[None]:
    """Creates a directory and locks it against other processes within a `with` statement.

    Temporary files that killed processes left there are deleted. A directory that was created for
    the lock and stayed empty is deleted at the end. Where the file system or the operating system
    has no such locks, a warning says so, and the directory is used unlocked.

    Args:
      folder: the directory.
      option: the flag that it was given by, for messages.

    Raises:
      InputError: if it cannot be created or written, or another process has locked it.
    """
    path, created = folder / NAME, not folder.exists()
    try:
        files.make_directory(folder)
        descriptor, reason = _acquire(path)
    except BlockingIOError:
        raise InputError(
            f"{option}={folder}: another process is writing there; wait for it, or choose another "
            "directory"
        ) from None
    except OSError as error:
        raise InputError(
            f"{option}={folder}: cannot write there ({error.strerror}); choose another directory"
        ) from None
    try:
        if reason:
            console.say(
                f"{option}={folder} cannot be locked ({reason}): do not start a second process "
                "that writes there",
                logging.WARNING,
            )
        else:
            files.delete_parts(folder)
            for below in (folder / name for name in SUBFOLDERS):
                if not is_locked(below):  # by a process that writes there alone
                    files.delete_parts(below)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            if created:
                folder.rmdir()
        os.close(descriptor)


def is_locked(folder: pathlib.Path) -> bool:
    """Returns whether another process writes in the directory, as far as locks tell."""
    if fcntl is None:
        return False
    try:
        with (folder / NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or the file system has no locks
        return False
    return False


def _acquire(path: pathlib.Path) -> tuple[int, str]:
    """Returns the open lock file, and why it is not locked, "" if it is.

    The kernel releases the lock with the process, however it ends.

    Raises:
      BlockingIOError: if another process has locked it.
      OSError: if it cannot be opened.
    """
    while True:
        descriptor, reason = os.open(path, os.O_CREAT | os.O_RDWR, 0o666), ""
        try:
            if fcntl is None:
                reason = "not supported by this operating system"
            else:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError as error:  # not supported by some network file systems
            reason = error.strerror or str(error)
        if reason or _is_file(descriptor, path):
            return descriptor, reason
        os.close(descriptor)  # the process that held it before has just deleted it


def _is_file(descriptor: int, path: pathlib.Path) -> bool:
    """Returns whether the open file is still the one at the path."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
