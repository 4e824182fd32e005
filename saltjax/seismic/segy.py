"""SEG-Y files: checked before they are opened, read and written by segyio trace by trace.

The layout is that of SEG-Y revision 1 (SEG, 2002); revisions 0 and 2 differ in details only.
"""

import dataclasses
import functools
import pathlib
import struct
import threading
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from saltjax.seismic import lines, survey
from saltjax.system.errors import InputError, reading

TEXT_BYTES, BINARY_BYTES, TRACE_HEADER_BYTES = 3200, 400, 240
# Bytes per sample of each sample format code that segyio reads.
SAMPLE_BYTES = {1: 4, 2: 4, 3: 2, 5: 4, 6: 8, 8: 1, 9: 8, 10: 4, 11: 2, 12: 8, 16: 1}
# Formats that can hold probabilities; files of other formats become IEEE floats.
FLOAT_FORMATS = (1, 5, 6)
IEEE_FLOAT = 5
FORMAT_OFFSET = 3224
TRACES_AT_ONCE = 1024
# Bytes of a file that are read at once for its headers.
BLOCK_BYTES = 2**24


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a SEG-Y file.

    Attributes:
      endian: "big" or "little".
      format: sample format code.
      samples: samples per trace.
      first: byte offset of the first trace.
      count: number of traces.
    """

    endian: str
    format: int
    samples: int
    first: int
    count: int

    @property
    def trace_bytes(self) -> int:
        """Bytes per trace, its header included."""
        return TRACE_HEADER_BYTES + self.samples * SAMPLE_BYTES[self.format]


def check(path: pathlib.Path) -> Layout:
    """Returns the layout of a SEG-Y file, from its binary header and size.

    Raises:
      InputError: if it cannot be read, or header and size are inconsistent.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(TEXT_BYTES + BINARY_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    if len(head) < TEXT_BYTES + BINARY_BYTES:
        raise InputError(
            f"{path}: {size} bytes; a SEG-Y file starts with 3600 bytes of headers"
        )
    codes = {
        endian: struct.unpack_from(f"{mark}h", head, FORMAT_OFFSET)[0]
        for endian, mark in (("big", ">"), ("little", "<"))
    }
    endian = next((e for e, code in codes.items() if code in SAMPLE_BYTES), None)
    if endian is None:
        known = ", ".join(map(str, SAMPLE_BYTES))
        raise InputError(
            f"{path}: format code {codes['big']} in bytes 3225-3226; expected one of {known} (is "
            "this SEG-Y?)"
        )
    mark = ">" if endian == "big" else "<"
    (samples,) = struct.unpack_from(f"{mark}H", head, 3220)
    (extended,) = struct.unpack_from(f"{mark}h", head, 3504)
    first = TEXT_BYTES + BINARY_BYTES + extended * TEXT_BYTES
    if samples == 0 or extended < 0:
        raise InputError(
            f"{path}: {samples} samples a trace (bytes 3221-3222) and {extended} extended "
            "headers (3505-3506); expected at least 1, and 0 or more"
        )
    layout = Layout(endian, codes[endian], samples, first, 0)
    count, rest = divmod(size - first, layout.trace_bytes)
    if count < 1 or rest:
        raise InputError(
            f"{path}: {size} bytes are not {first} of headers and a whole number of traces of "
            f"{layout.trace_bytes} bytes ({samples} samples of format {layout.format}): its header "
            "is damaged, or it is truncated"
        )
    return dataclasses.replace(layout, count=count)


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
        mode: str = "r",
        layout: Layout | None = None,
        header_bytes: Sequence[int] = survey.HEADER_BYTES,
    ):
        """Opens the file.

        Args:
          path: the file.
          mode: "r", or "r+" to write traces.
          layout: the file's layout if it is known; None calls `check`.
          header_bytes: first bytes of inline and crossline numbers in the trace headers, from 1.

        Raises:
          InputError: if the file is damaged, or segyio is not installed.
        """
        segyio = import_segyio()
        self.name, self.layout = str(path), layout or check(path)
        self.header_bytes = tuple(header_bytes)
        try:
            self._file = segyio.open(
                path, mode, ignore_geometry=True, endian=self.layout.endian
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: segyio cannot open it: {error}") from None
        self._lock = threading.Lock()
        self.count, self.samples = self.layout.count, self.layout.samples
        opened = self._file.tracecount, len(self._file.samples), int(self._file.format)
        if opened != (self.count, self.samples, self.layout.format):
            raise InputError(
                f"{path}: segyio finds {opened[0]} traces of {opened[1]} samples of format "
                f"{opened[2]}, the header says {self.count}, {self.samples} and "
                f"{self.layout.format}"
            )
        self.dtype = self._file.dtype

    @functools.cached_property
    def geometry(self) -> lines.Geometry:
        """The positions of the traces, read from their headers once.

        Raises:
          InputError: if there is more than one trace at a position.
        """
        return survey.find(self.headers, self.header_bytes, self.name)

    def lines(self, direction: str) -> list[np.ndarray]:
        """Returns the trace numbers of each "inline" or "crossline", -1 for a missing trace.

        Files that hold no volume are one 2-D line, or several, in the order of their traces.

        Raises:
          InputError: if there is more than one trace at a position.
        """
        found = self.geometry
        return found.by_inline if direction == "inline" else found.by_crossline

    def positions(
        self, numbers: np.ndarray, direction: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """See `lines.Geometry.positions`."""
        return self.geometry.positions(numbers, direction)

    def line_note(self) -> str:
        """Returns what the user should know if the file is taken as 2-D lines; otherwise ""."""
        return survey.note(self.geometry, self.headers, self.header_bytes)

    def headers(
        self, header_bytes: Sequence[int], start: int = 0, stop: int | None = None
    ) -> list[np.ndarray]:
        """Returns the integers of four bytes at some places of the trace headers.

        The headers are read directly, since segyio reads only those of its fields.

        Args:
          header_bytes: the first byte of each, from 1 to 237.
          start, stop: of which traces; by default all.

        Returns:
          int32[n] for each of `header_bytes`.
        """
        layout, stop = self.layout, self.count if stop is None else stop
        mark = ">" if layout.endian == "big" else "<"
        names = [str(i) for i in range(len(header_bytes))]
        trace = np.dtype(
            {
                "names": names,
                "formats": [f"{mark}i4"] * len(names),
                "offsets": [byte - 1 for byte in header_bytes],
                "itemsize": layout.trace_bytes,
            }
        )
        found = [np.empty(stop - start, np.int32) for _ in names]
        step = max(1, BLOCK_BYTES // layout.trace_bytes)
        with reading(self.name), open(self.name, "rb") as file:
            file.seek(layout.first + start * layout.trace_bytes)
            for first in range(start, stop, step):
                n = min(step, stop - first)
                # Not mapped: of a mapped file, a damaged disk would kill the process.
                block = np.frombuffer(_read(file, n * layout.trace_bytes), trace)
                for name, numbers in zip(names, found):
                    numbers[first - start : first - start + n] = block[name]
        return found

    def place(self, number: int) -> str:
        """Returns the name of a trace for messages: its number, from 1, inline and crossline."""
        inline, crossline = self.headers(self.header_bytes, number, number + 1)
        return f"trace {number + 1} (inline {inline[0]}, crossline {crossline[0]})"

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the traces [n, samples] of those numbers, zeros for -1.

        Raises:
          InputError: if they cannot be read.
        """
        traces = np.zeros((len(numbers), self.samples), self.dtype)
        with reading(self.name), self._lock:  # segyio seeks, then reads
            for part, start, stop in _runs(numbers):
                traces[part] = self._file.trace.raw[start:stop]
        return traces

    def write(self, numbers: np.ndarray, traces: np.ndarray) -> None:
        """Writes the traces [n, samples] of those numbers, except for -1."""
        traces = np.require(traces, self.dtype, ["C", "A", "W"])
        # Assignment to segyio's `trace[number]` checks each trace, twice as long as writing it takes.
        put = self._file.trace.filehandle.puttr
        for number, trace in zip(numbers.tolist(), traces):
            if number >= 0:
                put(number, trace)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def import_segyio() -> Any:
    """Returns the module segyio; raises InputError if it is not installed."""
    try:
        import segyio
    except ImportError:
        raise InputError(
            "SEG-Y needs segyio, which is not installed: pip install segyio"
        ) from None
    return segyio


def _runs(numbers: np.ndarray) -> list[tuple[slice, int, int]]:
    """Returns (where, start, stop) for each run of consecutive numbers that are not negative."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    parts = zip([0, *breaks], [*breaks, len(numbers)])
    return [
        (slice(a, b), int(numbers[a]), int(numbers[b - 1]) + 1)
        for a, b in parts
        if b > a and numbers[a] >= 0
    ]


def create(path: pathlib.Path, other: SegyTraces, code: int) -> SegyTraces:
    """Returns the traces of a new SEG-Y file, opened to be written.

    It has every header and trace position of another, and samples of 0. Only the sample format in
    the binary header differs, if `code` does.

    Args:
      path: the file to write.
      other: the other file.
      code: the new file's sample format.

    Raises:
      InputError: if the other file cannot be read.
      OSError: if the new one cannot be written.
    """
    old = other.layout
    layout = dataclasses.replace(old, format=code)
    with reading(other.name):
        source = open(other.name, "rb")  # noqa: SIM115 - closed below
    with source, path.open("wb") as target:
        head = bytearray(_read(source, old.first))
        mark = ">" if old.endian == "big" else "<"
        struct.pack_into(f"{mark}h", head, FORMAT_OFFSET, code)
        target.write(head)
        for start in range(0, old.count, TRACES_AT_ONCE):
            n = min(TRACES_AT_ONCE, old.count - start)
            traces = np.frombuffer(_read(source, n * old.trace_bytes), np.uint8)
            copy = np.zeros((n, layout.trace_bytes), np.uint8)
            copy[:, :TRACE_HEADER_BYTES] = traces.reshape(n, -1)[:, :TRACE_HEADER_BYTES]
            target.write(copy.tobytes())
    new = SegyTraces(path, "r+", layout, other.header_bytes)
    new.geometry = other.geometry
    return new


def _read(file: BinaryIO, size: int) -> bytes:
    """Returns that many bytes of a file; raises InputError if they cannot be read."""
    with reading(file.name):
        content = file.read(size)
    if len(content) < size:
        raise InputError(f"{file.name}: it was truncated while it was read")
    return content
