"""Checkpoints on disk: `save` and `restore` of a pytree with its metadata."""

import pathlib
import shutil
from typing import Any

import orbax.checkpoint as ocp


def save(path: pathlib.Path, tree: Any, meta: dict) -> None:
    """Writes a pytree of numpy arrays and JSON metadata to the folder `path`, replacing it whole.

    It is written beside and renamed, so `path` never holds half a checkpoint.
    """
    path = path.absolute()
    new, old = path.with_name(path.name + ".new"), path.with_name(path.name + ".old")
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(tree), meta=ocp.args.JsonSave(meta)
        )
        checkpointer.save(new, items, force=True)
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    new.rename(path)


def restore(path: pathlib.Path, like: Any) -> tuple[Any, dict]:
    """Returns (tree, meta) of the checkpoint at `path`, shapes and dtypes as in the pytree `like`."""
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), meta=ocp.args.JsonRestore()
        )
        restored = checkpointer.restore(path.absolute(), args)
    return restored["state"], restored["meta"]
