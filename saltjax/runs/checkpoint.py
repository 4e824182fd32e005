"""Checkpoints on disk: replaced by atomic renames, every file verified when restored.

Only training, which has locked the run, changes anything here. Whoever else restores a checkpoint
reads, and uses the previous one if the newest is damaged.
"""

import hashlib
import json
import logging
import pathlib
import shutil
import time
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from saltjax.system import console, files
from saltjax.system.errors import InputError, reading, system_reason, writing

# The last file that `save` writes: without it a checkpoint is incomplete.
MANIFEST = "sha256.json"


class DamagedError(Exception):
    """A file of a checkpoint is missing, or differs from what was saved."""


def save(path: pathlib.Path, tree: Any, meta: dict) -> None:
    """Writes a pytree of numpy arrays and JSON metadata to the directory `path`, replacing it.

    It is written to a temporary directory and renamed, so `path` never holds an incomplete
    checkpoint, not even after a loss of power; the previous one is kept as `<path>.old`.
    sha256.json holds a checksum of every file. The files are not read back after they are synced:
    that would read the system's cache, and not the disk.

    Raises:
      InputError: if it cannot be written; the previous checkpoint is kept.
    """
    path = path.absolute()
    new, old = _new_and_old(path)
    _remove_unfinished(path)
    with writing(path):
        files.make_directory(path.parent)
        try:
            with _checkpointer() as checkpointer:
                items = ocp.args.Composite(
                    state=ocp.args.StandardSave(tree),
                    meta=ocp.args.JsonSave({"meta": meta}),
                )
                checkpointer.save(new, items, force=True)
            _sync_tree(new)
            manifest = json.dumps(_file_checksums(new), indent=2)
            files.write_text(new / MANIFEST, manifest)
        except BaseException:
            _remove_unfinished(path)
            raise
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
    _rename(new, path)


def _checkpointer() -> ocp.Checkpointer:
    """Returns orbax's reader and writer of process 0, which waits for no other process of a training."""
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
        state=ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        meta=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def restore(
    path: pathlib.Path, like: Any, repair: bool = False
) -> tuple[Any, dict] | None:
    """Returns (tree, meta) of the newest intact checkpoint at `path`, None if none was ever saved.

    If the newest is damaged or missing, a message says so, and the previous one is used.

    Args:
      path: the directory that `save` was given.
      like: a pytree of arrays with the structure, shapes and dtypes of what was saved.
      repair: complete a save that was interrupted, and rename a damaged checkpoint to
        `<path>.damaged-<n>`; for training only, which has locked the run. Otherwise nothing is
        changed.

    Raises:
      InputError: if there are checkpoints and none of them is intact; or if the newest cannot be
        read, or is intact and has other arrays than `like`: then nothing is changed.
    """
    path = path.absolute()
    damaged = []
    for candidate in _candidates(path, repair):
        try:
            with reading(candidate):
                return _read(candidate, like)
        except DamagedError as error:
            damaged.append(f"{candidate} ({error})")
            note = "the previous one is used if there is one"
            if repair:
                note = f"renamed to {_rename_damaged(candidate, path)}; {note}"
            console.say(
                f"Checkpoint {candidate} is damaged: {error}\n           {note}",
                logging.WARNING,
            )
    if damaged or _damaged_before(path):
        raise InputError(
            f"no intact checkpoint is left at {path}; damaged: "
            f"{', '.join([*damaged, *map(str, _damaged_before(path))])}. Restore it from a copy, "
            "or start again with --overwrite"
        )
    return None


def exists(path: pathlib.Path) -> bool:
    """Returns whether `restore` finds a checkpoint at `path`, or refuses to go on without it.

    Raises:
      InputError: if that cannot be seen.
    """
    path = path.absolute()
    new, old = _new_and_old(path)
    with reading(path):
        there = any(_exists(candidate) for candidate in (path, new / MANIFEST, old))
    return there or bool(_damaged_before(path))


def _candidates(path: pathlib.Path, repair: bool) -> list[pathlib.Path]:
    """Returns the checkpoints that there are, the newest first; reports a missing one."""
    new, old = _new_and_old(path)
    newest = path
    with reading(path):
        if not _exists(path):
            # With its manifest it is complete: the save was interrupted between its renames.
            if _exists(new / MANIFEST):
                newest = new
            elif _exists(old):
                console.say(
                    f"Checkpoint {path} is missing; the previous one is used",
                    logging.WARNING,
                )
        if repair and newest == new:
            newest = _rename(new, path)
        return [candidate for candidate in (newest, old) if _exists(candidate)]


def _exists(path: pathlib.Path) -> bool:
    """Returns whether there is a file or directory; raises OSError if that cannot be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def restore_best(
    workdir: pathlib.Path, like: dict[str, Any], repair: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (variables, {"epoch", "val_loss"}) of the best checkpoint.

    `like` is a pytree of arrays with the structure, shapes and dtypes of the variables; for
    `repair` see `restore`.

    Raises:
      InputError: if there is none, or no intact one; see `restore`.
    """
    path = workdir / "checkpoints/best"
    best = restore(path, like, repair)
    if best is None:
        raise InputError(
            f"the checkpoint {path} is missing; start again with --overwrite"
        )
    return best


def _read(path: pathlib.Path, like: Any) -> tuple[Any, dict]:
    """Returns (tree, meta).

    Raises:
      DamagedError: if a single bit differs from what was saved.
      InputError: if a file cannot be read, or the arrays are not those of `like`.
    """
    _verify(path)
    args = ocp.args.Composite(
        state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
    )
    try:
        with _checkpointer() as checkpointer:
            restored = checkpointer.restore(path, args)
        for there, here in zip(*map(jax.tree.leaves, (restored["state"], like))):
            if np.shape(there) != np.shape(here):
                raise ValueError(
                    f"an array has shape {np.shape(there)} where this model has {np.shape(here)}"
                )
        return restored["state"], restored["meta"]["meta"]
    except (KeyError, TypeError, ValueError) as error:
        if system_reason(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"{path} is intact, but its arrays are not those of this model ({reason}): config.json "
            "was changed, or another version saved it. Restore config.json, use that version, or "
            "start again with --overwrite"
        ) from None


def _verify(path: pathlib.Path) -> None:
    """Compares the files of a checkpoint with its manifest; further files do not matter.

    Raises:
      DamagedError: naming a file that is missing or differs.
      InputError: if a file cannot be read, which is no damage.
    """
    content = _content(path / MANIFEST)
    try:
        expected = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{MANIFEST}: {error}") from None
    if not isinstance(expected, dict) or not expected:
        raise DamagedError(f"{MANIFEST} holds no checksums")
    for name, checksum in expected.items():
        if hashlib.sha256(_content(path / name)).hexdigest() != checksum:
            raise DamagedError(f"{name} differs from what was saved")


def _content(path: pathlib.Path) -> bytes:
    """Returns the content of a checkpoint's file; see `_verify`."""
    with reading(path):
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedError(f"{path} is missing") from None


def _file_checksums(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256, in hex, of every file in a directory, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _sync_tree(folder: pathlib.Path) -> None:
    """Waits until the disk holds a directory: its files, then the names of all."""
    for path in sorted([*folder.rglob("*"), folder], key=pathlib.Path.is_dir):
        files.sync(path)


def _new_and_old(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    return path.with_name(path.name + ".new"), path.with_name(path.name + ".old")


def _remove_unfinished(path: pathlib.Path) -> None:
    """Removes the temporary directories of an interrupted save."""
    for _ in range(20):
        for leftover in path.parent.glob(f"{path.name}.new*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not any(path.parent.glob(f"{path.name}.new*")):
            return
        time.sleep(0.1)  # threads of a failed save may still be writing


def _rename(old: pathlib.Path, new: pathlib.Path) -> pathlib.Path:
    with writing(new):
        old.rename(new)
        files.sync(new.parent)
    return new


def _rename_damaged(candidate: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    number = len(_damaged_before(path)) + 1
    return _rename(candidate, path.with_name(f"{path.name}.damaged-{number}"))


def _damaged_before(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path.parent.glob(f"{path.name}.damaged-*"))
