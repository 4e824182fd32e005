"""ZGY files as another program writes them: by OpenZGY itself."""

import numpy as np

INLINES, CROSSLINES = (111.0, 2.0), (875.0, 1.0)  # first number, step
ORIGIN, TO_INLINE, TO_CROSSLINE = np.array([[5000, 9000], [-3, 25], [20, 2.5]])


def corners(shape):
    """Returns x and y at the four corners."""
    ends = [(i, j) for j in (0, shape[1] - 1) for i in (0, shape[0] - 1)]
    return [tuple(ORIGIN + i * TO_INLINE + j * TO_CROSSLINE) for i, j in ends]


def write(path, volume, kind="float", snr=0, **header):
    """Writes a volume [inline, crossline, sample] in time, of samples "float", "int16" or "int8"."""
    from openzgy import api

    unit = api.UnitDimension
    known = {
        "datatype": api.SampleDataType[kind],
        "zstart": 8.0,
        "zinc": 4.0,
        "zunitdim": unit.time,
        "zunitname": "ms",
        "zunitfactor": 1e-3,
        "hunitdim": unit.length,
        "hunitname": "m",
        "hunitfactor": 1.0,
        "annotstart": (INLINES[0], CROSSLINES[0]),
        "annotinc": (INLINES[1], CROSSLINES[1]),
        "corners": corners(volume.shape),
    } | header
    if kind != "float":
        known["datarange"] = float(volume.min()), float(volume.max())
    if snr:
        known["compressor"] = api.ZgyCompressFactory("ZFP", snr=snr)
    with api.ZgyWriter(str(path), size=volume.shape, **known) as writer:
        writer.write((0, 0, 0), volume.astype(np.float32))
    return path


def read(path):
    """Returns the whole volume float32, and the file's header."""
    from openzgy import api

    with api.ZgyReader(str(path)) as reader:
        volume = np.zeros(reader.size, np.float32)
        reader.read((0, 0, 0), volume)
        return volume, reader.meta
