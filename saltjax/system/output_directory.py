"""Directories for results: only what saltjax itself wrote there is ever replaced.

The directory holds a record of the files that were written into it, with size and time of each. A
file that is not in the record, or has changed since, is somebody else's. A result may be a directory too,
as Zarr is: it has changed if names in it have.
"""

import collections
import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from saltjax.system import console, files, locks
from saltjax.system.errors import InputError, reading, writing

RECORD = ".saltjax-files.jsonl"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file as it was written.

    Attributes:
      file: its path below the directory.
      size, time: its bytes, and its time of modification in nanoseconds.
      source: the path of the input that it is the result of.
    """

    file: str
    size: int
    time: int
    source: str


class OutputDirectory:
    """A directory that this process alone writes results into, see `claim`."""

    def __init__(
        self,
        folder: pathlib.Path,
        option: str,
        source: str,
        pages: str | None = None,
    ):
        """Takes the directory, its flag, what the results are of, and the names of pages: see `claim`."""
        self.folder, self.option, self.source = folder, option, source
        self._announced: set[str] = set()
        text = _read(folder / RECORD)
        # A kill while a file is replaced leaves the entries of the old file and of the new one.
        valid = [
            entry
            for entry in _entries(text)
            if _status(folder / entry.file) == (entry.size, entry.time)
        ]
        self._entries = {entry.file: entry for entry in valid}
        self._pages = {
            entry.source: entry.file
            for entry in valid
            if pages is not None and entry.file.endswith(pages)
        }
        current = "".join(map(_line, valid))
        if current != text:
            files.write_text(folder / RECORD, current)

    def check(
        self,
        paths: Sequence[pathlib.Path],
        folders: Iterable[pathlib.Path] = (),
        inputs: Iterable[pathlib.Path] = (),
    ) -> None:
        """Checks what the results would replace; call it before anything is computed.

        Results of other inputs in the directory are announced.

        Args:
          paths: the files to be written.
          folders: directories in which saltjax's own files are expected, and no others.
          inputs: files that are read, and so must not be replaced.

        Raises:
          InputError: if a file is an input, or one that saltjax did not write.
        """
        there = [path for path in paths if os.path.lexists(path)]
        read = {path.resolve() for path in inputs} if there else set()
        for path in there:
            if path.resolve() in read:
                raise InputError(
                    f"{self.option}={self.folder}: {path} is an input, and the result would "
                    "replace it; choose another directory"
                )
        with reading(self.folder):
            beside = [p for f in folders if f.is_dir() for p in sorted(f.iterdir())]
            visible = [p for p in beside if not p.name.startswith(".")]
            foreign = [p for p in dict.fromkeys((*there, *visible)) if self._foreign(p)]
        if foreign:
            raise self._refusal(foreign)
        self._announce({self._name(path) for path in paths})

    @contextlib.contextmanager
    def write(
        self, path: pathlib.Path, sync_names: bool = True
    ) -> Iterator[pathlib.Path]:
        """Writes a result below the directory as `files.atomic_write`, and records it.

        Args:
          path: the file to write.
          sync_names: wait until the disk holds its entry in the record, and its name. Of many files,
            False spares two waits for each, and `sync` follows; after a loss of power before that
            the old file may reappear, or the new one be taken for somebody else's.

        Raises:
          InputError: if it cannot be written, or would replace a file that saltjax did not write.
        """
        with files.temporary_file(path) as temporary:
            yield temporary
            files.sync(temporary)
            if self._foreign(path):
                raise self._refusal([path])
            self._delete_pages(path)
            # Before the rename: a kill in between leaves the old file and its entry.
            self._record(path, temporary)
            if sync_names:
                files.sync(self.folder / RECORD)
            if temporary.is_dir() and path.exists():
                # A directory does not replace another; a kill leaves the old one, or the new one.
                with files.temporary_file(path) as old:
                    path.rename(old)
                    temporary.rename(path)
            else:
                temporary.replace(path)
            if sync_names:
                files.sync(path.parent)

    def turn_to(self, source: pathlib.Path, beside: Iterable[pathlib.Path]) -> None:
        """Makes the results that follow those of another input; `beside` are all of the command."""
        self.source = _resolved(source)
        self._announced |= {_resolved(path) for path in beside}

    def discard(self, paths: Iterable[pathlib.Path]) -> None:
        """Deletes results of an earlier command for this input, if they have not changed since.

        Raises:
          InputError: if one cannot be deleted.
        """
        for path in paths:
            entry = self._entries.get(self._name(path))
            if entry and entry.source == self.source and not self._foreign(path):
                with writing(path):
                    files.delete(path)

    def sync(self, folders: Iterable[pathlib.Path]) -> None:
        """Waits until the disk holds the record, and the names in these directories.

        Raises:
          OSError: if they cannot be written.
        """
        for path in (self.folder / RECORD, *folders):
            files.sync(path)

    def _delete_pages(self, path: pathlib.Path) -> None:
        """Deletes earlier pages of this input, and of the one whose result takes the path now."""
        replaced = self._entries.get(self._name(path))
        for source in {self.source, replaced.source if replaced else self.source}:
            name = self._pages.pop(source, None)
            if name and not self._foreign(self.folder / name):
                (self.folder / name).unlink(missing_ok=True)

    def _record(self, path: pathlib.Path, temporary: pathlib.Path) -> None:
        """Adds to the record the file that is about to take a path."""
        size, time = temporary.stat().st_size, temporary.stat().st_mtime_ns
        entry = Entry(self._name(path), size, time, self.source)
        with (self.folder / RECORD).open("a", encoding="utf-8") as file:
            file.write(_line(entry))
        self._entries[entry.file] = entry

    def _foreign(self, path: pathlib.Path) -> bool:
        """Returns whether there is a file at the path that saltjax did not write."""
        found, entry = _status(path), self._entries.get(self._name(path))
        return found is not None and (
            entry is None or found != (entry.size, entry.time)
        )

    def _name(self, path: pathlib.Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _refusal(self, foreign: Sequence[pathlib.Path]) -> InputError:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        return InputError(
            f"{self.option}={self.folder}: {foreign[0]}{more}: not written by this program, as far "
            f"as {RECORD} there says, or changed since; results would replace such files or mix "
            "with them. Nothing was replaced. Choose another directory, or move these files away"
        )

    def _announce(self, names: set[str]) -> None:
        """Prints a line for each other input of which the directory holds results."""
        others = collections.defaultdict(set)
        for name, entry in self._entries.items():
            if entry.source != self.source and entry.source not in self._announced:
                others[entry.source].add(name)
        self._announced |= others.keys()
        for source, there in others.items():
            line = (
                f"{self.folder} also holds {len(there)} file(s) of results of {source}"
            )
            if there & names:
                line += f"; {len(there & names)} of them will be replaced"
            console.say(line)


@contextlib.contextmanager
def claim(
    folder: pathlib.Path, option: str, source: object, pages: str | None = None
) -> Iterator[OutputDirectory]:
    """Creates a directory for results and locks it within a `with` statement.

    Every file there is to be written by the `write` of what this yields.

    Args:
      folder: the directory.
      option: the flag that it was given by, for messages.
      source: the path that the results are of.
      pages: how the names of files end that show the results of an input; such a file is deleted
        when the first of these results is replaced. None for no such files.

    Raises:
      InputError: if it cannot be written, or another process is writing there.
    """
    with locks.lock(folder, option):
        with reading(folder):
            claimed = OutputDirectory(folder, option, _resolved(source), pages)
        yield claimed


@contextlib.contextmanager
def writer(
    folder: pathlib.Path,
    own: pathlib.Path,
    source: object,
    paths: Sequence[pathlib.Path],
    folders: Sequence[pathlib.Path] = (),
) -> Iterator[files.Writer]:
    """Locks a directory within a `with` statement, and yields what results are written there by.

    In their own directory, that of --workdir, earlier results are replaced; in that of --output
    only what saltjax wrote, see `claim`.

    Args:
      folder: the directory.
      own: that of the run.
      source: the path that the results are of.
      paths, folders: see `OutputDirectory.check`.

    Raises:
      InputError: if it cannot be written, another process is writing there, or a file is not one
        that saltjax wrote.
    """
    if folder.resolve() == own.resolve():
        with locks.lock(folder, "--workdir"):
            yield files.atomic_write
    else:
        with claim(folder, "--output", source) as claimed:
            claimed.check(paths, folders)
            yield claimed.write


def recorded(folder: pathlib.Path) -> set[pathlib.Path]:
    """Returns the files in a directory that saltjax wrote there, as far as they have not changed."""
    return {
        folder.resolve() / entry.file
        for entry in _entries(_read(folder / RECORD))
        if _status(folder / entry.file) == (entry.size, entry.time)
    }


def _resolved(source: object) -> str:
    return str(pathlib.Path(str(source)).resolve())


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _entries(text: str) -> list[Entry]:
    """Returns the entries of a record, without a line that a kill has cut short."""
    entries = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            entries.append(msgspec.convert(json.loads(line), Entry))
    return entries


def _line(entry: Entry) -> str:
    return json.dumps(dataclasses.asdict(entry)) + "\n"


def _status(path: pathlib.Path) -> tuple[int, int] | None:
    """Returns the size and time of modification of a file, None if there is none."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size, status.st_mtime_ns
