"""From the trace headers of a SEG-Y file to its lines, and what there is to say about them."""

from collections.abc import Callable, Sequence

import numpy as np

from saltjax.seismic import lines
from saltjax.system.errors import InputError

# Bytes of the trace header, from 1, where revision 1 has inline and crossline numbers, and others that
# are in use for them.
HEADER_BYTES = (189, 193)
OTHER_BYTES = ((5, 21), (9, 21), (9, 13), (17, 13), (221, 225))
CDP, OFFSET = 21, 37
FLAG = "--header_bytes"
# X and y of the CDP, and of the source.
COORDINATES = ((181, 185), (73, 77))
# Returns int32[n] for each of some bytes of the trace headers.
Headers = Callable[[Sequence[int]], list[np.ndarray]]


def find(
    headers: Headers, header_bytes: tuple[int, ...], name: str, flag: str = FLAG
) -> lines.Geometry:
    """Returns the geometry of a SEG-Y file.

    Args:
      headers: reads the trace headers.
      header_bytes: where inline and crossline numbers are.
      name: the file's, for messages.
      flag: that of the command line for other bytes.

    Raises:
      InputError: if there is more than one trace at a position.
    """
    inline, crossline = headers(header_bytes)
    found = lines.Geometry(inline, crossline, lambda: _coordinates(headers))
    checked, where = found, f"inline and crossline in bytes {_pair(header_bytes)}"
    if not found.numbered:
        if found.inlines == found.crosslines and header_bytes != HEADER_BYTES:
            return found  # bytes without numbers have been chosen
        (cdp,) = headers((CDP,))
        by_cdp = lines.Geometry(cdp, np.broadcast_to(np.int32(0), cdp.shape))
        if by_cdp.inlines > max(found.inlines, found.crosslines):
            checked, where = by_cdp, "CDP in bytes 21-24"
    if len(checked.repeats[0]):
        problem = unstacked(checked, *headers((OFFSET, *COORDINATES[0])))
        if problem:
            remedy = f"name others with {flag}"
            if flag == FLAG:  # of what predict takes
                remedy += "; two without numbers, 233,237, give one 2-D line"
            raise InputError(
                f"{name}: {problem} ({where}{candidates(headers, header_bytes, flag)}). If these "
                f"bytes hold something else, {remedy}"
            )
    return found


def note(
    geometry: lines.Geometry,
    headers: Headers,
    header_bytes: tuple[int, ...],
    flag: str = FLAG,
) -> str:
    """Returns what the user should know about a file that is taken as 2-D lines; else "".

    `flag` is that of the command line for other bytes.
    """
    if geometry.volume:
        return ""
    count, order = len(geometry.by_inline), " in the order of the file"
    taken = "one 2-D line" if count == 1 else f"{count} 2-D lines"
    if geometry.numbered:
        why = "follow a path"
    elif geometry.inlines == geometry.crosslines:
        why = "hold no line numbers"
    else:
        one, order = "inline" if geometry.inlines > 1 else "crossline", ""
        why = f"hold only {one} numbers"
    numbers = f"inline {_span(geometry.inline)}, crossline {_span(geometry.crossline)}"
    return (
        f"taken as {taken} of {len(geometry.inline)} traces{order}: bytes {_pair(header_bytes)} "
        f"{why} ({numbers}){candidates(headers, header_bytes, flag)}"
    )


def _pair(header_bytes: tuple[int, ...]) -> str:
    return " and ".join(map(str, header_bytes))


def _coordinates(headers: Headers) -> list[np.ndarray]:
    """Returns x and y of the first pair of bytes that holds any; otherwise an empty list."""
    for pair in COORDINATES:
        found = headers(pair)
        if any((axis != axis[0]).any() for axis in found):
            return found
    return []


def _span(numbers: np.ndarray) -> str:
    low, high = numbers.min(), numbers.max()
    return f"{low}" if low == high else f"{low} to {high}"


def candidates(
    headers: Headers, header_bytes: tuple[int, ...], flag: str = FLAG
) -> str:
    """Returns which other header bytes look like the numbers of a volume, to end a message with.

    `flag` is that of the command line for them.
    """
    found = []
    for pair in OTHER_BYTES:
        inline, crossline = headers(pair)
        other = lines.Geometry(inline, crossline)
        if pair != header_bytes and other.regular:
            found.append(
                f"; bytes {_pair(pair)} look like {other.inlines} inlines of "
                f"{other.crosslines} crosslines: give {flag}={pair[0]},{pair[1]}"
            )
    return "".join(found)


def unstacked(
    geometry: lines.Geometry, offset: np.ndarray, x: np.ndarray, y: np.ndarray
) -> str:
    """Returns what shows that there is more than one trace at a position; "" if nothing does.

    A 2-D line may cross itself, and traces in a row may have the numbers of one position if they are
    rounded; but if their offsets differ they are traces of a gather.

    Args:
      geometry: of the traces.
      offset, x, y: int32[n], of the traces; x and y are the coordinates of the CDP.
    """
    a, b = geometry.repeats
    most = geometry.most()
    found = f"up to {most} traces at one position"
    if (offset[a] != offset[b]).any():
        return (
            f"{found}, with offsets {_span(offset)} in bytes 37-40; expected one trace at a "
            "position: stack the gathers, or select one offset"
        )
    apart = ((x[a] != x[b]) | (y[a] != y[b])).all()
    rounded = apart or (most == 2 and 2 * len(a) < len(offset))
    path = not geometry.volume and (rounded or (b - a > 1).all())
    if path or not geometry.numbered:
        return ""  # unless both are numbered positions are not known
    return (
        f"{found}, such as traces {a[0] + 1} and {b[0] + 1} at inline {geometry.inline[a[0]]}, "
        f"crossline {geometry.crossline[a[0]]}, all with offset {offset[a[0]]} in bytes 37-40; "
        "expected one trace at a position: keep one of them"
    )
