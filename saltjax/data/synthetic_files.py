"""A synthetic volume with one salt body, and its labels, for trying the program without data.

python -m saltjax.data.synthetic --volume=salt.sgy --labels=labels.sgy

It writes amplitudes and labels, 1 where salt, each in the format that its name says: SEG-Y (.sgy),
.npy or Zarr (.zarr). Amplitudes are whole numbers, so all formats hold the same.
"""

import contextlib
import pathlib
import shlex
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags

from saltjax.data import synthetic_volume
from saltjax.seismic import npy, segy, segy_layout
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system import console, files, signals
from saltjax.system.errors import InputError, writing

SIZES = (8, 10_000)  # smallest and largest of each dimension
TILE, SMALLEST_TILE = 128, 8  # data.tile by default, and the least that it may be
SUFFIXES = (*segy.SUFFIXES, ".npy", ".zarr")
FIRST_INLINE, FIRST_CROSSLINE = 1000, 2000
AXIS = SampleAxis("ms", 0.0, 4.0)
SPACING = 25.0  # metres between lines
CORNER = (600_000, 6_000_000)  # metres, of the first inline and crossline
AZIMUTH = np.radians(30)  # of the inlines
TEXT = {
    1: "SYNTHETIC SEISMIC VOLUME WITH ONE SALT BODY, WRITTEN BY SALTJAX",
    2: "INLINE NUMBERS IN BYTES 189-192, CROSSLINE NUMBERS IN BYTES 193-196",
    3: "X AND Y OF THE BIN CENTRE IN BYTES 181-184 AND 185-188, SCALAR IN 71-72",
    39: "SEG-Y REV1",
    40: "END TEXTUAL HEADER",
}
# Takes the next inlines [n, crosslines, samples] of a file.
Append = Callable[[np.ndarray], None]


def write(
    volume: pathlib.Path, labels: pathlib.Path, shape: tuple[int, int, int], seed: int
) -> float:
    """Writes a volume and its labels, see `synthetic_volume`; returns the share of salt.

    Args:
      volume, labels: the files, whose suffixes say their formats.
      shape: number of inlines, of crosslines and of samples.
      seed: of the volume.

    Raises:
      InputError: if a file is there already, is of another format, or cannot be written.
    """
    _check(volume, "--volume")
    _check(labels, "--labels")
    if volume.resolve() == labels.resolve():
        raise InputError(f"--volume and --labels are both {volume}; expected two files")
    salt = 0
    with (
        _open(volume, shape, "float32") as append_amplitudes,
        _open(labels, shape, "uint8") as append_labels,
        console.Bar("Volume", shape[0], "inlines") as bar,
    ):
        for amplitudes, label in synthetic_volume.blocks(shape, seed):
            with writing(volume):
                append_amplitudes(amplitudes)
            with writing(labels):
                append_labels(label)
            salt += int(label.sum())
            bar.advance(len(label))
    return salt / int(np.prod(shape))


def _check(path: pathlib.Path, flag: str) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{flag}={path}: expected a name that ends with one of {', '.join(SUFFIXES)}"
        )
    if path.exists():
        raise InputError(
            f"{flag}={path}: there is such a file; delete it, or choose another name"
        )


@contextlib.contextmanager
def _open(
    path: pathlib.Path, shape: tuple[int, int, int], dtype: str
) -> Iterator[Append]:
    """Yields what appends inlines to a new file, which gets its name when it is complete."""
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        with _zarr(path, shape, dtype) as append:
            yield append
        return
    with files.atomic_write(path) as temporary:
        if suffix == ".npy":
            yield _npy(temporary, shape, dtype)
        else:
            code = segy_layout.IEEE_FLOAT if dtype == "float32" else segy_layout.INT8
            with _segy(temporary, shape, code) as append:
                yield append


@contextlib.contextmanager
def _zarr(
    path: pathlib.Path, shape: tuple[int, int, int], dtype: str
) -> Iterator[Append]:
    # Imported here: tensorstore takes a second.
    from saltjax.seismic import zarr_output

    with writing(path):
        files.make_directory(path.parent)
        with tempfile.TemporaryDirectory(prefix=".saltjax-", dir=path.parent) as folder:
            array, store = pathlib.Path(folder, "array"), pathlib.Path(folder, "store")
            yield _npy(array, shape, dtype)
            volume = np.load(array, mmap_mode="r")
            zarr_output.write_volume(store, volume, *_line_numbers(shape), AXIS)
            store.rename(path)


def _npy(path: pathlib.Path, shape: tuple[int, int, int], dtype: str) -> Append:
    traces, first = npy.create(path, shape, dtype), 0

    def append(lines: np.ndarray) -> None:
        nonlocal first
        traces.write(first + np.arange(lines.size // shape[2]), np.concatenate(lines))
        first += lines.size // shape[2]

    return append


@contextlib.contextmanager
def _segy(
    path: pathlib.Path, shape: tuple[int, int, int], code: int
) -> Iterator[Append]:
    inlines, crosslines = _line_numbers(shape)
    layout = segy_layout.Layout(
        "big", code, shape[2], segy_layout.FIRST_TRACE, shape[0] * shape[1]
    )
    with path.open("wb") as file:
        text = "".join(f"C{i:2} {TEXT.get(i, '')}".ljust(80) for i in range(1, 41))
        file.write(text.encode("cp037"))
        binary = np.zeros(segy_layout.BINARY_BYTES, np.uint8)
        file.write(_with_fields(binary, _binary(layout)).data)
        done = 0

        def append(lines: np.ndarray) -> None:
            nonlocal done
            traces = np.zeros(lines.shape[:2], layout.trace)
            i = inlines[done : done + len(lines), None]
            _with_fields(traces, _headers(i, crosslines, shape[2]))
            traces["samples"] = lines
            file.write(traces.data)
            done += len(lines)

        yield append


def _with_fields(array: np.ndarray, fields: dict[int, tuple[int, Any]]) -> np.ndarray:
    """Returns an array with integers written into its items.

    Args:
      array: its items, or all of its bytes, are those of the file.
      fields: by their first byte in the item, from 1: bytes of an integer, and the integers.
    """
    itemsize = len(array) if array.dtype == np.uint8 else array.itemsize
    item: Any = {
        "names": [str(byte) for byte in fields],
        "formats": [f">i{size}" for size, _ in fields.values()],
        "offsets": [byte - 1 for byte in fields],
        "itemsize": itemsize,
    }
    view = array.view(np.dtype(item))
    for byte, (_, values) in fields.items():
        view[str(byte)] = values
    return array


def _binary(layout: segy_layout.Layout) -> dict[int, tuple[int, int]]:
    """Returns the fields of the binary header for `_with_fields`."""
    found = {
        3217: round(1000 * AXIS.step),
        3221: layout.samples,
        3225: layout.format,
        3229: 4,  # stacked traces
        3255: 1,  # metres
        3501: 0x100,  # revision 1
        3503: 1,  # traces of equal length
    }
    return {byte - segy_layout.TEXT_BYTES: (2, value) for byte, value in found.items()}


def _headers(
    inline: np.ndarray, crossline: np.ndarray, samples: int
) -> dict[int, tuple[int, Any]]:
    """Returns the fields of the headers of traces at inlines [n, 1] and crosslines [m]."""
    i, j = inline - FIRST_INLINE, crossline - FIRST_CROSSLINE
    along, across = SPACING * j, SPACING * i
    x = CORNER[0] + along * np.sin(AZIMUTH) + across * np.cos(AZIMUTH)
    y = CORNER[1] + along * np.cos(AZIMUTH) - across * np.sin(AZIMUTH)
    number = i * len(crossline) + j + 1
    return {
        1: (4, number),
        5: (4, number),
        21: (4, number),
        29: (2, 1),  # a live seismic trace
        71: (2, -10),  # the coordinates are in tenths of a metre
        89: (2, 1),
        115: (2, samples),
        117: (2, round(1000 * AXIS.step)),
        181: (4, np.rint(10 * x)),
        185: (4, np.rint(10 * y)),
        189: (4, inline),
        193: (4, crossline),
    }


def _line_numbers(shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    return FIRST_INLINE + np.arange(shape[0]), FIRST_CROSSLINE + np.arange(shape[1])


def define_flags() -> None:
    """Defines the flags of the command."""
    flags.DEFINE_string("volume", None, "File of the amplitudes to write.")
    flags.DEFINE_string("labels", None, "File of the labels to write.")
    flags.DEFINE_string("shape", "96,400,192", "Inlines, crosslines and samples.")
    flags.DEFINE_integer("seed", 0, "Seed of the volume.", lower_bound=0)


def help_text() -> str:
    """Returns the output of --help."""
    return f"{__doc__}{flags.FLAGS.module_help(__name__)}"


def parse_shape(text: str) -> tuple[int, int, int]:
    """Returns --shape as integers.

    Raises:
      InputError: if it is something else than three sizes.

    >>> parse_shape("120,160,128")
    (120, 160, 128)
    """
    found = [int(part) if part.strip().isdecimal() else 0 for part in text.split(",")]
    low, high = SIZES
    if len(found) != 3 or not all(low <= size <= high for size in found):
        raise InputError(
            f"--shape={text}: expected inlines, crosslines and samples, three whole numbers from "
            f"{low} to {high}, such as 120,160,128"
        )
    return found[0], found[1], found[2]


def main() -> None:
    """Writes the volume and the labels that the command line names."""
    given = flags.FLAGS
    if not given.volume or not given.labels:
        raise InputError(
            "expected two names, such as --volume=salt.sgy --labels=labels.sgy"
        )
    if given.config is not None:
        raise InputError("--config: this command takes --shape and --seed instead")
    shape = parse_shape(given.shape)
    try:
        with signals.Pause(0):
            salt = write(
                pathlib.Path(given.volume),
                pathlib.Path(given.labels),
                shape,
                given.seed,
            )
    except signals.Stopped as stopped:
        stopped.advice = "no file is incomplete; the same command starts again"
        raise
    size = " × ".join(map(str, shape))
    console.say(f"Volume     {given.volume}: {size} inlines, crosslines and samples")
    console.say(f"Labels     {given.labels}: {salt:.1%} salt (1), the rest 0")
    names = (
        f"--config.data.volume={given.volume}",
        f"--config.data.labels={given.labels}",
    )
    words = ["python", "launch.py", "--config=configs/unet_strided.py", *names]
    if 2 * (smallest := min(shape[1:])) < 3 * TILE:
        # Small enough for some of them to have no salt.
        words.append(f"--config.data.tile={max(smallest // 3, SMALLEST_TILE)}")
    console.say(f"Next       {shlex.join(words)} --mode=check")
