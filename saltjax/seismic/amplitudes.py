"""Scaling of seismic amplitudes to [0, 1], the range of a network's input."""

import dataclasses
import logging

import numpy as np

from saltjax.system import console
from saltjax.system.errors import InputError

PERCENTILE = 99.0
# Number of samples from which the range of a file is estimated, at most.
MAX_SAMPLES = 2_000_000
# Samples that are scaled at once: they fit into the cache of a core.
BLOCK_SAMPLES = 2**14


@dataclasses.dataclass(frozen=True)
class Range:
    """The amplitudes that become 0 and 1; those beyond are clipped."""

    low: float
    high: float


def estimate(traces: np.ndarray, method: str) -> Range:
    """Returns the range of amplitudes in traces [n, samples], dead ones excluded.

    Args:
      traces: a sample of the file's traces.
      method: "clip", symmetric about 0, up to the 99th percentile of absolute amplitudes; "minmax",
        from the minimum to the maximum of the sample; "none", from 0 to 1, where all must lie.
    """
    if method == "none":
        return Range(0.0, 1.0)
    values = np.float64(traces[live(traces)])
    if not values.size:
        return Range(0.0, 1.0)  # every trace is dead, so no amplitude is scaled
    if method == "minmax":
        low, high = float(values.min()), float(values.max())
    else:
        high = float(np.percentile(np.abs(values), PERCENTILE))
        # The percentile is 0 if fewer than one sample in a hundred is not 0.
        high = high or float(np.abs(values).max())
        low = -high
    return Range(low, high)


def scaling(traces: np.ndarray, method: str) -> tuple[str, Range]:
    """Returns method and range for `to_unit`; uint8 amplitudes are images, from 0 to 255.

    Warns if "clip" is for amplitudes none of which is negative.

    Arguments are those of `estimate`.
    """
    if traces.dtype == np.uint8:
        return "clip", Range(0, 255)
    if method == "clip" and traces.size and traces.max() > 0 <= traces.min():
        console.say(
            "Warning    no amplitude is negative, so that clip, which is symmetric about 0, leaves half of "
            "the grey range empty: normalize=minmax uses all of it, normalize=none is for grey values in "
            "[0, 1]",
            logging.WARNING,
        )
    return method, estimate(traces, method)


def to_unit(traces: np.ndarray, limits: Range, method: str) -> np.ndarray:
    """Returns float32[n, samples] in [0, 1] for traces [n, samples].

    Raises:
      InputError: if the method is "none" and an amplitude lies outside.
    """
    if (
        method == "none"
        and traces.size
        and not (0 <= traces.min() <= traces.max() <= 1)
    ):
        raise InputError(
            f"amplitudes from {traces.min():g} to {traces.max():g}; normalize=none expects them in "
            "[0, 1]: take clip or minmax (--normalize, or config.predict.normalize), or scale them"
        )
    # In units of the larger bound: high - low itself may overflow.
    unit = max(abs(limits.low), abs(limits.high))
    if limits.low == limits.high:
        return np.zeros(traces.shape, np.float32)  # all amplitudes are equal
    low, high = limits.low / unit, limits.high / unit
    found = np.empty(traces.shape, np.float32)
    step = max(1, BLOCK_SAMPLES // traces.shape[1])
    for start in range(0, len(traces), step):
        # In place, and few at once: to fetch them from memory would take longer than to compute.
        scaled = traces[start : start + step].astype(np.float64)
        scaled /= unit
        scaled -= low
        scaled /= high - low
        found[start : start + step] = np.clip(scaled, 0, 1, out=scaled)
    return found


def live(traces: np.ndarray) -> np.ndarray:
    """Returns bool[n], False for the dead ones of finite traces [n, samples], which are all 0."""
    return np.any(traces != 0, axis=1)


def clean(traces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns finite traces [n, samples], and which of them had samples that are not finite.

    A trace of NaN alone is how xarray and others write a missing one: it becomes zeros, so that it
    is dead, and is not counted. Other traces with samples that are not finite become zeros too, and
    are True in the second result, bool[n].
    """
    damaged = ~np.isfinite(traces).all(axis=1)
    if not damaged.any():
        return traces, damaged
    missing = np.isnan(traces).all(axis=1)
    zero = np.zeros((), traces.dtype)
    return np.where(damaged[:, None], zero, traces), damaged & ~missing
