"""The files of a survey that is segmented in tasks: groups of Zarr, which a restarted command completes."""

import contextlib
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from saltjax.inference import chunks
from saltjax.inference.chunks import Chunks, Layout
from saltjax.inference.survey import Positions
from saltjax.inference.volumes import Traces, passes
from saltjax.seismic import array_files, npy, zarr_output, zarr_store
from saltjax.seismic.grid_traces import GridTraces
from saltjax.seismic.segy_layout import FLOAT_FORMATS, IBM_FLOAT
from saltjax.system import console, files
from saltjax.system.errors import InputError, writing
from saltjax.system.output_directory import OutputDirectory

SUFFIX = ".zarr"
# The arrays of the groups, and the attribute that says what they are the results of.
PROBABILITY, MASK, NOTE = "probability", "mask", "saltjax"
# What messages say of settings whose values would tell nothing.
OTHERWISE = {
    "networks": "other networks",
    "computation": "another engine, precision or scale, or other mirror images",
    "input": "another input",
}
# What MDIO calls the headers of a SEG-Y file, and the code of samples in them.
SEGY_HEADER, FORMAT = "segy_file_header", "data_sample_format"


@dataclasses.dataclass(frozen=True)
class Places:
    """Where the results of a survey are.

    Attributes:
      probs, masks: the groups.
      first: the group of the probabilities along the first of two directions.
    """

    probs: pathlib.Path
    masks: pathlib.Path
    first: pathlib.Path

    @property
    def paths(self) -> list[pathlib.Path]:
        """All of them."""
        return [self.probs, self.masks, self.first]

    def absolute(self) -> "Places":
        """Returns them as absolute paths."""
        return Places(*(path.absolute() for path in self.paths))


def places(folder: pathlib.Path, stem: str, hidden: bool = False) -> Places:
    """Returns where the results of an input are.

    Args:
      folder: the directory of results.
      stem: what their names begin with.
      hidden: whether they are an intermediate result, to be converted and deleted.
    """
    dot = "." if hidden else ""
    return Places(
        folder / f"{dot}{stem}_prob{SUFFIX}",
        folder / f"{dot}{stem}_mask{SUFFIX}",
        folder / f".{stem}_first{SUFFIX}",
    )


def directions(source: Traces, direction: str) -> list[str]:
    """Returns the directions that a volume is segmented along; one if it has a single line.

    Raises:
      InputError: if it is no volume.
    """
    if isinstance(source, npy.ArrayTraces):
        volume = len(source.shape) == 3 and source.image() is None
        if volume and 1 in source.shape[:2]:
            return ["inline" if source.shape[0] == 1 else "crossline"]
    else:
        volume = source.geometry.volume
    if not volume:
        raise InputError(
            f"{source.name}: a section, a 2-D line or an image; a cluster segments volumes: leave --scheduler out"
        )
    return list(passes(direction))


def arrays(
    source: Traces,
    along: Sequence[str],
    where: Places,
    get: Callable[[Layout, pathlib.Path, str, Sequence[str]], Chunks],
) -> tuple[Chunks, Chunks, Chunks]:
    """Returns the arrays of probabilities, masks, and probabilities of the first direction.

    Args:
      source: the volume.
      along: see `directions`.
      where: the groups.
      get: creates or opens an array, `Layout.create` or `Layout.open`.
    """
    shape, names = Positions(source).shape, dimensions(source)

    def array(group: pathlib.Path, name: str, dtype: str, written: str) -> Chunks:
        # Masks are read along inlines, to label bodies.
        read = along if name == PROBABILITY else sorted({along[0], "inline"})
        return get(chunks.layout(shape, read, written), group / name, dtype, names)

    probs = array(where.probs, PROBABILITY, "float32", along[-1])
    masks = array(where.masks, MASK, "uint8", along[0])
    if len(along) == 1:
        return probs, masks, probs
    return probs, masks, array(where.first, PROBABILITY, "float32", along[0])


def dimensions(source: Traces) -> Sequence[str]:
    """Returns the names of the dimensions of results: those of the input, if it has any."""
    grid = source.grid if isinstance(source, GridTraces) else None
    names = getattr(grid, "names", [""] * 3)
    usual = zarr_output.dimensions(source.axis)
    return [name or default for name, default in zip(names, usual)]


def note(
    source: Traces, sample: np.ndarray, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what identifies results: the settings, and a checksum of the input.

    The checksum is one of shape, line numbers and the sample: a change elsewhere in it is not noticed.

    Args:
      source: the volume.
      sample: traces of it, see `volumes.sample_of`.
      settings: all else that the results depend on.
    """
    found = Positions(source)
    checksum = hashlib.sha256(f"{found.shape} {sample.dtype.str}".encode())
    for array in (found.inlines, found.crosslines, sample):
        checksum.update(np.ascontiguousarray(array).tobytes())
    return {**settings, "input": checksum.hexdigest()}


def create(
    claimed: OutputDirectory,
    source: Traces,
    along: Sequence[str],
    where: Places,
    identity: Mapping[str, Any],
    chosen: Mapping[str, Any],
) -> tuple[Chunks, Chunks, Chunks]:
    """Creates the groups that are not there, and returns their arrays.

    Args:
      claimed: the directory of results.
      source: the volume.
      along: see `directions`.
      where: the groups.
      identity: see `note`.
      chosen: what masks depend on besides: masks of another choice are replaced.

    Raises:
      InputError: if there are probabilities of something else, or a group cannot be written.
    """
    _check_identity(where.probs, identity)
    _check_unchanged(where.masks, {**identity, **chosen})
    noted = {**identity, **chosen}

    def create_array(layout, path, dtype, names):
        group = path.parent
        expected = noted if group == where.masks else identity
        if _noted(group) != expected:
            with claimed.write(group) as part:
                of_input = group != where.first  # which nobody exports
                _create_group(
                    part, path.name, dtype, layout, source, expected, of_input
                )
        return layout.open(path, dtype, names)

    return arrays(source, along, where, create_array)


def _noted(group: pathlib.Path) -> Any:
    """Returns what a group is the result of; None if there is none, or it says nothing of that."""
    found = zarr_store.metadata(group) or {}
    return found.get("attributes", {}).get(NOTE)


def _check_identity(group: pathlib.Path, identity: Mapping[str, Any]) -> None:
    """Raises InputError if a group of probabilities is the result of something else."""
    found = _noted(group)
    if found is None or found == identity or not (group / PROBABILITY / "c").exists():
        return
    known = found if isinstance(found, dict) else {}
    differ = [
        OTHERWISE.get(name) or f"{name} {known.get(name)} there, {value} now"
        for name, value in identity.items()
        if known.get(name) != value
    ]
    raise InputError(
        f"{group}: holds probabilities of another prediction ({'; '.join(differ) or 'settings'}), which the "
        "same command as before completes; remove that directory, or choose another --output"
    )


def _check_unchanged(group: pathlib.Path, noted: Mapping[str, Any]) -> None:
    """Raises InputError if a mask that is to be replaced was changed by others, as its salt tells."""
    found = _noted(group)
    if not isinstance(found, dict) or found == noted:
        return
    store = zarr_store.Array(group / MASK).store
    masks = Chunks(group / MASK, store, found["directions"][0])
    for task in masks.tasks(missing=False):
        salt = int(masks.read_task(task).sum(dtype=np.int64))
        if masks.note(task).get("salt") != salt:
            raise InputError(
                f"{group}: the mask was changed after it was written, and one of other settings would replace "
                "it; move it away, or choose another --output"
            )


def _create_group(
    group: pathlib.Path,
    name: str,
    dtype: str,
    layout: Layout,
    source: Traces,
    noted: Mapping[str, Any],
    of_input: bool = True,
) -> Chunks:
    """Creates a group, and an array `name` in it, which is returned.

    If `of_input`, the group has what the input has beside its volume.
    """
    grid = source.grid if isinstance(source, GridTraces) else None
    origin, found, names = (
        getattr(grid, "group", None),
        Positions(source),
        dimensions(source),
    )
    attributes = {}
    if origin is not None:
        attributes = (zarr_store.metadata(origin) or {}).get("attributes", {})
    with writing(group):
        zarr_output.create_group(group, name, {**attributes, NOTE: dict(noted)})
        if origin is not None and of_input:
            assert isinstance(source, GridTraces)
            lines = {names[0]: source.rows, names[1]: source.columns}
            zarr_output.copy_members(origin, group, lines)
            _correct_sample_format(group)
        zarr_output.write_axes(
            group, names, found.inlines, found.crosslines, source.axis, found.shape[2]
        )
        array = layout.create(group / name, dtype, names)
        zarr_output.consolidate(group)
    return array


def _correct_sample_format(group: pathlib.Path) -> None:
    """Makes the SEG-Y header that MDIO has beside a volume one of floats, as results are.

    IBM floats, which multidimio writes unless it is told otherwise.
    """
    found = zarr_store.metadata(group / SEGY_HEADER) or {}
    binary = found.get("attributes", {}).get("binaryHeader")
    if isinstance(binary, dict) and binary.get(FORMAT) not in FLOAT_FORMATS:
        binary[FORMAT] = IBM_FLOAT
        files.write_json(group / SEGY_HEADER / "zarr.json", found)


def convert(
    source: Traces, direction: str, where: Places, probs: Traces, masks: Traces
) -> None:
    """Copies the results of a volume into files of traces, 0 where there is no probability.

    Args:
      source: the volume.
      direction: the first that it was segmented along, in which each chunk of results is read once.
      where: the groups of its results.
      probs, masks: the files.

    Raises:
      InputError: if a result cannot be read.
    """
    positions = Positions(source)
    found = [array_files.read(group) for group in (where.probs, where.masks)]
    with console.Bar("Converting", source.count * source.samples, "samples") as bar:
        for line in source.lines(direction):
            numbers = line[line >= 0]
            there, row, column = positions.of(numbers)
            for sink, results in zip((probs, masks), found):
                traces = np.zeros((len(numbers), source.samples), results.dtype)
                traces[there] = np.nan_to_num(
                    results.read(row * positions.shape[1] + column)
                )
                sink.write(numbers, traces)
            bar.advance(len(numbers) * source.samples)


@contextlib.contextmanager
def create_bodies(group: pathlib.Path, source: Traces, kind: str) -> Iterator[Any]:
    """Yields what writes the salt body of each sample of a volume into a new group of Zarr.

    Args:
      group: its path.
      source: the volume.
      kind: the name of the array.

    Raises:
      InputError: if it cannot be written.
    """
    layout = chunks.layout(Positions(source).shape, ["inline"], "inline")
    yield _create_group(group, kind, "int32", layout, source, {})
