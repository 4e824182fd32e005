"""Some lines of a volume, for a first look: --lines."""

import dataclasses

import numpy as np

from saltjax.seismic import npy, segy
from saltjax.system.errors import InputError

# Line numbers have 32 bits.
LARGEST = 2**31
EXPECTED = "expected START:STOP or START:STOP:STEP of line numbers, as 100:200:10"


@dataclasses.dataclass(frozen=True)
class Lines:
    """Line numbers from `start` to `stop`, both inclusive, `step` apart."""

    start: int
    stop: int
    step: int

    def __str__(self) -> str:
        return f"{self.start}:{self.stop}:{self.step}"


def parse(text: str) -> Lines:
    """Returns --lines.

    Raises:
      InputError: if it is no range of line numbers.
    """
    try:
        numbers = [int(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 2:
        numbers.append(1)
    known = len(numbers) == 3 and all(abs(n) < LARGEST for n in numbers)
    if not known or numbers[2] < 1 or numbers[1] < numbers[0]:
        raise InputError(f"--lines={text}; {EXPECTED}")
    return Lines(*numbers)


def select(
    source: npy.ArrayTraces | segy.SegyTraces, direction: str, wanted: Lines
) -> npy.ArrayTraces | segy.SegyTraces:
    """Returns the traces of some inlines or crosslines of a volume.

    Args:
      source: the volume.
      direction: "inline" or "crossline", along which it is segmented.
      wanted: their numbers, in an array their indices from 0.

    Raises:
      InputError: if it is no volume, or has none of these lines, or direction is "both".
    """
    place = f"{source.name}: --lines={wanted}"
    if direction == "both":
        raise InputError(
            f"{place} with direction=both, which needs all lines: give --direction=inline or crossline"
        )
    if isinstance(source, npy.ArrayTraces):
        if len(source.shape) != 3 or source.image() is not None:
            raise InputError(f"{place} is of volumes; this is a section, or an image")
        known = source.numbers(direction)
    else:
        found = source.geometry
        if not found.volume:
            raise InputError(f"{place} is of volumes; this is a 2-D line, or several")
        placed = np.flatnonzero(found.placed)
        known = (found.inline if direction == "inline" else found.crossline)[placed]
    known = known.astype(np.int64)  # no difference overflows
    chosen = (known >= wanted.start) & (known <= wanted.stop)
    chosen &= (known - wanted.start) % wanted.step == 0
    if not chosen.any():
        numbers = np.unique(known)
        step = int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
        raise InputError(
            f"{place}: none of these {direction}s; it has {numbers[0]} to {numbers[-1]}"
            f"{f', every {step}th' if step > 1 else ''}"
        )
    if isinstance(source, npy.ArrayTraces):
        return source.select(direction, np.flatnonzero(chosen))
    return source.select(placed[chosen], direction)
