"""Run-length encoding of masks in the challenge's format: pixels numbered from 1, down columns."""

import numpy as np


def encode(mask: np.ndarray) -> str:
    """Returns `start length` pairs for a mask bool[H, W], "" for an empty one.

    >>> encode(np.array([[0, 1], [1, 1]], bool))
    '2 3'
    """
    flat = np.concatenate([[False], np.asarray(mask, bool).ravel(order="F"), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = changes[::2], changes[1::2]
    return " ".join(f"{s} {e - s}" for s, e in zip(starts, ends))


def decode(code: str, shape: tuple[int, int]) -> np.ndarray:
    """Returns the mask bool[H, W] for a run-length encoding.

    Raises:
      ValueError: if the code is not pairs of positive integers, or runs overlap, touch, are not in
        order or exceed the mask.

    >>> decode("2 3", (2, 2)).astype(int).tolist()
    [[0, 1], [1, 1]]
    """
    words = code.split()
    if len(words) % 2 or not all(w.isascii() and w.isdecimal() for w in words):
        raise ValueError(
            f"{code!r} is not a run-length encoding; expected pairs of start and length"
        )
    flat = np.zeros(shape[0] * shape[1], bool)
    free = 1  # first pixel where the next run may start
    for start, length in zip(map(int, words[::2]), map(int, words[1::2])):
        if start < free or length < 1 or start + length - 1 > flat.size:
            raise ValueError(
                f"{code!r}: run {start} {length} overlaps or touches the run before it, or exceeds "
                f"{shape[0]}×{shape[1]} pixels"
            )
        flat[start - 1 : start - 1 + length] = True
        free = start + length + 1
    return flat.reshape(shape, order="F")
