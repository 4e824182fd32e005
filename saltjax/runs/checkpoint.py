"""Checkpoints on disk: written beside and renamed, every file and leaf checked when read back."""

import hashlib
import json
import logging
import pathlib
import shutil
import sys
import time
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from saltjax.system import console
from saltjax.system.errors import InputError, writing

# Orbax logs each failure with a traceback before it raises; what it raises is told in our words.
logging.getLogger("absl").setLevel(logging.CRITICAL)

# The last file that `save` writes: a checkpoint without it is not whole.
MANIFEST = "sha256.json"


class DamagedError(Exception):
    """A checkpoint is not what was saved."""


def save(path: pathlib.Path, tree: Any, meta: dict) -> None:
    """Writes a pytree of numpy arrays and JSON metadata to the folder `path`, replacing it whole.

    It is written beside and renamed, so `path` never holds half a checkpoint; what it held before
    stays as `<path>.old`. The metadata carry a checksum of every leaf, which tells whether orbax
    gave back what it was given; sha256.json has one of every file, which tells any damage since.

    Raises:
      InputError: if it cannot be written; what `path` held before is still there.
    """
    path = path.absolute()
    new, old = _beside(path)
    _remove_unfinished(path)
    document = {"meta": meta, "checksums": checksums(tree)}
    with writing(path):
        try:
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
                items = ocp.args.Composite(
                    state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(document)
                )
                checkpointer.save(new, items, force=True)
            manifest = json.dumps(_file_checksums(new), indent=2)
            part = new / f"{MANIFEST}.part"
            part.write_text(manifest, encoding="utf-8")
            part.rename(new / MANIFEST)
        except BaseException:
            _remove_unfinished(path)
            raise
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.rename(old)
        new.rename(path)


def restore(path: pathlib.Path, like: Any) -> tuple[Any, dict] | None:
    """Returns (tree, meta) of the newest good checkpoint at `path`, None if none was ever saved.

    A damaged one is reported, kept aside as `<path>.damaged-<n>`, and the one before it is used,
    which is also done, and said, where `path` is missing.

    Args:
      path: the folder that `save` was given.
      like: a pytree of arrays with the structure, shapes and dtypes of what was saved.

    Raises:
      InputError: if checkpoints are there and none of them is good.
    """
    path = path.absolute()
    new, old = _beside(path)
    damaged = []
    # With a manifest, what a save wrote is whole, and it was cut off between its renames.
    if (new / MANIFEST).exists() and not path.exists():
        new.rename(path)
    if old.exists() and not path.exists():
        console.say(f"Checkpoint {path} is missing; looking for the one before it")
    for candidate in (path, old):
        if candidate.exists():
            try:
                return _read(candidate, like)
            except DamagedError as error:
                damaged.append(_set_aside(candidate, path))
                console.say(
                    f"Checkpoint {candidate} is damaged: {error}\n"
                    f"           kept aside as {damaged[-1]}; looking for the one before it"
                )
    if damaged or _set_aside_before(path):
        raise InputError(
            f"no good checkpoint is left at {path}; the damaged ones are kept beside it. "
            "Start anew with --overwrite"
        )
    return None


def checksums(tree: Any) -> dict[str, str]:
    """Returns the SHA-256 of each leaf's dtype, shape and bytes, by its path in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _leaf_checksum(leaf) for path, leaf in leaves}


def _leaf_checksum(leaf) -> str:
    leaf = np.asarray(leaf)
    digest = hashlib.sha256(f"{leaf.dtype.str}{leaf.shape}".encode())
    digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()


def _file_checksums(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of every file in a checkpoint but the manifest, by relative path."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST)
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
    }


def _read(path: pathlib.Path, like: Any) -> tuple[Any, dict]:
    """Returns (tree, meta); raises DamagedError if it is not, to the last bit, what was saved."""
    try:
        expected = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        found = _file_checksums(path)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"cannot read {path / MANIFEST}: {error}") from None
    _compare(found, expected)
    args = ocp.args.Composite(
        state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
    )
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        try:
            restored = checkpointer.restore(path, args)
        except (KeyError, ValueError) as error:
            # Whole, as its manifest says, but with other leaves than those of `like`.
            reason = str(error).strip().splitlines()[0]
            raise DamagedError(f"it is of another model or kind: {reason}") from None
    for there, here in zip(*map(jax.tree.leaves, (restored["state"], like))):
        if np.shape(there) != np.shape(here):
            raise DamagedError(
                f"it is of another model: {np.shape(there)} where {np.shape(here)} is expected"
            )
    _compare(checksums(restored["state"]), restored["meta"]["checksums"])
    return restored["state"], restored["meta"]["meta"]


def _compare(found: dict[str, str], expected: Any) -> None:
    """Raises DamagedError naming what is missing, new, or of another checksum than expected."""
    if not isinstance(expected, dict):
        raise DamagedError(f"{MANIFEST} holds no checksums")
    wrong = [k for k in sorted(found | expected) if found.get(k) != expected.get(k)]
    if wrong:
        what = "is missing" if wrong[0] not in found else "is not as it was saved"
        raise DamagedError(f"{wrong[0]} {what}")


def _beside(path: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    return path.with_name(path.name + ".new"), path.with_name(path.name + ".old")


def _remove_unfinished(path: pathlib.Path) -> None:
    """Removes what an interrupted save left."""
    for _ in range(20):
        for leftover in path.parent.glob(f"{path.name}.new*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not any(path.parent.glob(f"{path.name}.new*")):
            return
        time.sleep(0.1)  # what a failed save began may still be written


def _show_unraisable(unraisable) -> None:
    """Shows it, unless it is of a write that ends when its save has failed already."""
    if str(unraisable.exc_value) != "Event loop is closed":
        _show_others(unraisable)


_show_others = sys.unraisablehook
# Tensorstore's threads, below orbax, hand it what nobody waits for any more.
sys.unraisablehook = _show_unraisable


def _set_aside(candidate: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    aside = path.with_name(f"{path.name}.damaged-{len(_set_aside_before(path)) + 1}")
    with writing(aside):
        candidate.rename(aside)
    return aside


def _set_aside_before(path: pathlib.Path) -> list[pathlib.Path]:
    return list(path.parent.glob(f"{path.name}.damaged-*"))
