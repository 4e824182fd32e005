"""How the axes of a section are divided into overlapping windows."""

import dataclasses
import functools

import numpy as np

from saltjax.networks.network import Network

# Pixels at the network's resolution. Large windows waste less on their margins, small ones less
# memory.
WINDOW = 768
# Only U-Nets of 7 and more levels, or of 6, strided and bilinear, have larger receptive radii.
MAX_MARGIN = 256
RAMP = 32


@dataclasses.dataclass(frozen=True)
class Axis:
    """How one axis of a section is divided into windows.

    Attributes:
      padded: pixels after padding.
      starts: first pixel of each window.
      weights: float32[K, length], of each window's pixels; at any pixel they sum to 1.
    """

    padded: int
    starts: tuple[int, ...]
    weights: np.ndarray


@functools.cache
def divide(n: int, window: int, margin: int, ramp: int, multiple: int) -> Axis:
    """Returns the windows of an axis of n pixels.

    Windows start and end at multiples of `multiple`. The `margin` pixels at each edge of a window
    have weight 0, except at the ends of the axis, since pixels beyond the window could change them.
    Over the next `ramp` pixels the weight changes from one window to the next as sin².
    """
    padded = -(-n // multiple) * multiple
    if padded <= window:
        return Axis(padded, (0,), np.ones((1, padded), np.float32))
    step = _step(window, margin, ramp, multiple)
    count = -(-(padded - window) // step) + 1
    starts = [min(k * step, padded - window) for k in range(count)]
    rise = np.sin(np.pi / 2 * (np.arange(ramp) + 0.5) / ramp) ** 2
    weights = np.ones((count, window))
    weights[1:, :margin], weights[1:, margin : margin + ramp] = 0, rise
    weights[:-1] *= np.concatenate(
        [np.ones(window - margin - ramp), rise[::-1], np.zeros(margin)]
    )
    total = np.zeros(padded)
    for start, weight in zip(starts, weights):
        total[start : start + window] += weight
    for start, weight in zip(starts, weights):
        weight /= total[start : start + window]
    return Axis(padded, tuple(starts), weights.astype(np.float32))


def _step(window: int, margin: int, ramp: int, multiple: int) -> int:
    """Returns the distance of windows; arguments as in `divide`."""
    return (window - 2 * margin - ramp) // multiple * multiple


def layout(network: Network) -> tuple[int, int, int]:
    """Returns window, margin and ramp, see `divide`, in pixels at the network's resolution."""
    multiple, margin = network.stride, network.receptive_radius
    if margin is None:
        # Group norm: every pixel of a window counts. Windows as in training, half overlapping.
        size = max(-(-network.image_size // multiple), 2) * multiple
        return size, 0, size // 2
    return WINDOW, min(margin, MAX_MARGIN), RAMP


def windows_of(n: int, network: Network) -> Axis:
    """Returns the windows of an axis of n pixels at the network's resolution."""
    return divide(n, *layout(network), network.stride)


def alignment(network: Network) -> tuple[int, int]:
    """Returns where a section may be cut without a change of its probabilities.

    Returns:
      The period of the places to cut at, and the context that a part needs at its ends, both in
      pixels at the network's resolution.
    """
    multiple, radius = network.stride, network.receptive_radius
    if radius is not None and radius <= MAX_MARGIN:
        return multiple, radius + multiple
    # The result depends on where windows lie: those of a part must be windows of the section, and
    # the windows at its ends, which lie or weigh differently, must not reach what is kept.
    window, margin, ramp = layout(network)
    return _step(window, margin, ramp, multiple), 2 * window
