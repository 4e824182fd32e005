"""Sections resampled for a network that was trained on data of another scale: --scale."""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from PIL import Image

from saltjax.system.errors import InputError

LEAST, MOST = Fraction(1, 10), Fraction(10)
# The largest denominator of a factor: where a line may be cut repeats after as many traces, times the
# period of the network, see `volumes.pieces`.
FINEST = 20
EXPECTED = (
    f"expected two factors, of samples and traces, from {float(LEAST):g} to {float(MOST):g} by which sections are "
    "stretched for the network, as 2,1"
)
# Pixels on either side that the filters of Pillow take into account, at the coarser resolution.
CUBIC, LINEAR = 2, 1


@dataclasses.dataclass(frozen=True)
class Scale:
    """By how much a section is stretched before the network sees it."""

    samples: Fraction = Fraction(1)
    traces: Fraction = Fraction(1)

    def __str__(self) -> str:
        return f"{float(self.samples):g},{float(self.traces):g}"

    def context(self) -> int:
        """Returns how many traces beside a place the filters need, both ways."""
        return math.ceil((CUBIC + LINEAR) * max(Fraction(1), 1 / self.traces)) + 1

    def stretch(self, section: np.ndarray) -> np.ndarray:
        """Returns a section float32[H, W, C] in [0, 1] at the network's scale, [h, w, C].

        Pixel i of the result is centred at (i + 0.5) / factor - 0.5 of the section. Beyond its last row
        and column, which may be needed for the last pixels, they are repeated.
        """
        shape = [
            max(1, math.ceil(n * f))
            for n, f in zip(section.shape, (self.samples, self.traces))
        ]
        ends = [n / f for n, f in zip(shape, (self.samples, self.traces))]
        more = [max(0, math.ceil(end) - n) for n, end in zip(section.shape, ends)]
        padded = np.pad(section, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
        # Cubic, since amplitudes are band-limited: it may overshoot.
        stretched = [
            _resize(channel, shape, ends, Image.Resampling.BICUBIC)
            for channel in np.moveaxis(padded, 2, 0)
        ]
        return np.clip(np.stack(stretched, axis=2), 0, 1)

    def restore(self, prob: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Returns probabilities float32[h, w] of a stretched section at its own scale, `shape` [H, W]."""
        ends = [n * f for n, f in zip(shape, (self.samples, self.traces))]
        return _resize(prob, shape, ends, Image.Resampling.BILINEAR)


NONE = Scale()


def _resize(image: np.ndarray, shape, ends, method: Image.Resampling) -> np.ndarray:
    """Returns the part of an image float32 up to row and column `ends`, resized to `shape`."""
    box = (0, 0, float(ends[1]), float(ends[0]))
    pixels = Image.fromarray(np.ascontiguousarray(image, np.float32))
    # Not `np.asarray`, whose array cannot be written.
    return np.array(pixels.resize((shape[1], shape[0]), method, box))


def parse(text: str) -> Scale:
    """Returns --scale.

    Raises:
      InputError: if it is not two factors.
    """
    try:
        return of([float(part) for part in text.split(",")])
    except ValueError:
        raise InputError(f"--scale={text}; {EXPECTED}") from None


def of(factors: Sequence[float] | None) -> Scale:
    """Returns the scale of two factors, rounded to fractions of small denominators; None for no scaling.

    Raises:
      InputError: if they are not two numbers, or too small or large.
    """
    if factors is None:
        return NONE
    try:
        samples, traces = map(float, factors)
    except (TypeError, ValueError):
        samples = traces = math.nan
    if not all(LEAST <= f <= MOST for f in (samples, traces)):
        raise InputError(f"scale={factors!r}; {EXPECTED}")
    return Scale(*(Fraction(f).limit_denominator(FINEST) for f in (samples, traces)))
