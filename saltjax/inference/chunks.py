"""Results in Zarr, written in tasks of whole lines, so that an interrupted command goes on.

The results of a task are whole chunks. A chunk that is there is complete: tensorstore writes each under
another name first.
"""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from saltjax.seismic import zarr_output, zarr_store
from saltjax.system import files
from saltjax.system.errors import InputError, writing

# Of what a task writes, as far as one line has no more; and tasks in a volume, as far as it has so many
# lines.
TASK_BYTES, LEAST_TASKS = 2**26, 32
OWN_ADVICE = "delete it, and run the same command again"
# Below an array: notes on tasks, a JSON file for each task that has one. Not beside it, where readers of a
# group look for arrays.
NOTES = ".tasks"


@dataclasses.dataclass(frozen=True)
class Task:
    """Lines to compute.

    Attributes:
      direction: "inline" or "crossline".
      start, stop: their indices in the volume.
    """

    direction: str
    start: int
    stop: int

    def region(self) -> tuple[slice, slice]:
        """Returns their place in a volume."""
        part = slice(self.start, self.stop)
        return (
            (part, slice(None)) if self.direction == "inline" else (slice(None), part)
        )


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a volume of results is cut into chunks.

    Attributes:
      shape: inlines, crosslines, samples.
      written: "inline" or "crossline", the direction of the tasks that write it.
      lines: inlines of a task along inlines, crosslines of one along crosslines.
      crossed: whether tasks of the other direction read it, so that chunks have inner ones.
    """

    shape: tuple[int, int, int]
    written: str
    lines: tuple[int, int]
    crossed: bool

    def create(self, path: pathlib.Path, dtype: str, names: Sequence[str]) -> "Chunks":
        """Returns the array, which is created if it does not exist.

        Args:
          path: its directory.
          dtype: of the array; floats are NaN, and integers 0, where nothing has been written.
          names: of its dimensions.

        Raises:
          InputError: if it cannot be written.
        """
        with writing(path):
            return Chunks(path, self._open(path, dtype, names), self.written)

    def open(self, path: pathlib.Path, dtype: str, names: Sequence[str]) -> "Chunks":
        """Returns an array that `create` has made.

        Raises:
          InputError: if there is none.
        """
        if not (path / "zarr.json").exists():
            raise InputError(
                f"{path}: no such array; expected the one that the prediction has created: a directory "
                "that all machines see"
            )
        with writing(path):
            store = self._open(path, dtype, names, create=False)
            return Chunks(path, store, self.written)

    def _open(
        self, path: pathlib.Path, dtype: str, names: Sequence[str], create: bool = True
    ) -> Any:
        inlines, crosslines, samples = self.shape
        rows, columns = self.lines
        chunk = [rows, crosslines] if self.written == "inline" else [inlines, columns]
        inner = None
        if self.crossed:
            inner = [rows, columns, samples]
            chunk = [-(-n // step) * step for n, step in zip(chunk, self.lines)]
        return zarr_output.open_array(
            path,
            self.shape,
            dtype,
            [*chunk, samples],
            names,
            np.nan if np.dtype(dtype).kind == "f" else 0,
            inner=inner,
            create=create,
        )


def layout(
    shape: tuple[int, int, int], directions: Sequence[str], written: str
) -> Layout:
    """Returns the layout of float32 results that tasks of these directions write and read.

    >>> layout((1000, 500, 1024), ["inline"], "inline").lines
    (31, 15)
    """
    inlines, crosslines, samples = shape
    lines = tuple(
        min(
            max(1, TASK_BYTES // (4 * samples * across)),
            max(1, count // LEAST_TASKS),
        )
        for count, across in ((inlines, crosslines), (crosslines, inlines))
    )
    return Layout(shape, written, (lines[0], lines[1]), len(directions) > 1)


class Chunks:
    """An array [inline, crossline, sample] whose chunks have all samples of some lines.

    Attributes:
      path: its directory.
      shape: of the array.
    """

    def __init__(self, path: pathlib.Path, store: Any, written: str):
        """Takes an array that tensorstore has opened, and the direction of the tasks that write it."""
        self.path, self._store, self._written = path, store, written
        self.shape: tuple[int, ...] = tuple(store.shape)
        self._chunk: tuple[int, ...] = tuple(store.chunk_layout.write_chunk.shape)
        self._axis = 0 if written == "inline" else 1

    @property
    def count(self) -> int:
        """The number of the tasks that write it."""
        return -(-self.shape[self._axis] // self._chunk[self._axis])

    def tasks(self, missing: bool = True) -> list[Task]:
        """Returns the tasks that write it, in the order of their lines.

        If `missing`, only those whose chunks are not there, else only those whose chunks are.
        """
        lines, step = self.shape[self._axis], self._chunk[self._axis]
        return [
            Task(self._written, start, min(lines, start + step))
            for start in range(0, lines, step)
            if self._file(start // step).exists() != missing
        ]

    def read_task(self, task: Task) -> np.ndarray:
        """Returns the part of a task, lines first: [lines, positions, samples].

        Raises:
          InputError: if it cannot be read.
        """
        with zarr_store.reading_chunks(self.path, OWN_ADVICE):
            found = self._store[task.region()].read().result()
        return found if task.direction == "inline" else found.swapaxes(0, 1)

    def write_task(self, task: Task, lines: np.ndarray, note: dict[str, Any]) -> None:
        """Writes the part of a task, as `read_task` returns it, and before it a note, unless that is empty.

        So what is to be told of a chunk that is there has been noted.

        Raises:
          InputError: if it cannot be written.
        """
        place = self.path / NOTES / f"{task.start}.json"
        if note:
            files.write_json(place, note)
        else:
            place.unlink(missing_ok=True)
        part = lines if task.direction == "inline" else lines.swapaxes(0, 1)
        with writing(self.path):
            self._store[task.region()].write(part).result()

    def write(self, numbers: np.ndarray, traces: np.ndarray) -> None:
        """Writes the traces [n, samples] of those numbers, as in `npy.ArrayTraces`, except for -1."""
        there = numbers >= 0
        row, column = np.divmod(numbers[there], self.shape[1])
        with writing(self.path):
            self._store[row, column].write(traces[there]).result()

    def note(self, task: Task) -> dict[str, Any]:
        """Returns the note on a task, {} if there is none.

        Raises:
          InputError: if it cannot be read.
        """
        path = self.path / NOTES / f"{task.start}.json"
        return files.read_json(path) if path.exists() else {}

    def notes(self) -> list[dict[str, Any]]:
        """Returns all notes.

        Raises:
          InputError: if one cannot be read.
        """
        folder = self.path / NOTES
        return [files.read_json(path) for path in sorted(folder.glob("*.json"))]

    def _file(self, index: int) -> pathlib.Path:
        place = [str(index), "0"] if self._axis == 0 else ["0", str(index)]
        return self.path.joinpath("c", *place, "0")
