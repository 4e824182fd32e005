"""A model of a disk that loses power: what was not synced with os.fsync is lost.

Tensorstore, below orbax, syncs some files on its own, which the model does not see.
"""

import os
import pathlib
from typing import Any

Tree = dict[str, Any]  # names, with bytes for a file and a tree for a directory


class Disk:
    """Follows a directory, and what a disk may hold of it when power is lost.

    Use as a context manager. In it power is lost, in the model, before each call of os.fsync,
    os.rename and os.replace, and at the end. Of each loss there are two outcomes: names on the disk
    are those of the last sync of their directory, or already the newest; content is always that of
    the file's last sync, and nothing if there was none.

    Attributes:
      losses: (tree, done) of each outcome that differs from the one before it, `done` being the
        value of `self.done` at that moment, which the test sets.
    """

    def __init__(self, folder: pathlib.Path, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        self.done: Any = None
        self.losses: list[tuple[Tree, Any]] = []
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, tuple[int, bool]]] = {}
        # Open, so that no inode is used again.
        self._open: list[int] = []

    def __enter__(self) -> "Disk":
        for path in (self.folder, *self.folder.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            self._record(descriptor)
            os.close(descriptor)
        fsync = os.fsync

        def sync(descriptor):
            self.lose_power()
            fsync(descriptor)
            self._record(descriptor)

        self.monkeypatch.setattr(os, "fsync", sync)
        for name in ("rename", "replace"):
            self.monkeypatch.setattr(os, name, self._after_a_loss(getattr(os, name)))
        return self

    def __exit__(self, *_) -> None:
        self.monkeypatch.undo()
        self.lose_power()
        for descriptor in self._open:
            os.close(descriptor)

    def lose_power(self) -> None:
        """Appends to `losses` what the disk may hold now."""
        seen = [tree for tree, done in self.losses if done == self.done]
        for tree in (self._synced(self._key(self.folder)), self._newest(self.folder)):
            if tree not in seen:
                self.losses.append((tree, self.done))

    def _after_a_loss(self, call):
        def call_after_a_loss(*args, **options):
            self.lose_power()
            return call(*args, **options)

        return call_after_a_loss

    def _record(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._open.append(os.dup(descriptor))
        if os.path.isdir(descriptor):
            with os.scandir(descriptor) as entries:
                self._folders[status.st_ino] = {
                    e.name: (e.inode(), e.is_dir()) for e in entries
                }
        else:
            self._files[status.st_ino] = os.pread(descriptor, status.st_size, 0)

    def _key(self, path: pathlib.Path) -> int:
        return path.stat().st_ino

    def _synced(self, folder: int) -> Tree:
        return {
            name: self._synced(inode) if is_folder else self._files.get(inode, b"")
            for name, (inode, is_folder) in self._folders.get(folder, {}).items()
        }

    def _newest(self, folder: pathlib.Path) -> Tree:
        tree: Tree = {}
        for path in folder.iterdir():
            try:
                new = path.is_dir()
                tree[path.name] = (
                    self._newest(path) if new else self._files.get(self._key(path), b"")
                )
            except FileNotFoundError:
                pass  # a thread of tensorstore has just renamed it
        return tree


def write(tree: Tree, folder: pathlib.Path) -> pathlib.Path:
    """Writes a tree as a directory, and returns it."""
    folder.mkdir()
    for name, content in tree.items():
        if isinstance(content, dict):
            write(content, folder / name)
        else:
            (folder / name).write_bytes(content)
    return folder
