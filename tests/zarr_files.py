"""Zarr volumes that tests write and read."""

import json

import numpy as np

from saltjax.seismic import grid, zarr_output
from saltjax.seismic.sample_axis import SampleAxis

AXIS = SampleAxis("ms", 100.0, 4.0)


def opened(path):
    return grid.open_grid(path, (189, 193), "config.data.volume")


def whole(found):
    """Returns the whole volume of a grid, its traces read in a random order."""
    inline, crossline = (index.ravel() for index in np.indices(found.shape[:2]))
    order = np.random.default_rng(0).permutation(len(inline))
    traces = np.empty((len(inline), found.shape[2]), found.dtype)
    traces[order] = found.read(inline[order], crossline[order])
    return traces.reshape(found.shape)


def random_volume(*shape):
    return np.random.default_rng(0).normal(0, 50, shape).astype(np.float32)


def write_volume(path, volume, axis=AXIS, mask=None):
    inlines, crosslines, _ = volume.shape
    numbers = 10 + 2 * np.arange(inlines), 500 + np.arange(crosslines)
    zarr_output.write_volume(path, volume, *numbers, axis, mask)
    return path


def edit(path, **changes):
    """Changes entries of a zarr.json."""
    file = path / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def write_group(path, arrays, attributes=None):
    """Writes arrays {name: (array, names of dimensions, attributes)} into a new group."""
    zarr_output.create_group(path)
    for name, (array, dimensions, *noted) in arrays.items():
        zarr_output.write(path / name, np.asarray(array), dimensions, *noted)
    if attributes is not None:
        edit(path, attributes=attributes)
    return path
