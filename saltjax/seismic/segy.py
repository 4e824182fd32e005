"""SEG-Y files: checked before they are opened, read and written by segyio trace by trace.

The layout is that of SEG-Y revision 1 (SEG, 2002), which revisions 0 and 2 share but for details.
"""

import dataclasses
import pathlib
import struct
from typing import Any

import numpy as np

from saltjax.system.errors import InputError

TEXT_BYTES, BINARY_BYTES, TRACE_HEADER_BYTES = 3200, 400, 240
# Bytes a sample, by the format code, of those that segyio reads.
SAMPLE_BYTES = {1: 4, 2: 4, 3: 2, 5: 4, 6: 8, 8: 1, 9: 8, 10: 4, 11: 2, 12: 8, 16: 1}
# Those that hold probabilities; other files get IEEE floats.
FLOAT_FORMATS = (1, 5, 6)
IEEE_FLOAT = 5
FORMAT_OFFSET = 3224
INLINE, CROSSLINE = 189, 193
TRACES_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things are in a SEG-Y file.

    Attributes:
      endian: "big" or "little".
      format: the code of the samples.
      samples: of a trace.
      first: the byte at which the first trace begins.
      count: traces.
    """

    endian: str
    format: int
    samples: int
    first: int
    count: int

    @property
    def trace_bytes(self) -> int:
        """Bytes of a trace with its header."""
        return TRACE_HEADER_BYTES + self.samples * SAMPLE_BYTES[self.format]


def check(path: pathlib.Path) -> Layout:
    """Returns the layout of a SEG-Y file, from its header and size alone.

    Raises:
      InputError: if it cannot be read, or its header and size do not belong together.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(TEXT_BYTES + BINARY_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    if len(head) < TEXT_BYTES + BINARY_BYTES:
        raise InputError(
            f"{path}: {size} bytes; a SEG-Y file begins with 3600 bytes of headers"
        )
    codes = {
        endian: struct.unpack_from(f"{mark}h", head, FORMAT_OFFSET)[0]
        for endian, mark in (("big", ">"), ("little", "<"))
    }
    endian = next((e for e, code in codes.items() if code in SAMPLE_BYTES), None)
    if endian is None:
        known = ", ".join(map(str, SAMPLE_BYTES))
        raise InputError(
            f"{path}: format code {codes['big']} in bytes 3225-3226; expected one of {known} (is this "
            "SEG-Y?)"
        )
    mark = ">" if endian == "big" else "<"
    (samples,) = struct.unpack_from(f"{mark}H", head, 3220)
    (extended,) = struct.unpack_from(f"{mark}h", head, 3504)
    first = TEXT_BYTES + BINARY_BYTES + extended * TEXT_BYTES
    if samples == 0 or extended < 0:
        raise InputError(
            f"{path}: {samples} samples a trace (bytes 3221-3222) and {extended} extended headers "
            "(3505-3506); expected at least 1, and 0 or more"
        )
    layout = Layout(endian, codes[endian], samples, first, 0)
    count, rest = divmod(size - first, layout.trace_bytes)
    if count < 1 or rest:
        raise InputError(
            f"{path}: {size} bytes are not {first} of headers and whole traces of "
            f"{layout.trace_bytes} bytes ({samples} samples of format {layout.format}): its header is "
            "damaged, or it is cut off"
        )
    return dataclasses.replace(layout, count=count)


class SegyTraces:
    """The traces of a SEG-Y file, numbered from 0 in the file's order.

    Attributes:
      name: the file.
      layout: see `Layout`.
      count, samples: of traces, and of samples in each.
      dtype: of the samples.
    """

    def __init__(self, path: pathlib.Path, mode: str = "r"):
        """Opens the file; raises InputError if it is damaged or segyio is not installed."""
        segyio = _segyio()
        self.name, self.layout = str(path), check(path)
        try:
            self._file = segyio.open(
                path, mode, ignore_geometry=True, endian=self.layout.endian
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{path}: segyio cannot open it: {error}") from None
        self.count, self.samples = self.layout.count, self.layout.samples
        found = self._file.tracecount, len(self._file.samples), int(self._file.format)
        if found != (self.count, self.samples, self.layout.format):
            raise InputError(
                f"{path}: segyio finds {found[0]} traces of {found[1]} samples of format {found[2]}, "
                f"the header says {self.count}, {self.samples} and {self.layout.format}"
            )
        self.dtype = self._file.dtype

    def lines(self, direction: str) -> list[np.ndarray]:
        """Returns the trace numbers of each "inline" or "crossline", -1 for a missing trace.

        They are found by the numbers in bytes 189 and 193 of the trace headers. A file whose headers
        do not number both is one line, in the order of its traces.
        """
        inline, crossline = (
            np.int64(self._file.attributes(field)[:]) for field in (INLINE, CROSSLINE)
        )
        names, positions = (
            (inline, crossline) if direction == "inline" else (crossline, inline)
        )
        places = np.unique(np.stack([inline, crossline], axis=1), axis=0)
        regular = all(len(np.unique(x)) > 1 for x in (inline, crossline))
        # Numbers that differ from trace to trace are no lines, nor those that name few places.
        if (
            not regular
            or len(np.unique(names)) == self.count
            or len(places) <= self.count // 2
        ):
            return [np.arange(self.count)]
        step = int(np.gcd.reduce(np.diff(np.unique(positions))))
        return [
            _in_place(np.flatnonzero(names == name), positions, step)
            for name in np.unique(names)
        ]

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the traces [n, samples] of those numbers, zeros for -1."""
        traces = np.zeros((len(numbers), self.samples), self.dtype)
        for part, start, stop in _runs(numbers):
            traces[part] = self._file.trace.raw[start:stop]
        return traces

    def write(self, numbers: np.ndarray, traces: np.ndarray) -> None:
        """Writes the traces [n, samples] of those numbers, leaving -1 out."""
        traces = np.ascontiguousarray(traces, self.dtype)
        for number, trace in zip(numbers, traces):
            if number >= 0:
                self._file.trace[int(number)] = trace

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _segyio() -> Any:
    try:
        import segyio
    except ImportError:
        raise InputError(
            "SEG-Y needs segyio, which is not installed: pip install 'saltjax[segy]', or "
            "pip install segyio"
        ) from None
    return segyio


def _in_place(members: np.ndarray, positions: np.ndarray, step: int) -> np.ndarray:
    """Returns a line's trace numbers by their positions, `step` apart, -1 where one is missing."""
    members = members[np.argsort(positions[members], kind="stable")]
    if (np.diff(positions[members]) == 0).any():
        return members
    places = (positions[members] - positions[members[0]]) // step
    # Lines of few traces far apart would be more gap than trace.
    if places[-1] + 1 > 2 * len(members):
        return members
    line = np.full(places[-1] + 1, -1)
    line[places] = members
    return line


def _runs(numbers: np.ndarray) -> list[tuple[slice, int, int]]:
    """Returns (where, start, stop) for each run of successive numbers that are not negative."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    parts = zip([0, *breaks], [*breaks, len(numbers)])
    return [
        (slice(a, b), int(numbers[a]), int(numbers[b - 1]) + 1)
        for a, b in parts
        if b > a and numbers[a] >= 0
    ]


def copy_headers(path: pathlib.Path, new: pathlib.Path) -> Layout:
    """Writes a SEG-Y file with every header and trace position of another, its samples 0.

    A sample format that cannot hold probabilities becomes that of IEEE floats; nothing else in the
    headers differs.

    Returns:
      The layout of the new file.
    """
    old = check(path)
    code = old.format if old.format in FLOAT_FORMATS else IEEE_FLOAT
    layout = dataclasses.replace(old, format=code)
    with path.open("rb") as source, new.open("wb") as target:
        head = bytearray(source.read(old.first))
        mark = ">" if old.endian == "big" else "<"
        struct.pack_into(f"{mark}h", head, FORMAT_OFFSET, code)
        target.write(head)
        for start in range(0, old.count, TRACES_AT_ONCE):
            n = min(TRACES_AT_ONCE, old.count - start)
            traces = np.frombuffer(source.read(n * old.trace_bytes), np.uint8)
            copy = np.zeros((n, layout.trace_bytes), np.uint8)
            copy[:, :TRACE_HEADER_BYTES] = traces.reshape(n, -1)[:, :TRACE_HEADER_BYTES]
            target.write(copy)
    return layout
