"""Small volumes with labels, for tests."""

import numpy as np
import segy_writer

from configs import default

SHAPE = (30, 20, 24)  # inlines, crosslines, samples
INLINES, CROSSLINES = np.arange(100, 160, 2), np.arange(300, 320)


def make(seed=0):
    """Returns whole-numbered amplitudes and labels int [inline, crossline, sample].

    A dome of salt goes through all inlines. The traces at crossline index 3 are dead.
    """
    rng = np.random.default_rng(seed)
    i, x, s = np.indices(SHAPE)
    salt = s > 8 + np.abs(x - 10) - 2 * np.sin(i / 5)
    amplitudes = np.rint(100 * rng.normal(size=SHAPE) * np.where(salt, 0.3, 1))
    amplitudes[:, 3] = 0
    return amplitudes, salt.astype(int)


def write_segy(path, volume, code):
    """Writes a volume as SEG-Y of a sample format, with INLINES and CROSSLINES."""
    inline, crossline = np.meshgrid(INLINES, CROSSLINES, indexing="ij")
    segy_writer.write(
        path,
        volume.reshape(-1, SHAPE[2]),
        code=code,
        inline=inline.ravel(),
        crossline=crossline.ravel(),
    )
    return path


def write_npy(folder, amplitudes=None, labels=None):
    """Writes volume.npy and labels.npy, of `make` by default; returns the two paths."""
    made = make()
    np.save(folder / "volume.npy", made[0] if amplitudes is None else amplitudes)
    np.save(folder / "labels.npy", made[1] if labels is None else labels)
    return folder / "volume.npy", folder / "labels.npy"


def config(volume, labels, **changes):
    """Returns a config of small patches of a volume; `changes` are of its section data."""
    made = default.get_config()
    made.train.batch_size = 4
    settings = {"tile": 8, "patches": 40, "gap": 2, "image_size": 8} | changes
    made.data.update(volume=str(volume), labels=str(labels), **settings)
    return made
