"""SEG-Y files, read and written in blocks of traces."""

import copy
import dataclasses
import functools
import io
import pathlib
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from saltjax.seismic import ibm, lines, sample_axis, survey
from saltjax.seismic.segy_layout import (
    FORMAT_OFFSET,
    IBM_FLOAT,
    SAMPLES,
    Layout,
    check,
)
from saltjax.system import files
from saltjax.system.errors import InputError, reading

SUFFIXES = (".sgy", ".segy")


class SegyTraces:
    """The traces of a SEG-Y file, numbered from 0 in the file's order.

    Attributes:
      name: the file's path, in messages.
      layout: see `Layout`.
      count, samples: number of traces, and of samples in each.
      dtype: of the samples.
      header_bytes: where inline and crossline numbers are.
    """

    def __init__(
        self,
        path: pathlib.Path,
        header_bytes: Sequence[int] = survey.HEADER_BYTES,
        layout: Layout | None = None,
        template: "SegyTraces | None" = None,
    ):
        """Reads the file's layout. The file itself is opened for each access.

        Args:
          path: the file.
          header_bytes: first bytes of inline and crossline numbers in the trace headers, from 1.
          layout: of a file that is to be written; None for one to be read.
          template: the file whose trace headers are those of written traces; None for the file itself.

        Raises:
          InputError: if the file is damaged or cannot be read.
        """
        self.name, self._template = str(path), template or self
        with reading(path):
            self._version = None if layout else files.version(path)
        self.layout = layout or check(path)
        self.header_bytes = tuple(header_bytes)
        self._chosen: np.ndarray | None = None
        self.count, self.samples = self.layout.count, self.layout.samples
        code = self.layout.format
        self.dtype = np.dtype("f4" if code == IBM_FLOAT else SAMPLES[code])

    @functools.cached_property
    def geometry(self) -> lines.Geometry:
        """The positions of the traces, read from their headers once.

        Raises:
          InputError: if there is more than one trace at a position, or headers cannot be read.
        """
        return survey.find(self.headers, self.header_bytes, self.name)

    @functools.cached_property
    def axis(self) -> sample_axis.SampleAxis:
        """The vertical axis.

        Raises:
          InputError: if the file cannot be read.
        """
        return sample_axis.read(self.name, self.layout)

    def lines(self, direction: str) -> list[np.ndarray]:
        """Returns the trace numbers of each "inline" or "crossline", -1 for a missing trace.

        Files that hold no volume are one 2-D line, or several, in the order of their traces.

        Raises:
          InputError: if there is more than one trace at a position, or headers cannot be read.
        """
        found = self.geometry
        return found.by_inline if direction == "inline" else found.by_crossline

    def positions(
        self, numbers: np.ndarray, direction: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """See `lines.Geometry.positions`."""
        return self.geometry.positions(numbers, direction)

    def select(self, numbers: np.ndarray, direction: str) -> "SegyTraces":
        """Returns the traces of some "inline" or "crossline" sections of a volume, as a file of their own.

        The sections are as they are in the whole file, with its missing traces. Files that `create` makes like it
        have these traces alone.

        Args:
          numbers: int[n], all traces of the sections, which are numbered from 0 in this order.
          direction: of the sections.
        """
        part = copy.copy(self)
        part._chosen, part.count = numbers, len(numbers)
        found = self.geometry
        part.geometry = lines.Geometry(found.inline[numbers], found.crossline[numbers])
        # One line of a volume alone would be a 2-D line, whose traces may be in another order, and some of
        # its lines would lie beside each other.
        part.geometry.volume, part.geometry.steps = found.volume, found.steps
        new = np.full(self.count + 1, -1, np.int32)  # the last for -1, a missing trace
        new[numbers] = np.arange(len(numbers))
        sections = [new[line] for line in self.lines(direction)]
        sections = [section for section in sections if (section >= 0).any()]
        if direction == "inline":
            part.geometry.by_inline = sections
        else:
            part.geometry.by_crossline = sections
        return part

    def grids(self) -> list[np.ndarray]:
        """Returns the trace numbers int[rows, columns] of the volume, or of each section [traces, 1].

        See `lines.Geometry.grids`.
        """
        return self.geometry.grids()

    def placed(self, numbers: np.ndarray) -> np.ndarray:
        """Returns bool[n], whether traces have a place in the volume, see `lines.Geometry.placed`."""
        return self.geometry.placed[numbers]

    def line_numbers(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns inline and crossline number of traces, int32[n] each."""
        return self.geometry.inline[numbers], self.geometry.crossline[numbers]

    def line_note(self) -> str:
        """Returns what the user should know if the file is taken as 2-D lines; otherwise ""."""
        return survey.note(self.geometry, self.headers, self.header_bytes)

    def headers(
        self,
        header_bytes: Sequence[int],
        numbers: np.ndarray | None = None,
        code: str = "i4",
    ) -> list[np.ndarray]:
        """Returns the integers at some places of the trace headers.

        Args:
          header_bytes: the first byte of each, from 1.
          numbers: int[n], of which traces; by default all.
          code: NumPy code of the integers: "i4" for four bytes, "i2" for two.

        Returns:
          [n] of that type for each of `header_bytes`.

        Raises:
          InputError: if they cannot be read.
        """
        count = self.count if numbers is None else len(numbers)
        names = [str(i) for i in range(len(header_bytes))]
        trace = np.dtype(
            {
                "names": names,
                "formats": [f"{self.layout.mark}{code}"] * len(names),
                "offsets": [byte - 1 for byte in header_bytes],
                "itemsize": self.layout.trace_bytes,
            }
        )
        found = [np.empty(count, code) for _ in names]
        with self._open() as file:
            for part in self.layout.blocks(0, count):
                if numbers is None:
                    wanted = np.arange(part.start, part.stop)
                else:
                    wanted = numbers[part]
                block = self._traces(file, wanted).view(trace)
                for name, integers in zip(names, found):
                    integers[part] = block[name]
        return found

    def place(self, number: int) -> str:
        """Returns the name of a trace for messages: its number, from 1, inline and crossline."""
        inline, crossline = self.headers(self.header_bytes, np.array([number]))
        return f"trace {number + 1} (inline {inline[0]}, crossline {crossline[0]})"

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the traces [n, samples] of those numbers, zeros for -1.

        Raises:
          InputError: if they cannot be read.
        """
        traces = np.empty((len(numbers), self.samples), self.dtype)
        with self._open() as file:
            for part in self.layout.blocks(0, len(numbers)):
                samples = self._traces(file, numbers[part])["samples"]
                if self.layout.format == IBM_FLOAT:
                    samples = ibm.to_ieee(samples.astype(np.uint32))
                traces[part] = samples
        return traces

    def write(self, numbers: np.ndarray, traces: np.ndarray) -> None:
        """Writes the traces [n, samples] of those numbers, except for -1.

        Raises:
          InputError: if their headers cannot be read.
          OSError: if they cannot be written.
        """
        template, self._version = self._template, None
        with template._open() as source, open(self.name, "r+b") as file:
            for part in self.layout.blocks(0, len(numbers)):
                samples = traces[part]
                if self.layout.format == IBM_FLOAT:
                    samples = ibm.from_ieee(samples.astype(np.float32))
                block = np.empty(len(samples), self.layout.trace)
                headers = template._traces(source, numbers[part])["header"]
                block["header"], block["samples"] = headers, samples
                for run, content in _runs(numbers[part], block):
                    file.seek(self.layout.place(run))
                    file.write(content)

    def _traces(self, file: io.BufferedReader, numbers: np.ndarray) -> np.ndarray:
        """Returns traces of the file, of the type `Layout.trace` [n], zeros for -1."""
        if self._chosen is not None:
            numbers = np.where(numbers < 0, -1, self._chosen[numbers])
        return _traces(file, numbers, self.layout)

    def _open(self) -> io.BufferedReader:
        # Not mapped: of a mapped file, a damaged disk would kill the process.
        with reading(self.name):
            if self._version:
                files.check_version(pathlib.Path(self.name), self._version)
            return open(self.name, "rb")


def _runs(numbers: np.ndarray, traces: np.ndarray) -> Iterator[tuple[int, memoryview]]:
    """Yields the first trace and the bytes of each run of consecutive numbers, except for -1.

    Args:
      numbers: of the traces.
      traces: of the type `Layout.trace` [n], contiguous.
    """
    breaks = np.flatnonzero((np.diff(numbers) != 1) | (numbers[:-1] < 0)) + 1
    starts = [0, *breaks.tolist()]
    content, size = traces.view(np.uint8).data, traces.itemsize
    for start, stop, first in zip(
        starts, [*starts[1:], len(numbers)], numbers[starts].tolist()
    ):
        if first >= 0:
            yield first, content[start * size : stop * size]


def create(path: pathlib.Path, other: SegyTraces, code: int) -> SegyTraces:
    """Returns the traces of a new SEG-Y file, each of which is to be written.

    They have the headers and positions of those of another file. Only the sample format in the
    binary header differs, if `code` does.

    Args:
      path: the file to write.
      other: the other file.
      code: the new file's sample format.

    Raises:
      InputError: if the other file cannot be read.
      OSError: if the new one cannot be written, such as for want of room.
    """
    layout = dataclasses.replace(other.layout, format=code, count=other.count)
    head, trailer = bytearray(layout.first), bytearray(layout.trailer)
    with other._open() as source, reading(other.name):
        _fill(head, source)
        source.seek(other.layout.place(other.layout.count))
        _fill(trailer, source)
    struct.pack_into(f"{layout.mark}h", head, FORMAT_OFFSET, code)
    with path.open("wb") as file:
        file.write(head)
        files.reserve(file, layout.place(layout.count) + layout.trailer)
        file.seek(layout.place(layout.count))
        file.write(trailer)
    new = SegyTraces(path, other.header_bytes, layout, template=other)
    new.geometry = other.geometry
    return new


def reopen(path: pathlib.Path, other: SegyTraces) -> SegyTraces:
    """Returns the traces of a file that `create` has made, without finding their positions again.

    Raises:
      InputError: if it cannot be read.
    """
    traces = SegyTraces(path, other.header_bytes)
    traces.geometry = other.geometry
    return traces


def _traces(file: io.BufferedReader, numbers: np.ndarray, layout: Layout) -> np.ndarray:
    """Returns traces of a file, of the type `Layout.trace` [n], zeros for -1."""
    traces = np.zeros(len(numbers), layout.trace)
    with reading(file.name):
        for first, content in _runs(numbers, traces):
            file.seek(layout.place(first))
            _fill(content, file)
    return traces


def _fill(content: bytearray | memoryview, file: io.BufferedReader) -> None:
    """Reads the next bytes of a file."""
    if file.readinto(content) < len(content):
        raise InputError(f"cannot read {file.name}: it was truncated while it was read")
