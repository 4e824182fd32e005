"""Floating-point numbers of IBM's System/360, format 1 of SEG-Y.

A number is fraction · 16^(exponent - 64): one bit of sign, seven of exponent, 24 of fraction, which
is less than 1 ("IBM System/360 Principles of Operation", 1964).
"""

import numpy as np

# What the fraction, as an integer, is multiplied by, for each value of the first eight bits.
_SCALE = np.outer([1, -1], 16.0 ** (np.arange(128) - 64 - 6)).ravel()


def to_ieee(bits: np.ndarray) -> np.ndarray:
    """Returns float32 for the bits of IBM floats uint32; infinite where it is beyond float32."""
    with np.errstate(over="ignore"):
        return (_SCALE[bits >> 24] * (bits & 0xFFFFFF)).astype(np.float32)


def from_ieee(values: np.ndarray) -> np.ndarray:
    """Returns the bits of IBM floats uint32 for finite float32, rounded towards 0.

    Subnormal numbers, below 1.2e-38, become 0.
    """
    bits = values.view(np.uint32)
    exponent = bits >> 23 & 0xFF
    # Powers of 16: the fraction, 24 bits with the leading one, loses up to three.
    shift = 2 - exponent & 3
    found = (bits & 0x7FFFFF | 0x800000) >> shift
    found |= (exponent + shift + 130 >> 2) << 24
    found |= bits & 0x80000000
    return np.where(exponent == 0, np.uint32(0), found)
