"""Checkpoints on disk: replaced by atomic renames, every file and array verified when restored."""

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

from saltjax.system import console
from saltjax.system.errors import InputError, writing

# The last file that `save` writes: without it a checkpoint is incomplete.
MANIFEST = "sha256.json"


class DamagedError(Exception):
    """A checkpoint differs from what was saved."""


def save(path: pathlib.Path, tree: Any, meta: dict) -> None:
    """Writes a pytree of numpy arrays and JSON metadata to the directory `path`, replacing it.

    It is written to a temporary directory and renamed, so `path` never holds an incomplete
    checkpoint; the previous one is kept as `<path>.old`. The metadata hold a checksum of every
    array, to verify that orbax restores what it saved; sha256.json holds one of every file, to
    detect later damage.

    Raises:
      InputError: if it cannot be written; the previous checkpoint is kept.
    """
    path = path.absolute()
    new, old = _new_and_old(path)
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
    """Returns (tree, meta) of the newest intact checkpoint at `path`, None if none was ever saved.

    A damaged one is reported and renamed to `<path>.damaged-<n>`, and the previous one is used. The
    previous one is also used, with a message, if `path` is missing.

    Args:
      path: the directory that `save` was given.
      like: a pytree of arrays with the structure, shapes and dtypes of what was saved.

    Raises:
      InputError: if there are checkpoints and none of them is intact.
    """
    path = path.absolute()
    new, old = _new_and_old(path)
    damaged = []
    # With its manifest a new checkpoint is complete: the save was interrupted between its renames.
    if (new / MANIFEST).exists() and not path.exists():
        new.rename(path)
    if old.exists() and not path.exists():
        console.say(
            f"Checkpoint {path} is missing; looking for the previous one",
            logging.WARNING,
        )
    for candidate in (path, old):
        if candidate.exists():
            try:
                return _read(candidate, like)
            except DamagedError as error:
                damaged.append(_rename_damaged(candidate, path))
                console.say(
                    f"Checkpoint {candidate} is damaged: {error}\n"
                    f"           renamed to {damaged[-1]}; looking for the previous one",
                    logging.WARNING,
                )
    if damaged or _damaged_before(path):
        raise InputError(
            f"no intact checkpoint is left at {path}; the damaged ones were renamed. "
            "Start again with --overwrite"
        )
    return None


def restore_best(
    workdir: pathlib.Path, like: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (variables, {"epoch", "val_loss"}) of the best checkpoint.

    `like` is a pytree of arrays with the structure, shapes and dtypes of the variables.

    Raises:
      InputError: if there is none, or no intact one.
    """
    path = workdir / "checkpoints/best"
    best = restore(path, like)
    if best is None:
        raise InputError(
            f"the checkpoint {path} is missing; start again with --overwrite"
        )
    return best


def checksums(tree: Any) -> dict[str, str]:
    """Returns the SHA-256, in hex, of each leaf's dtype, shape and bytes, by path in the tree."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _leaf_checksum(leaf) for path, leaf in leaves}


def _leaf_checksum(leaf) -> str:
    leaf = np.asarray(leaf)
    digest = hashlib.sha256(f"{leaf.dtype.str}{leaf.shape}".encode())
    digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def _file_checksums(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of every file in a checkpoint but the manifest, by relative path."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST)
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
    }


def _read(path: pathlib.Path, like: Any) -> tuple[Any, dict]:
    """Returns (tree, meta); raises DamagedError if a single bit differs from what was saved."""
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
            # Complete, as its manifest says, but with other arrays than those of `like`.
            reason = str(error).strip().splitlines()[0]
            raise DamagedError(
                f"its arrays are not those of this model: {reason}"
            ) from None
    for there, here in zip(*map(jax.tree.leaves, (restored["state"], like))):
        if np.shape(there) != np.shape(here):
            raise DamagedError(
                f"an array has shape {np.shape(there)} where this model has {np.shape(here)}"
            )
    _compare(checksums(restored["state"]), restored["meta"]["checksums"])
    return restored["state"], restored["meta"]["meta"]


def _compare(found: dict[str, str], expected: Any) -> None:
    """Raises DamagedError naming a file or array that is missing, new or changed."""
    if not isinstance(expected, dict):
        raise DamagedError(f"{MANIFEST} holds no checksums")
    wrong = [k for k in sorted(found | expected) if found.get(k) != expected.get(k)]
    if wrong:
        what = "is missing" if wrong[0] not in found else "differs from what was saved"
        raise DamagedError(f"{wrong[0]} {what}")


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


def _rename_damaged(candidate: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    new = path.with_name(f"{path.name}.damaged-{len(_damaged_before(path)) + 1}")
    with writing(new):
        candidate.rename(new)
    return new


def _damaged_before(path: pathlib.Path) -> list[pathlib.Path]:
    return list(path.parent.glob(f"{path.name}.damaged-*"))
