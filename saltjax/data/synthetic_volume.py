"""A built-in seismic volume with one salt body, and its labels, for trying the program without data.

It is made like the sections of `saltjax.data.synthetic`, in three dimensions: a salt wall, which
every inline crosses, rises from its bed through folded and faulted layers. Any inlines can be made
alone, so memory does not grow with their number.

Neighbouring lines resemble each other. Amplitudes of inlines correlate 0.79 at a distance of one line and
0.30 at 16, the means of six volumes of 120 × 160 × 128; in F3, offshore the Netherlands, 0.53 and 0.41.
"""

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from saltjax.data import synthetic
from saltjax.system import seeds

MARGIN = 16  # samples computed above and below, whose wavelets reach into the volume
HALO = 2  # inlines computed on either side, which a line is smoothed with
BLOCK_SAMPLES = 2**20  # computed at a time
SERIES = 2**13  # samples of the series of layers, which then repeats
AMPLITUDE = 1000  # root mean square of horizontal layers
LARGEST = 2**15 - 1  # so that 16-bit integers hold the amplitudes
NOISE = 0.6  # root mean square of the noise, relative to that of the layers


def blocks(
    shape: tuple[int, int, int], seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields what `make_lines` returns, some inlines at a time, until all are made."""
    step = max(4, BLOCK_SAMPLES // (shape[1] * (shape[2] + 2 * MARGIN)) - 2 * HALO)
    for start in range(0, shape[0], step):
        yield make_lines(shape, seed, start, min(start + step, shape[0]))


def make_lines(
    shape: tuple[int, int, int], seed: int, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns some inlines of the volume: their amplitudes, and their labels, 1 where salt.

    Args:
      shape: inlines, crosslines and samples of the whole volume.
      seed: of the volume.
      start, stop: the first inline, from 0, and the one after the last.

    Returns:
      float32[stop - start, crosslines, samples] of whole numbers, and uint8 of that shape.

    >>> amplitudes, labels = make_lines((40, 50, 60), seed=0, start=8, stop=10)
    >>> amplitudes.shape, labels.shape
    ((2, 50, 60), (2, 50, 60))
    """
    # The structure is drawn again in each call; what is drawn does not depend on the lines.
    rng = seeds.volume_rng(seed, 0)
    y = np.arange(start - HALO, stop + HALO, dtype=np.float32)[:, None, None]
    z = np.arange(-MARGIN, shape[2] + MARGIN, dtype=np.float32)[None, :, None]
    x = np.arange(shape[1], dtype=np.float32)[None, None, :]
    flank, base = _salt_levels(rng, shape, y, z, x)
    level = np.minimum(flank, base)
    salt = level > 0
    texture, noise = _noise(seed, start, stop, salt.shape[1:])
    series, peak = _series(rng), rng.uniform(0.07, 0.1)
    wavelet, noise_wavelet = _wavelet(peak), _wavelet(1.2 * peak)

    # All strengths are relative to the root mean square of recorded layers.
    layers = _at_age(series, _age(rng, shape, y, z, x, flank, base))
    layers /= synthetic.record(series[None, ::2, None], peak).std()
    layers *= np.exp(0.3 * _waves(rng, 60, 3, y, 3 * z, x))
    texture *= _uniform(rng, 0.5, 1) / np.linalg.norm(wavelet)
    reflectivity = np.where(salt, texture, layers)
    below = np.logical_or.accumulate(salt, axis=1) & ~salt
    reflectivity *= np.where(below, _uniform(rng, 0.3, 0.8), 1)
    reflectivity += _salt_boundary(rng, level, y, x) / wavelet.max()
    noise *= NOISE / np.linalg.norm(noise_wavelet)

    section = synthetic.record(_smooth(reflectivity), peak)
    section += synthetic.record(noise, 1.2 * peak)
    inside = (slice(HALO, -HALO), slice(MARGIN, -MARGIN))
    section = np.clip(np.rint(AMPLITUDE * section[inside]), -LARGEST, LARGEST)
    return (
        np.ascontiguousarray(section.transpose(0, 2, 1), np.float32),
        np.ascontiguousarray(salt[inside].transpose(0, 2, 1), np.uint8),
    )


def _uniform(rng, low, high):
    return np.float32(rng.uniform(low, high))


def _waves(rng, length, count, *coordinates):
    """Returns a smooth random field, mean about 0 and variance about 1: waves in all directions.

    Args:
      rng: the generator.
      length: wavelengths are 0.7 to 1.4 times as long.
      count: number of waves.
      coordinates: arrays that broadcast against each other.
    """
    field = 0
    for _ in range(count):
        direction = rng.standard_normal(len(coordinates))
        direction /= np.linalg.norm(direction) * length * rng.uniform(0.7, 1.4)
        phase = 2 * np.pi * rng.random()
        for cycles, coordinate in zip(direction, coordinates):
            phase = phase + np.float32(2 * np.pi * cycles) * coordinate
        field = field + np.sin(phase)
    return field * np.float32(np.sqrt(2 / count))


def _salt_levels(rng, shape, y, z, x):
    """Returns two level functions [lines, rows, columns], both positive in the salt.

    The first is the distance from the flanks or the crest, the second that above the base. But for
    the relief of crest and bed, the salt of every row is one interval around the middle of the wall,
    so that the body is one.
    """
    inlines, crosslines, samples = shape
    along = y / inlines
    bed = samples * _uniform(rng, 0.8, 0.9)
    bed = bed + 0.02 * samples * _waves(rng, 150, 2, y, x)
    # The lowest two samples are alike: where the foot thinned out it would fall into pieces.
    row = np.minimum(z, bed - 2)
    middle = crosslines * (
        _uniform(rng, 0.4, 0.6)
        + _uniform(rng, -0.2, 0.2) * (along - 0.5)
        + 0.04 * _waves(rng, 0.8, 2, along)
        + _uniform(rng, -0.2, 0.2) * (row / samples - 0.5)
    )
    crest = samples * (_uniform(rng, 0.22, 0.35) + 0.06 * _waves(rng, 0.9, 2, along))
    buried = row - crest + 0.015 * samples * _waves(rng, 30, 4, y, x)

    crown = np.maximum(buried, 0) / samples / _uniform(rng, 0.02, 0.07)
    bulb = np.exp(-np.square(buried / samples / _uniform(rng, 0.15, 0.3) - 0.5))
    foot = np.exp((row - bed + 2) / samples / _uniform(rng, 0.03, 0.08))
    neck = _uniform(rng, 0.4, 0.9)
    width = _uniform(rng, 0.11, 0.17) * np.exp(0.3 * _waves(rng, 0.7, 2, along))
    width = width * (neck + (1 - neck) * bulb) + _uniform(rng, 0.08, 0.2) * foot
    # Rugose flanks, other ones on either side.
    left, right = (1 + 0.1 * _waves(rng, 35, 4, y, row) for _ in range(2))
    aside = x - middle
    width = crosslines * width * np.sqrt(1 - np.exp(-crown))
    flank = width * np.where(aside < 0, left, right) - np.abs(aside)
    return np.where(buried > 0, flank, -np.hypot(buried, aside)), bed - z


def _age(rng, shape, y, z, x, flank, base):
    """Returns the layer's age at each point, in samples: depth after folds, faults and drag."""
    inlines, crosslines, samples = shape
    age = z + _uniform(rng, -0.08, 0.08) * x + _uniform(rng, -0.08, 0.08) * y
    for length, height in ((250, 8), (110, 3), (45, 1)):
        bend = 1 - 0.5 * z / samples
        age = age + height * _uniform(rng, 0.3, 1) * bend * _waves(rng, length, 2, y, x)
    for _ in range(int(np.clip(inlines * crosslines / 5000, 3, 12))):
        age = age + _fault(rng, shape, y, z, x)
    # Layers are dragged up beside the salt; below it they seem to be, since waves are faster in it.
    drag = np.exp(np.minimum(flank, 0) / (crosslines * _uniform(rng, 0.05, 0.15)))
    return age + _uniform(rng, 4, 16) * drag * np.where(base > 0, 1, np.float32(0.3))


def _fault(rng, shape, y, z, x):
    """Returns what a normal fault adds to the age: most in the middle, and less away from it."""
    inlines, crosslines, samples = shape
    strike = rng.uniform(0, np.pi)
    a, b = np.float32(np.cos(strike)), np.float32(np.sin(strike))
    from_x = x - crosslines * _uniform(rng, 0, 1)
    from_y = y - inlines * _uniform(rng, 0, 1)
    across = a * from_x + b * from_y
    across = across - _uniform(rng, 0.3, 0.8) * rng.choice((-1, 1)) * (z - samples / 2)
    along = b * from_x - a * from_y
    throw = _uniform(rng, 4, 14) * np.exp(-np.square(along / _uniform(rng, 40, 100)))
    return -throw * np.where(across > 0, np.exp(-np.maximum(across, 0) / 80), 0)


def _series(rng):
    """Returns the reflectivity along age, its strength balanced as by automatic gain control."""
    # The sum of two, one of which can be almost transparent for hundreds of samples.
    series = synthetic.layer_series(rng, 2, SERIES).sum(axis=0)
    energy = ndimage.uniform_filter1d(np.square(series), 81, mode="wrap")
    series /= np.sqrt(energy + np.float32(0.02))
    return np.sign(series) * np.abs(series) ** np.float32(0.7)


def _at_age(series, age):
    """Returns the reflectivity at each age, from a series that repeats."""
    position = age / np.float32(synthetic.AGE_STEP)
    left = np.floor(position)
    index = left.astype(np.int32) % len(series)
    a, b = series[index], series[(index + 1) % len(series)]
    return a + (b - a) * (position - left)


def _noise(seed, start, stop, size):
    """Returns the texture of salt, of scatterers a few traces wide, and noise without any order.

    Both are float32[stop - start + 2 * HALO, *size], of mean 0 and variance 1.
    """
    # An inline has the same noise, whichever are made with it.
    lines = range(start - 2 * HALO, stop + 2 * HALO)
    fields = np.stack(
        [
            seeds.volume_rng(seed, 1 + 2 * HALO + line).standard_normal(
                (2, *size), np.float32
            )
            for line in lines
        ],
        axis=1,
    )
    texture = _smooth(fields[0])[HALO:-HALO]
    return texture / np.float32(6 / 16), fields[1, HALO:-HALO]


def _smooth(field):
    """Returns the running mean over three traces and three lines, of the first and last over two."""
    padded = np.pad(synthetic.smooth_traces(field), ((1, 1), (0, 0), (0, 0)), "edge")
    return (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4


def _salt_boundary(rng, level, y, x):
    """Returns the reflectivity of top salt (positive) and base salt (negative), weak if steep."""
    salt = (level > 0).astype(np.float32)
    step = np.diff(salt, axis=1, prepend=salt[:, :1])
    dy, dz, dx = np.gradient(level)
    flatness = np.abs(dz) / (np.sqrt(dx**2 + dy**2 + dz**2) + 1e-6)
    strength = 1 + 0.2 * _waves(rng, 50, 3, y, x)
    top = _uniform(rng, 4, 6) * (step > 0)
    base = _uniform(rng, 1, 2) * (step < 0)
    return (top - base) * strength * flatness


def _wavelet(peak):
    """Returns what is recorded of a reflectivity of 1 at the top of the volume."""
    impulse = np.zeros((1, 256, 1), np.float32)
    impulse[0, 128] = 1
    (wavelet,) = synthetic.convolve(impulse, (peak,))
    return wavelet
