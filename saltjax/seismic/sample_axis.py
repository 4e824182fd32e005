"""The vertical axis of a SEG-Y file: where its samples are, in time or depth, by its headers."""

import dataclasses
import re
import struct

import numpy as np

from saltjax.seismic import segy_layout
from saltjax.system.errors import reading

# Bytes of the headers, from 0: of the file, and of a trace.
INTERVAL, MEASURE, REVISION = 3216, 3254, 3500
DELAY, TRACE_INTERVAL, TIME_SCALAR = 108, 116, 214
# Of SEG-Y revision 2: replaces the others if it is not 0.
EXTENDED_INTERVAL = 3272
SCALARS = (1, 10, 100, 1000, 10000)
FEET = 2
DEPTH = re.compile(
    r"\bdepth\W{0,3}(domain|migrated|section|volume)\b|\b(domain|z unit)\W{1,4}depth\b",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class SampleAxis:
    """The position of sample i is first + i × step.

    Attributes:
      unit: "ms" of two-way time; "m" or "ft" of depth; "sample" if the file states no interval.
      first, step: in that unit.
    """

    unit: str = "sample"
    first: float = 0.0
    step: float = 1.0


def read(name: str, layout: segy_layout.Layout) -> SampleAxis:
    """Returns the vertical axis of a SEG-Y file, that of its first trace.

    The interval and the delay are in µs and ms; files in depth have mm and m, or thousandths of a
    foot and feet, there. A file says that it is in depth only in its textual header.

    Args:
      name: the path of the file.
      layout: of the file.

    Raises:
      InputError: if it cannot be read.
    """
    with reading(name), open(name, "rb") as file:
        head = file.read(segy_layout.TEXT_BYTES + segy_layout.BINARY_BYTES)
        file.seek(layout.first)
        trace = file.read(segy_layout.TRACE_HEADER_BYTES)

    def number(of: bytes, place: int, code: str) -> int:
        return struct.unpack_from(layout.mark + code, of, place)[0]

    interval = number(trace, TRACE_INTERVAL, "H") or number(head, INTERVAL, "H")
    if head[REVISION] == 2:
        extended = number(head, EXTENDED_INTERVAL, "d")
        interval = extended if np.isfinite(extended) and extended > 0 else interval
    if not interval:
        return SampleAxis()
    scalar, factor = number(trace, TIME_SCALAR, "h"), 1.0
    if number(head, REVISION, "H") and abs(scalar) in SCALARS:
        factor = scalar if scalar > 0 else 1 / -scalar
    unit = "ms"
    if DEPTH.search(text(head[: segy_layout.TEXT_BYTES])):
        unit = "ft" if number(head, MEASURE, "h") == FEET else "m"
    return SampleAxis(unit, factor * number(trace, DELAY, "h"), interval / 1000)


def text(content: bytes) -> str:
    """Returns a textual header, in EBCDIC or ASCII: of the two the one with more letters."""
    both = [content.decode(code, errors="replace") for code in ("cp037", "ascii")]
    return max(both, key=lambda found: sum(c.isascii() and c.isalnum() for c in found))
