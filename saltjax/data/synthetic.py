"""Built-in seismic sections with salt, for trying the program without data.

Each tile is a window of a synthetic migrated section: random reflectivity along folded and faulted
layers, interrupted by a salt body, is convolved with a Ricker wavelet. As in field data, salt shows
in its strong top reflection, in layers that terminate against it, and in its chaotic texture;
neither brightness nor local energy alone reveals it.
"""

import functools
from collections.abc import Iterable

import numpy as np

from saltjax.data.tiles import Tiles
from saltjax.system import seeds

SIZE = 101  # pixels, as in the TGS challenge
MARGIN = 16  # rows computed above and below the tile, whose wavelets reach into it
CHUNK = 250  # tiles computed at a time
EMPTY_SHARE = 0.39  # of the tiles
# Beta distribution of the coverage of tiles with salt: mean 0.41, many small, some almost full.
COVERAGE_BETA = (0.65, 0.95)
BODIES = ("dome", "pillow", "tongue")
AGE_STEP = 0.5  # of the samples of a series of layers


def make_tiles(count: int, seed: int) -> Tiles:
    """Returns `count` tiles of 101×101 pixels; the first ones are the same for any count.

    >>> make_tiles(2, seed=0).images.shape
    (2, 101, 101, 3)
    """
    chunks = [
        _make_chunk(seeds.synthetic_rng(seed, i)) for i in range(-(-count // CHUNK))
    ]
    images, labels = (np.concatenate(parts)[:count] for parts in zip(*chunks))
    ids = tuple(f"synthetic_{i:05d}" for i in range(count))
    return Tiles(
        ids, np.repeat(images[..., None], 3, axis=3), labels[..., None], "synthetic"
    )


def _make_chunk(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels uint8[CHUNK, 101, 101]."""
    z = np.arange(-MARGIN, SIZE + MARGIN, dtype=np.float32)[None, :, None]
    x = np.arange(SIZE, dtype=np.float32)[None, None, :]
    level = _salt_level(rng, z, x)
    salt = level > 0

    reflectivity = _layers(rng, _age(rng, z, x, level))
    reflectivity *= np.exp(_uniform(rng, 0.1, 0.5) * _smooth_field(rng, z, x, 3))
    reflectivity = np.where(salt, _salt_texture(rng, reflectivity, salt), reflectivity)
    below = np.logical_or.accumulate(salt, axis=1) & ~salt
    reflectivity *= np.where(below, _uniform(rng, 0.3, 0.8), 1)
    reflectivity += _salt_boundary(rng, level)

    section = _section(rng, reflectivity)[:, MARGIN:-MARGIN]
    return _to_grey(rng, section), salt[:, MARGIN:-MARGIN].astype(np.uint8)


def _uniform(rng, low, high, shape=(1, 1)):
    """Returns float32[CHUNK, *shape], uniform between low and high; by default one per tile."""
    return rng.uniform(low, high, (CHUNK, *shape)).astype(np.float32)


def _smooth_field(rng, z, x, waves):
    """Returns a smooth random field [CHUNK, rows, columns], mean about 0 and variance about 1."""
    field = 0
    for _ in range(waves):
        kz, kx = _uniform(rng, -2.5, 2.5), _uniform(rng, -2.5, 2.5)
        phase = 2 * np.pi * ((kz * z + kx * x) / SIZE + _uniform(rng, 0, 1))
        field = field + np.sin(phase)
    return field * np.float32(np.sqrt(2 / waves))


def _salt_level(rng, z, x):
    """Returns a level function [CHUNK, rows, columns], positive inside the salt.

    The body's shape is drawn first. The level is then shifted so that the body covers a share of
    the tile that is drawn independently of the shape.
    """
    u = x / SIZE - _uniform(rng, -0.2, 1.2)
    v = z / SIZE - _uniform(rng, 0.2, 0.9)
    width = _uniform(rng, 0.15, 0.6)
    flank = _uniform(rng, 1.2, 3.5)
    dome = v + 1.2 * (1 - np.exp(-((np.abs(u) / width) ** flank)))
    lean = u * _uniform(rng, -0.5, 0.5)
    pillow = 0.8 * np.exp(-((u / (2 * width)) ** 2)) - np.abs(v - lean)
    angle = _uniform(rng, -0.7, 0.7)
    along, across = (
        u * np.cos(angle) + v * np.sin(angle),
        v * np.cos(angle) - u * np.sin(angle),
    )
    thinning = 0.15 + 0.3 / (1 + np.exp(-6 * along * np.sign(angle)))
    tongue = -np.hypot(along / 1.5, across / thinning)
    body = rng.integers(len(BODIES), size=(CHUNK, 1, 1))
    level = np.choose(body, (dome, pillow, tongue))
    # A rugose outline, at two scales.
    level = level + _uniform(rng, 0.0, 0.08) * _smooth_field(rng, z, x, 4)
    level = level + _uniform(rng, 0.0, 0.03) * _smooth_field(rng, 3 * z, 3 * x, 4)

    coverage = np.clip(rng.beta(*COVERAGE_BETA, CHUNK), 0.003, 0.99)
    inside = np.sort(level[:, MARGIN:-MARGIN].reshape(CHUNK, -1), axis=1)
    rank = ((1 - coverage) * (inside.shape[1] - 1)).astype(int)
    cut = np.take_along_axis(inside, rank[:, None], axis=1)
    empty = rng.random((CHUNK, 1)) < EMPTY_SHARE
    cut = np.where(empty, level.max(axis=(1, 2))[:, None] + 0.3, cut)
    return (level - cut[:, :, None]).astype(np.float32)


def _age(rng, z, x, level):
    """Returns the layer's age at each point, in samples: depth after folds, faults and drag."""
    bend = 1 - 0.4 * z / SIZE
    age = z + _uniform(rng, -0.35, 0.35) * x
    for wavelength in (2.0, 0.9, 0.4):
        height = _uniform(rng, 0, 8) * wavelength
        age = age + height * bend * np.sin(
            2 * np.pi * (x / SIZE / wavelength + _uniform(rng, 0, 1))
        )
    for _ in range(3):
        plane = x - SIZE * _uniform(rng, -0.3, 1.3) - _uniform(rng, -0.7, 0.7) * z
        throw = _uniform(rng, -14, 14) * (rng.random((CHUNK, 1, 1)) < 0.4)
        age = age + throw * (plane > 0)
    drag = _uniform(rng, 0, 25) * np.exp(
        np.minimum(level, 0) / _uniform(rng, 0.05, 0.3)
    )
    return age + drag


def _layers(rng, age):
    """Returns the reflectivity at each age: layers of random thickness and varying strength."""
    samples, first = 640, -100.0
    spikes = layer_series(rng, CHUNK, samples)
    position = np.clip((age - first) / AGE_STEP, 0, samples - 2)
    left = position.astype(np.int32)
    flat = left.reshape(CHUNK, -1)
    a = np.take_along_axis(spikes, flat, axis=1).reshape(age.shape)
    b = np.take_along_axis(spikes, flat + 1, axis=1).reshape(age.shape)
    return a + (b - a) * (position - left)


def layer_series(rng: np.random.Generator, count: int, samples: int) -> np.ndarray:
    """Returns the reflectivity float32[count, samples] along age, in steps of AGE_STEP."""

    def uniform(low, high):
        return rng.uniform(low, high, (count, 1)).astype(np.float32)

    spikes = rng.laplace(size=(count, samples)) * (
        rng.random((count, samples)) < uniform(0.08, 0.5)
    )
    # Sequences: from bedded to almost transparent, as in massive shale.
    t = np.arange(samples) * AGE_STEP
    strength = 0
    for _ in range(4):
        cycles = uniform(0.004, 0.04)
        strength = strength + np.sin(2 * np.pi * (cycles * t + uniform(0, 1)))
    spikes = (spikes * np.exp(uniform(0.2, 0.9) * strength)).astype(np.float32)
    # Widened to two samples on either side: sampling along dips would miss narrower spikes.
    padded = np.pad(spikes, ((0, 0), (3, 3)))
    weighted = (
        w * padded[:, i : i + samples] for i, w in enumerate((1, 2, 3, 4, 3, 2, 1))
    )
    spikes = functools.reduce(np.add, weighted)
    return spikes / np.sqrt((spikes**2).mean(axis=1, keepdims=True) + 1e-6)


def _salt_texture(rng, reflectivity, salt):
    """Returns the reflectivity in the salt: chaotic, 0.03 to 0.6 times as strong as outside."""
    outside = np.sqrt(
        (reflectivity**2 * ~salt).sum((1, 2)) / np.maximum((~salt).sum((1, 2)), 1)
    )
    # Scatterers of a few traces' width, without the continuity of layers.
    noise = _noise(rng, reflectivity.shape)
    strength = np.exp(rng.uniform(np.log(0.03), np.log(0.6), CHUNK))
    return noise * (np.maximum(outside, 0.3) * strength)[:, None, None].astype(
        np.float32
    )


def _noise(rng, shape):
    """Returns Gaussian noise of unit variance, correlated between neighbouring traces."""
    noise = smooth_traces(smooth_traces(rng.standard_normal(shape, np.float32)))
    return noise / noise.std(axis=(1, 2), keepdims=True)


def smooth_traces(section: np.ndarray) -> np.ndarray:
    """Returns the running mean over three traces with weights 1, 2, 1."""
    padded = np.pad(section, ((0, 0), (0, 0), (1, 1)), "edge")
    return (padded[:, :, :-2] + 2 * section + padded[:, :, 2:]) / 4


def _salt_boundary(rng, level):
    """Returns the reflectivity of top salt (positive) and base salt (negative), weak if steep."""
    salt = (level > 0).astype(np.float32)
    step = np.diff(salt, axis=1, prepend=salt[:, :1])
    dz, dx = np.gradient(level, axis=(1, 2))
    flatness = np.abs(dz) / (np.hypot(dz, dx) + 1e-6)
    top = _uniform(rng, 4, 12) * (step > 0)
    base = _uniform(rng, 1, 5) * (step < 0)
    return (top - base) * flatness**2


def _section(rng, reflectivity):
    """Returns the section: wavelets and band-limited noise."""
    peak = _uniform(rng, 0.05, 0.13)
    section = record(smooth_traces(reflectivity), peak)
    (noise,) = convolve(_noise(rng, reflectivity.shape), (1.2 * peak,))
    noise = noise / noise.std(axis=(1, 2), keepdims=True)
    return (
        section
        + _uniform(rng, 0.05, 0.35) * section.std(axis=(1, 2), keepdims=True) * noise
    )


def record(reflectivity: np.ndarray, peak: float | np.ndarray) -> np.ndarray:
    """Returns the section [N, rows, columns]: Ricker wavelets, lower in frequency at depth.

    Args:
      reflectivity: float32[N, rows, columns].
      peak: frequency of the peak of the first row's wavelet, cycles per row.
    """
    shallow, deep = convolve(reflectivity, (peak, 0.7 * peak))
    depth = np.linspace(0, 1, reflectivity.shape[1], dtype=np.float32)[None, :, None]
    return shallow * (1 - depth) + deep * depth


def convolve(reflectivity: np.ndarray, peaks: Iterable[float | np.ndarray]) -> list:
    """Returns the reflectivity [N, rows, columns] convolved along the rows with Ricker wavelets.

    Args:
      reflectivity: float32.
      peaks: for each result the frequency of the wavelet's peak, cycles per row.
    """
    rows = reflectivity.shape[1]
    n = 2 * rows
    frequency = np.fft.rfftfreq(n).astype(np.float32)[None, :, None]
    spectrum = np.fft.rfft(reflectivity, n, axis=1)
    return [
        np.fft.irfft(spectrum * _ricker(frequency, peak), n, axis=1)[:, :rows]
        for peak in peaks
    ]


def _ricker(frequency, peak):
    """Returns the amplitude spectrum of a Ricker wavelet, 1 at the peak (Ricker 1953)."""
    square = (frequency / peak) ** 2
    return square * np.exp(1 - square)


def _to_grey(rng, section):
    """Returns uint8: automatic gain control of some strength, then contrast and brightness."""
    window = 31
    energy = np.cumsum(
        np.pad(section**2, ((0, 0), (window // 2 + 1, window // 2), (0, 0)), "edge"), 1
    )
    local = np.sqrt((energy[:, window:] - energy[:, :-window]) / window)
    local += 0.1 * local.mean(axis=(1, 2), keepdims=True) + 1e-6
    section = section / local ** _uniform(rng, 0.2, 0.9)
    section /= section.std(axis=(1, 2), keepdims=True) + 1e-6
    grey = _uniform(rng, 100, 150) + _uniform(rng, 22, 50) * section
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    from saltjax import commandline
    from saltjax.data import synthetic_files

    commandline.start(
        synthetic_files.define_flags, synthetic_files.main, synthetic_files.help_text
    )
