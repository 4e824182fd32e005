"""Arrays of a Zarr store of format 3: found, opened by tensorstore, and read."""

import base64
import contextlib
import json
import pathlib
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from saltjax.system.errors import InputError, reading, system_reason

VOLUME = "amplitude"  # the array of a group that names none, as MDIO calls it
VERSION_2 = (".zgroup", ".zarray")
NUMBERS = re.compile(r"u?int(8|16|32|64)|float(16|32|64)|bool")
# Python that writes a group, or an array, again.
REWRITE = 'import xarray; xarray.open_zarr("OLD").drop_encoding().to_zarr("NEW.zarr", zarr_format=3)'
REWRITE_ARRAY = 'import zarr; zarr.create_array("NEW.zarr", data=zarr.open_array("OLD"), zarr_format=3)'


class Array:
    """An array of numbers or truth values.

    Attributes:
      path: its directory.
      store: the array, a `tensorstore.TensorStore`.
      dimensions: their names, "" for those without.
      attributes: what its writer noted.
      chunk: the shape of what is decoded at once.
    """

    def __init__(self, path: pathlib.Path, kept: int = 0):
        """Opens an array; of the chunks that are read, `kept` bytes stay in memory.

        Raises:
          InputError: if it cannot be opened.
        """
        import tensorstore  # takes a second

        found = metadata(path) or {}
        if not is_numeric(found):
            kind = found.get("data_type")
            kind = kind.get("name") if isinstance(kind, dict) else kind
            raise InputError(f"{path}: an array of {kind}; expected real numbers")
        try:
            self.store = tensorstore.open(
                {"driver": "zarr3", "kvstore": kvstore(path)},
                context=tensorstore.Context(
                    {"cache_pool": {"total_bytes_limit": kept}}
                ),
                recheck_cached_data="open",
            ).result()
        except ValueError as error:
            raise _not_opened(path, str(error)) from None
        self.path = path
        self.dimensions: tuple[str, ...] = self.store.domain.labels
        self.attributes: dict[str, Any] = found.get("attributes", {})
        for name, none in (("scale_factor", 1), ("add_offset", 0)):
            if self.attributes.get(name, none) != none:
                raise InputError(
                    f"{path}: its values are to be scaled or shifted, by the attribute "
                    f"{name}={self.attributes[name]}; expected the values themselves. In Python, with "
                    f"xarray 2024.10 or later: {REWRITE}"
                )
        self.chunk = np.array(self.store.chunk_layout.read_chunk.shape, int)

    def read(self, *shape: int) -> np.ndarray:
        """Returns the array; raises InputError if it is of another shape, or cannot be read."""
        if self.store.shape != shape:
            raise InputError(
                f"{self.path}: an array of shape {self.store.shape}; expected {shape}, as the volume "
                "has it"
            )
        with reading_chunks(self.path):
            return self.store.read().result()

    def fill_value(self) -> float | None:
        """Returns the number that attributes say stands for no value; None for none, or NaN."""
        found = self.attributes.get("_FillValue", self.attributes.get("missing_value"))
        if isinstance(found, str):
            # Xarray has base64 of eight bytes for floats.
            with contextlib.suppress(ValueError, struct.error):
                (found,) = struct.unpack("<d", base64.b64decode(found))
        if isinstance(found, (int, float)) and found == found:
            return found
        return None


def kvstore(path: pathlib.Path) -> dict[str, str]:
    """Returns how tensorstore names a directory."""
    return {"driver": "file", "path": path.absolute().as_posix()}


def metadata(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns what the zarr.json of an array or group holds; None if there is none.

    Raises:
      InputError: if it cannot be read.
    """
    file = path / "zarr.json"
    with reading(file):
        try:
            found = json.loads(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}: damaged, it is no JSON: {error}") from None
    if not isinstance(found, dict) or found.get("node_type") not in ("array", "group"):
        raise InputError(f'{file}: expected "node_type": "array" or "group" in it')
    if not isinstance(found.get("shape", []), list):
        raise InputError(f"{file}: shape {found['shape']!r}; expected a list")
    return found


def is_numeric(found: dict[str, Any]) -> bool:
    """Returns whether an array of these metadata holds numbers or truth values."""
    kind = found.get("data_type")
    return isinstance(kind, str) and bool(NUMBERS.fullmatch(kind))


def find_volume(path: pathlib.Path, option: str) -> pathlib.Path:
    """Returns the array of a volume: `path`, or the one in it that the group names, or the only one.

    Args:
      path: an array, or a group.
      option: what it was given by, for messages.

    Raises:
      InputError: if there is none, or several that are equally likely.
    """
    place = f"{option}={path}"
    group = metadata(path)
    if group is None:
        raise InputError(f"{place}: {_other_format(path)}")
    if group["node_type"] == "array":
        return path
    with reading(path):
        folders = sorted(child for child in path.iterdir() if child.is_dir())
    nodes = {folder.name: found for folder in folders if (found := metadata(folder))}
    shapes = {name: tuple(found.get("shape", ())) for name, found in nodes.items()}
    volumes = [name for name, shape in shapes.items() if len(shape) == 3]
    named = _default_variable(group)
    if named in volumes or (named not in shapes and len(volumes) == 1):
        return path / (named if named in volumes else volumes[0])
    listed = ", ".join(f"{name} {shape or 'a group'}" for name, shape in shapes.items())
    remedy = f": give one of them, such as {place}/{volumes[0]}" if volumes else ""
    raise InputError(
        f"{place}: a Zarr group of {listed or 'nothing'}; expected one array of three dimensions, "
        f"[inline, crossline, sample], or one called {named}{remedy}"
    )


def group_of(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the group that an array lies in; None if it lies in none."""
    found = metadata(path.parent) or {}
    return path.parent if found.get("node_type") == "group" else None


def member(group: pathlib.Path | None, name: str) -> Array | None:
    """Returns an array of a group; None if it, or the group, does not exist."""
    if group is None or not name or metadata(group / name) is None:
        return None
    return Array(group / name)


def _default_variable(group: dict[str, Any]) -> str:
    """Returns the array that the metadata of an MDIO store names."""
    attributes: Any = group
    for key in ("attributes", "attributes", "defaultVariableName"):
        attributes = attributes.get(key) if isinstance(attributes, dict) else None
    return attributes if isinstance(attributes, str) else VOLUME


def _other_format(path: pathlib.Path) -> str:
    """Returns what a path is that is no Zarr store of format 3, and what to do."""
    with reading(path):
        if not path.exists():
            return "there is no such directory"
        if not path.is_dir():
            return "a file; expected a directory, a Zarr array or group"
        marks = [mark for mark in VERSION_2 if (path / mark).exists()]
        mdio_0 = (path / "data" / ".zgroup").exists()
    if not marks:
        return "no zarr.json in it; expected a Zarr array or group"
    found = f"Zarr of format 2 ({marks[0]}); expected format 3"
    if mdio_0:
        return f"{found}: import the SEG-Y file again with multidimio 1"
    rewrite = REWRITE if marks[0] == ".zgroup" else REWRITE_ARRAY
    return f"{found}. In Python, with xarray 2024.10 and zarr 3 or later: {rewrite}"


def _not_opened(path: pathlib.Path, text: str) -> InputError:
    """Returns the error for an array that tensorstore does not open, from tensorstore's text."""
    text = (
        text.partition(" [tensorstore_spec=")[0].partition('"zarr3" driver: ')[2]
        or text
    )
    codec = re.search(
        r'Error parsing object member "codecs".*"(\S+)" is not registered', text
    )
    if not codec:
        return InputError(f"{path}: tensorstore cannot open it: {text}")
    lossy = ", a lossy codec," if "zfp" in codec[1] else ""
    return InputError(
        f"{path}: compressed with {codec[1]}{lossy} which tensorstore cannot read. Write it again, "
        f"without loss: in Python, {REWRITE}"
    )


@contextlib.contextmanager
def reading_chunks(store: object, advice: str = "") -> Iterator[None]:
    """Turns tensorstore's failure to read a chunk into an InputError that names the chunk's file.

    `advice` says what to do about a damaged chunk; by default to copy the store again.
    """
    try:
        yield
    except ValueError as error:
        found = re.search(r'local file "(.*?)": (.*)', str(error), re.DOTALL)
        if not found:
            raise
        file, problem = found.groups()
        reason = system_reason(error)
        if reason:
            raise InputError(
                f"cannot read {file}: {reason}; correct that, and run the same command again"
            ) from None
        advice = advice or f"copy {store} again from where it came from"
        raise InputError(f"{file}: a damaged chunk ({problem}); {advice}") from None
