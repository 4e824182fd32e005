"""The dominant period of traces, in samples, by which data of one scale and another are told apart."""

import numpy as np


def dominant(traces: np.ndarray) -> float | None:
    """Returns the mean period of traces [n, samples] in samples; None if they do not oscillate.

    It is twice the mean distance of the places where a trace crosses its mean. For a Gaussian signal
    the expected number of such places is given by the second moment of its spectrum (S. O. Rice,
    Mathematical analysis of random noise, 1945), so that no peak of a spectrum has to be chosen, which
    short traces have not got.
    """
    values = traces.astype(np.float64)
    above = values > values.mean(axis=1, keepdims=True)
    varies = above.any(axis=1)
    crossings = int((above[varies, 1:] != above[varies, :-1]).sum())
    if not crossings:
        return None
    return 2 * int(varies.sum()) * (traces.shape[1] - 1) / crossings
