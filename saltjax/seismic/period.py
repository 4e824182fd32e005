"""The dominant period of traces, in samples, by which data of one scale and another are told apart."""

import numpy as np

# Of the largest sample of a trace: deviations from its mean that are rounding.
TINY = 1e-6


def dominant(traces: np.ndarray) -> float | None:
    """Returns the mean period of traces [n, samples] in samples; None if they do not oscillate.

    It is twice the mean distance of the places where a trace crosses its mean. For a Gaussian signal
    the expected number of such places is given by the second moment of its spectrum (S. O. Rice,
    Mathematical analysis of random noise, 1945), so that no peak of a spectrum has to be chosen, which
    short traces have not got. Samples beside others of 0, as those of a mute, do not count.
    """
    # Between -1 and 1, since the sum of large ones may overflow.
    peak = np.float64(np.abs(traces.astype(np.float64)).max(initial=0)) or 1.0
    values = traces / peak
    used = values != 0
    used[:, 1:] |= values[:, :-1] != 0  # a 0 between others is one of the signal
    scale = np.abs(values).max(axis=1, keepdims=True, initial=0)
    count = np.maximum(used.sum(axis=1, keepdims=True), 1)
    mean = (values * used).sum(axis=1, keepdims=True) / count
    deviation = values - mean
    used &= (np.abs(deviation) > TINY * scale).any(axis=1, keepdims=True)
    pairs = used[:, 1:] & used[:, :-1]
    crossings = int((np.diff(deviation > 0, axis=1) & pairs).sum())
    return 2 * int(pairs.sum()) / crossings if crossings else None
