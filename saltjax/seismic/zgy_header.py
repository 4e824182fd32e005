"""What the header of a ZGY file says: the vertical axis, line numbers and the grid on the map.

`reader` is an `openzgy.api.ZgyReader`; the enumerations of that module are arguments too, since it is imported
where a ZGY file is opened.
"""

import math
from typing import Any

import numpy as np

from saltjax.seismic.sample_axis import SampleAxis
from saltjax.seismic.trace_coordinates import Bins
from saltjax.system.errors import InputError

FOOT = 0.3048


def axis(reader: Any, dimension: Any) -> SampleAxis:
    """Returns the vertical axis, of unit "sample" if the file does not say what it is.

    `dimension` is `openzgy.api.UnitDimension`.
    """
    known, unit = float(reader.zunitfactor), "ms"
    if reader.zunitdim == dimension.time:
        factor = 1000 * known
    elif reader.zunitdim == dimension.length:
        feet = math.isclose(known, FOOT, rel_tol=1e-4)
        unit, factor = ("ft", 1.0) if feet else ("m", known)
    else:
        return SampleAxis()
    first, step = factor * float(reader.zstart), factor * float(reader.zinc)
    if not (math.isfinite(first) and math.isfinite(step) and step > 0):
        return SampleAxis()
    # The file has float32.
    return SampleAxis(unit, float(f"{first:.7g}"), float(f"{step:.7g}"))


def length_unit(reader: Any, dimension: Any) -> str:
    """Returns the unit of coordinates: "m" or "ft", "" if it is not known; `dimension` as for `axis`."""
    if reader.hunitdim != dimension.length:
        return ""
    for unit, factor in (("m", 1.0), ("ft", FOOT)):
        if math.isclose(float(reader.hunitfactor), factor, rel_tol=1e-4):
            return unit
    return ""


def numbers(start: float, step: float, count: int, place: str) -> np.ndarray | None:
    """Returns the numbers int64[count] of lines; None if the file has none, that is, all the same."""
    if step == 0 and count > 1:
        return None
    found = float(start) + float(step) * np.arange(count)
    if not np.isfinite(found).all() or (found != np.rint(found)).any():
        raise InputError(
            f"{place}: lines are numbered from {start:g} in steps of {step:g}; expected whole numbers: "
            "export it again, or as SEG-Y"
        )
    if np.abs(found).max() > np.iinfo(np.int32).max:
        raise InputError(
            f"{place}: lines are numbered from {start:g} in steps of {step:g}; expected numbers of up to "
            "32 bits: export it again, or as SEG-Y"
        )
    return found.astype(np.int64)


def zero_limit(reader: Any, kind: Any) -> float:
    """Returns the largest absolute value that stands for 0: half a step of integers, 0 of floats.

    `kind` is `openzgy.api.SampleDataType`.
    """
    bits = {kind.int8: 8, kind.int16: 16}.get(reader.datatype)
    if bits is None:
        return 0.0
    low, high = map(float, reader.datarange)
    return 0.5001 * (high - low) / (2**bits - 1)  # more than half, for rounding


def bins(
    numbers: list[np.ndarray | None], corners: np.ndarray | None, shape: tuple[int, ...]
) -> Bins | None:
    """Returns the grid on the map; corners are x and y at the ends of the first and last lines."""
    if corners is None or min(shape[:2]) < 2:
        return None
    inlines, crosslines = (
        np.arange(count) if axis is None else axis
        for axis, count in zip(numbers, shape)
    )
    # Corner 1 is at the last inline, corner 2 at the last crossline.
    spans = corners[1] - corners[0], corners[2] - corners[0]
    found = Bins(
        np.array([inlines[0], crosslines[0]]),
        np.array(shape[:2]),
        np.array([step(inlines), step(crosslines)]),
        corners[0],
        np.stack([span / (n - 1) for span, n in zip(spans, shape)]),
    )
    return found if np.isfinite(corners).all() and found.area > 0 else None


def step(numbers: np.ndarray) -> int:
    """Returns the difference of evenly spaced numbers int[n]; 1 of a single one."""
    return int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
