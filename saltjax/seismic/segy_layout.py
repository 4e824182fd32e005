"""The layout of a SEG-Y file, from its binary header and size, checked before traces are read.

It is that of SEG-Y revision 1 (SEG, 2002), and of those parts of revision 2 (SEG, 2017) that change
where traces are.
"""

import dataclasses
import functools
import pathlib
import struct
from collections.abc import Iterator

import numpy as np

from saltjax.system.errors import InputError

TEXT_BYTES, BINARY_BYTES, TRACE_HEADER_BYTES = 3200, 400, 240
FIRST_TRACE = TEXT_BYTES + BINARY_BYTES  # without extended headers
# Of the byte orders, for `struct` and NumPy.
MARKS = {"big": ">", "little": "<"}
IBM_FLOAT, IEEE_FLOAT, INT8 = 1, 5, 8
# NumPy codes of the samples of each format code; IBM floats are read as their bits.
SAMPLES = {
    IBM_FLOAT: "u4",
    2: "i4",
    3: "i2",
    IEEE_FLOAT: "f4",
    6: "f8",
    INT8: "i1",
    9: "i8",
    10: "u4",
    11: "u2",
    12: "u8",
    16: "u1",
}
# Formats that can hold probabilities; files of other formats become IEEE floats.
FLOAT_FORMATS = (IBM_FLOAT, IEEE_FLOAT, 6)
FORMAT_OFFSET = 3224
# Bytes of a file that are read or written at once: they fit into the cache of a core.
BLOCK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a SEG-Y file.

    Attributes:
      endian: "big" or "little".
      format: sample format code.
      samples: samples per trace.
      first: byte offset of the first trace.
      count: number of traces.
      trailer: bytes after the last trace, which are copied as they are.
    """

    endian: str
    format: int
    samples: int
    first: int
    count: int
    trailer: int = 0

    @property
    def mark(self) -> str:
        """The byte order, for `struct` and NumPy."""
        return MARKS[self.endian]

    @functools.cached_property
    def trace(self) -> np.dtype:
        """A trace: its `header` and its `samples`."""
        samples = f"{self.mark}{SAMPLES[self.format]}", (self.samples,)
        return np.dtype([("header", f"V{TRACE_HEADER_BYTES}"), ("samples", *samples)])

    @property
    def trace_bytes(self) -> int:
        """Bytes per trace, its header included."""
        return self.trace.itemsize

    def place(self, number: int) -> int:
        """Returns the byte offset of a trace."""
        return self.first + number * self.trace_bytes

    def blocks(self, start: int, stop: int) -> Iterator[slice]:
        """Yields slices from start to stop for traces of BLOCK_BYTES, at least one trace each."""
        step = max(1, BLOCK_BYTES // self.trace_bytes)
        for first in range(start, stop, step):
            yield slice(first, min(first + step, stop))


def check(path: pathlib.Path) -> Layout:
    """Returns the layout of a SEG-Y file, from its binary header and size.

    Raises:
      InputError: if it cannot be read, or header and size are inconsistent.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(FIRST_TRACE)
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    if len(head) < FIRST_TRACE:
        raise InputError(
            f"{path}: {size} bytes; a SEG-Y file starts with {FIRST_TRACE} bytes of headers"
        )
    codes = {
        endian: struct.unpack_from(f"{mark}h", head, FORMAT_OFFSET)[0]
        for endian, mark in MARKS.items()
    }
    endian = next((e for e, code in codes.items() if code in SAMPLES), None)
    if endian is None:
        known = ", ".join(map(str, SAMPLES))
        raise InputError(
            f"{path}: format code {codes['big']} in bytes 3225-3226; expected one of {known} (is "
            "this SEG-Y?)"
        )
    first, samples, trailer = _sizes(str(path), head, MARKS[endian])
    if samples > size:
        raise InputError(
            f"{path}: {samples} samples a trace in a file of {size} bytes: its header is damaged, or it is "
            "truncated"
        )
    layout = Layout(endian, codes[endian], samples, first, 0, trailer)
    count, rest = divmod(size - first - trailer, layout.trace_bytes)
    if count < 1 or rest:
        records = f", {trailer} of trailers" if trailer else ""
        raise InputError(
            f"{path}: {size} bytes are not {first} of headers{records} and a whole number of traces of "
            f"{layout.trace_bytes} bytes ({samples} samples of format {layout.format}): its header "
            "is damaged, or it is truncated"
        )
    return dataclasses.replace(layout, count=count)


def _sizes(name: str, head: bytes, mark: str) -> tuple[int, int, int]:
    """Returns the bytes before the first trace, samples per trace, and the bytes after the last trace.

    Of SEG-Y revision 2 (SEG, 2017) those fields are read that change where traces are.

    Raises:
      InputError: if there are trace header extensions, or numbers that cannot be.
    """

    def number(byte: int, code: str) -> int:
        return struct.unpack_from(f"{mark}{code}", head, byte - 1)[0]

    samples, extended, trailers, offset = number(3221, "H"), number(3505, "h"), 0, 0
    if head[3500] == 2:
        samples = number(3269, "i") or samples
        trailers, offset = number(3529, "i"), number(3521, "Q")
        if (extensions := number(3507, "h")) > 0:
            raise InputError(
                f"{name}: up to {extensions} trace header extension(s) (SEG-Y revision 2, bytes "
                "3507-3508); extended trace headers are not supported: write the file with trace "
                "headers of 240 bytes"
            )
        if 0 < offset < FIRST_TRACE:
            raise InputError(
                f"{name}: a first trace at byte {offset}, within the headers (SEG-Y revision 2, bytes "
                f"3521-3528); expected 0, or at least {FIRST_TRACE}: its header is damaged"
            )
        if number(3269, "i") < 0:
            raise InputError(
                f"{name}: {samples} samples a trace (SEG-Y revision 2, bytes 3269-3272); expected at "
                "least 1"
            )
        if trailers < 0:
            raise InputError(
                f"{name}: a number of trailers that is not stated (SEG-Y revision 2, {trailers} in bytes "
                "3529-3532); expected 0 or more: write the file without trailers"
            )
    if extended == -1 and not offset:
        raise InputError(
            f"{name}: a number of extended textual headers that is not stated (-1 in bytes 3505-3506); "
            "expected 0 or more: write the file without them"
        )
    if samples < 1 or extended < -1:
        raise InputError(
            f"{name}: {samples} samples a trace (bytes 3221-3222) and {extended} extended "
            "headers (3505-3506); expected at least 1, and 0 or more"
        )
    first = offset or FIRST_TRACE + extended * TEXT_BYTES
    return first, samples, trailers * TEXT_BYTES
