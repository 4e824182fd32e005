"""Arrays and groups in Zarr format 3, written: compressed chunks with checksums."""

import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from saltjax.seismic import zarr_store
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.seismic.zarr import MASK
from saltjax.system import files
from saltjax.system.errors import InputError, writing

CHUNK = 64  # samples along each dimension, of what is written at once
# What xarray and MDIO call the third dimension, by the unit of its axis.
DOMAINS = {"ms": "time", "m": "depth", "ft": "depth"}


def create_group(
    path: pathlib.Path,
    volume: str = zarr_store.VOLUME,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Writes the metadata of a group, whose volume is called `volume`, as MDIO notes it.

    Args:
      path: its directory.
      volume: the name of the array.
      attributes: more of them.
    """
    found = {**(attributes or {})}
    mdio = found.get("attributes")
    found["attributes"] = {
        **(mdio if isinstance(mdio, dict) else {}),
        "defaultVariableName": volume,
    }
    group = {"zarr_format": 3, "node_type": "group", "attributes": found}
    files.write_json(path / "zarr.json", group)


def open_array(
    path: pathlib.Path,
    shape: Sequence[int],
    dtype: str,
    chunk: Sequence[int],
    dimensions: Sequence[str],
    fill_value: float | None = None,
    attributes: dict[str, Any] | None = None,
    inner: Sequence[int] | None = None,
    create: bool = True,
) -> Any:
    """Returns an array, a `tensorstore.TensorStore`.

    Args:
      path: its directory.
      shape, dtype: of the array.
      chunk: the shape of a chunk, which is a file.
      dimensions: their names.
      fill_value: what chunks hold that are not written; may be NaN. With it, a chunk that has been
        written is there also if it holds nothing else; None for 0, chunks of which are left out.
      attributes: to be stored with it.
      inner: the shape of what can be read alone within a chunk, which it divides; None for chunks.
      create: whether it is created if it does not exist.

    Raises:
      ValueError: if there is an array with other metadata, or none and it is not to be created.
    """
    import tensorstore  # takes a second

    codecs: list[dict[str, Any]] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 3, "checksum": False}},
        {"name": "crc32c"},
    ]
    if inner is not None:
        sharding = {
            "chunk_shape": list(inner),
            "codecs": codecs,
            "index_codecs": [codecs[0], codecs[2]],
        }
        codecs = [{"name": "sharding_indexed", "configuration": sharding}]
    layout: dict[str, Any] = {
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(chunk)},
        },
        "codecs": codecs,
        "dimension_names": list(dimensions),
        "attributes": attributes or {},
    }
    if fill_value is not None:
        layout["fill_value"] = "NaN" if np.isnan(fill_value) else fill_value
    return tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": zarr_store.kvstore(path),
            "metadata": layout,
            "store_data_equal_to_fill_value": fill_value is not None,
        },
        open=True,
        create=create,
    ).result()


def write(
    path: pathlib.Path,
    array: np.ndarray,
    dimensions: Sequence[str],
    attributes: dict[str, Any] | None = None,
) -> None:
    """Writes an array in chunks of CHUNK along each dimension.

    Args:
      path: its directory.
      array: numbers.
      dimensions: their names.
      attributes: to be stored with it.
    """
    chunk = [min(CHUNK, n) for n in array.shape]
    store = open_array(
        path, array.shape, array.dtype.name, chunk, dimensions, attributes=attributes
    )
    store.write(array).result()


def write_volume(
    path: pathlib.Path,
    volume: np.ndarray,
    inlines: np.ndarray,
    crosslines: np.ndarray,
    axis: SampleAxis,
    trace_mask: np.ndarray | None = None,
) -> None:
    """Writes a volume as a Zarr group, which xarray opens and which resembles an MDIO store.

    Args:
      path: the group; it must not exist.
      volume: real numbers [inline, crossline, sample].
      inlines, crosslines: the numbers of the lines.
      axis: of the samples.
      trace_mask: bool[inline, crossline], False where there is no trace.

    Raises:
      InputError: if it exists, or cannot be written.
    """
    if path.exists():
        raise InputError(f"{path} exists; remove it, or write to another path")
    names = dimensions(axis)
    with writing(path):
        create_group(path)
        write(path / zarr_store.VOLUME, volume, names)
        write_axes(path, names, inlines, crosslines, axis, volume.shape[2])
        if trace_mask is not None:
            write(path / MASK, trace_mask, names[:2])
        consolidate(path)


def dimensions(axis: SampleAxis) -> tuple[str, str, str]:
    """Returns the names of the dimensions of a volume with such samples."""
    return "inline", "crossline", DOMAINS.get(axis.unit, "sample")


def write_axes(
    path: pathlib.Path,
    names: Sequence[str],
    inlines: np.ndarray,
    crosslines: np.ndarray,
    axis: SampleAxis,
    samples: int,
) -> None:
    """Writes the numbers of lines, and the positions of samples unless they have none, into a group.

    Those that are there already stay.

    Args:
      path: the group.
      names: of its dimensions.
      inlines, crosslines: the numbers.
      axis: of the samples.
      samples: how many.
    """
    known = [np.asarray(inlines), np.asarray(crosslines)]
    units: list[dict[str, Any]] = [{}, {}]
    if axis.unit in DOMAINS:
        known.append(axis.first + axis.step * np.arange(samples))
        kind = "time" if axis.unit == "ms" else "length"
        units.append({"unitsV1": {kind: axis.unit}})
    for name, values, unit in zip(names, known, units):
        if not (path / name).exists():
            write(path / name, values, [name], unit)


def consolidate(path: pathlib.Path) -> None:
    """Copies the metadata of the arrays of a group into those of the group.

    Xarray looks for them there, and warns where it does not find them.
    """
    found = zarr_store.metadata(path) or {}
    children = [child for child in sorted(path.iterdir()) if child.is_dir()]
    found["consolidated_metadata"] = {
        "kind": "inline",
        "must_understand": False,
        "metadata": {child.name: zarr_store.metadata(child) for child in children},
    }
    files.write_json(path / "zarr.json", found)


def copy_members(
    group: pathlib.Path, path: pathlib.Path, lines: Mapping[str, np.ndarray]
) -> None:
    """Copies the arrays of a group into another, all but volumes.

    Args:
      group: where they are.
      path: where they are copied to.
      lines: the indices that are kept along some dimensions. Of arrays that are not of numbers, such as
        trace headers, no part is copied.

    Raises:
      InputError: if one cannot be read or written.
    """
    for child in sorted(group.iterdir()):
        found = zarr_store.metadata(child) if child.is_dir() else None
        if found is None or len(found.get("shape", (0, 0, 0))) > 2:
            continue
        names = found.get("dimension_names") or [""] * len(found["shape"])
        kept = [
            lines.get(name, np.arange(size))
            for name, size in zip(names, found["shape"])
        ]
        with writing(path / child.name):
            if all(len(k) == size for k, size in zip(kept, found["shape"])):
                shutil.copytree(child, path / child.name)
                for file in (path / child.name).rglob("*"):
                    files.sync(file)
            elif zarr_store.is_numeric(found):
                array = zarr_store.Array(child)
                part = array.read(*found["shape"])[np.ix_(*kept)]
                write(path / child.name, part, names, array.attributes)
