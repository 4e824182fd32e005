"""A network file: the weights of a trained network with its settings, threshold and scores.

It is a safetensors file. The tensors are named after the paths of the network's variables, such as
"params/head/kernel". The header's metadata hold one entry, "saltjax": a JSON object with the keys

    sha256    checksum of the file in which these 64 digits are zeros
    format    FORMAT
    saltjax   the version that wrote the file
    config    as in config.json; of paths at most the last two parts, see `_portable`; OF_THE_MACHINE as by default
    result    result.json
    tiles     size, content hash, split and dominant period of the tiles, as in data.json
    starts    env.json without command lines

The same network gives the same bytes, in the same version of saltjax.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import jax
import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from ml_collections import ConfigDict

from saltjax.networks.network import Network, create_network
from saltjax.runs import environment, saved_config, settings
from saltjax.runs import result as results
from saltjax.runs.result import Result
from saltjax.system import files
from saltjax.system.errors import InputError, reading

T = TypeVar("T")
SUFFIX = ".safetensors"
FORMAT = 1
KEY = "saltjax"
NO_CHECKSUM = "0" * 64
# Bytes of the JSON object, so that reading one takes little memory: ids of a million tiles.
MAX_DOCUMENT = 32 << 20
# Settings of the machine that trained, which another one has no use for.
OF_THE_MACHINE = ("train.cpu_devices", "train.compile_cache")
MAX_PERIOD = 1e6
AGAIN = "copy or download it again, or export its run again"
EXPECTED = "expected a file that --mode=export --output=NAME.safetensors wrote"


@dataclasses.dataclass(frozen=True)
class Tiles:
    """The tiles of a run: height and width in pixels, hash, and the ids in each part of the split.

    The dominant vertical period in them, in pixels, is None in files of runs before it was recorded.
    """

    height: int
    width: int
    content_sha256: str = ""
    splits: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    dominant_period: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, of a damaged file, if size or period are none."""
        if min(self.height, self.width) < 1:
            raise ValueError(f"tiles of {self.width}×{self.height} pixels")
        period = self.dominant_period
        if period is not None and not 1 <= period <= MAX_PERIOD:
            raise ValueError(
                f"dominant_period {period}; expected 1 to {MAX_PERIOD:g} pixels"
            )


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """The best network of a finished run, from its directory or from a network file.

    Attributes:
      path: of the directory or file.
      config: the settings of the run.
      result: its result.json.
      tiles: its tiles.
      variables: params and batch_stats, as numpy arrays.
    """

    path: pathlib.Path
    config: ConfigDict = dataclasses.field(repr=False)
    result: Result = dataclasses.field(repr=False)
    tiles: Tiles = dataclasses.field(repr=False)
    variables: dict[str, Any] = dataclasses.field(repr=False)

    @property
    def name(self) -> str:
        """The name of the directory, or of the file without its suffix."""
        return self.path.absolute().name.removesuffix(SUFFIX)

    @functools.cached_property
    def network(self) -> Network:
        """The model and its resolution."""
        return create_network(self.config)

    def count_seen(self, ids: Iterable[str]) -> int:
        """Returns how many of these tiles have ids of its training and validation tiles."""
        used = {
            tile
            for name in ("train", "val")
            for tile in self.tiles.splits.get(name, ())
        }
        return len(used & {*ids})

    def weights_sha256(self) -> str:
        """Returns a checksum of the weights, the same for a run and for its network file."""
        checksum = hashlib.sha256()
        for path, array in sorted(flatten(self.variables).items()):
            checksum.update(f"{path} {array.dtype.str} {array.shape}\n".encode())
            checksum.update(array.tobytes())
        return checksum.hexdigest()


def shapes_of(network: Network) -> dict[str, Any]:
    """Returns the network's variables with a `jax.ShapeDtypeStruct` for each array."""
    return jax.eval_shape(lambda: network.init(0))


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of variables by their paths, such as "params/head/kernel"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }


def unflatten(arrays: Mapping[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """Returns variables with the structure of `like` and the arrays of their paths."""
    return jax.tree.unflatten(
        jax.tree.structure(like), [arrays[path] for path in flatten(like)]
    )


def encode(trained: TrainedNetwork, starts: list[dict[str, Any]]) -> bytes:
    """Returns the content of the file of a trained network.

    Args:
      trained: the network.
      starts: those of its run, see `environment`; their command lines are left out.

    Raises:
      InputError: if the ids of the tiles take more than a file may hold.
    """
    starts = [
        {key: value for key, value in start.items() if key != "command"}
        for start in starts
    ]
    result, place = trained.result, _last_parts(trained.result.data.dir)
    data = dataclasses.replace(result.data, dir=place)
    tiles = trained.tiles
    if trained.config.data.volume:
        # Patches have no ids by which they could be met again, and there may be millions.
        splits = {name: ids for name, ids in tiles.splits.items() if name != "train"}
        tiles = dataclasses.replace(tiles, splits=splits)
    document = {
        "sha256": NO_CHECKSUM,
        "format": FORMAT,
        "saltjax": environment.version(),
        "config": saved_config.with_version(_portable(trained.config)),
        "result": msgspec.to_builtins(dataclasses.replace(result, data=data)),
        "tiles": msgspec.to_builtins(tiles),
        "starts": starts,
    }
    text = json.dumps(document, separators=(",", ":"))
    if len(text) > MAX_DOCUMENT:
        raise InputError(
            f"{trained.path}: the ids of its tiles take {len(text) / 1e6:.0f} MB; expected at most "
            f"{MAX_DOCUMENT / 1e6:.0f} MB: train on tiles with shorter ids to export this network"
        )
    content = safetensors.numpy.save(flatten(trained.variables), {KEY: text})
    checksum = hashlib.sha256(content).hexdigest()
    return content.replace(NO_CHECKSUM.encode(), checksum.encode(), 1)


def _portable(config: ConfigDict) -> ConfigDict:
    """Returns the settings without what belongs to a machine."""
    texts = {
        key: value
        for key, value in settings.flatten(config.to_dict()).items()
        if isinstance(value, str)
    }
    flat: dict[str, Any] = {
        key: ",".join(map(_last_parts, settings.paths(key, value)))
        for key, value in texts.items()
    }
    if flat["data.volume"] and flat["data.volume"] == flat["data.labels"]:
        # A config with one path for both is refused.
        flat |= {key: texts[key] for key in ("data.volume", "data.labels")}
    flat |= {key: settings.defaults()[key] for key in OF_THE_MACHINE}
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(flat)
    return config


def _last_parts(path: str) -> str:
    """Returns at most the last two parts of a path.

    >>> _last_parts("/home/ann/tgs/train/"), _last_parts(".")
    ('tgs/train', '.')
    """
    pure = pathlib.PurePath(path)
    parts = [part for part in pure.parts if part != pure.anchor]
    return "/".join(parts[-2:]) or path


def read_config(path: pathlib.Path) -> ConfigDict:
    """Returns the settings in a network file, of which every bit is as it was written.

    Raises:
      InputError: as `read`, but for the weights themselves.
    """
    return _config(_read_document(path)[0], path)


def read_starts(path: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the starts of the run that a network file is of, without command lines.

    Raises:
      InputError: as `read_config`.
    """
    return _convert(_read_document(path)[0], "starts", list[dict[str, Any]], path)


def read(path: pathlib.Path) -> TrainedNetwork:
    """Returns the network in a file, every bit of which is as it was written.

    Nothing of the size that a file claims is allocated before it is known that the file has it.

    Raises:
      InputError: if it cannot be read, is no network file, is damaged, or a newer version wrote it.
    """
    document, tensors = _read_document(path)
    config = _config(document, path)
    tree = _convert(document, "result", dict[str, Any], path)
    result = results.parse(tree, path, AGAIN)
    tiles = _convert(document, "tiles", Tiles, path)
    like = shapes_of(create_network(config))
    _check_tensors(tensors, flatten(like), path)
    with reading(path):
        arrays = safetensors.numpy.load(path.read_bytes())
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise files.damaged(path, f"{name} is not finite", AGAIN)
    variables = unflatten(arrays, like)
    return TrainedNetwork(path, config, result, tiles, variables)


def _read_document(
    path: pathlib.Path,
) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...]]]]:
    """Returns the JSON object of a network file, and data type and shape of each tensor in it.

    Raises:
      InputError: as `read`, but for the tensors' content.
    """
    if not path.is_file():  # opening a pipe would block
        found = "not a regular file" if path.exists() else "no such file"
        raise InputError(f"{path}: {found}; {EXPECTED}")
    metadata, tensors = _read_header(path)
    text = metadata.get(KEY)
    if text is None:
        raise InputError(
            f"{path} was not written by saltjax: its header has no metadata {KEY!r}; {EXPECTED}"
        )
    try:
        if len(text) > MAX_DOCUMENT:
            raise ValueError(f"{len(text)} characters of metadata")
        document = json.loads(text)
        version, checksum = document["format"], str(document["sha256"])
    except KeyError as error:
        raise files.damaged(path, f"its metadata lack {error}", AGAIN) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise files.damaged(path, f"its metadata: {error}", AGAIN) from None
    if version != FORMAT:
        raise InputError(
            f"{path} has format {version!r}; expected {FORMAT}: use the newer version of saltjax "
            "that wrote it"
        )
    if not re.fullmatch("[0-9a-f]{64}", checksum):
        raise files.damaged(path, f"its checksum is {checksum!a}", AGAIN)
    found = _checksum(path, checksum)
    if found != checksum:
        reason = f"its checksum is {found}, its header has {checksum}"
        raise files.damaged(path, reason, AGAIN)
    return document, tensors


def _read_header(
    path: pathlib.Path,
) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    """Returns metadata and tensors of a safetensors file, whose size is as the header says."""
    with reading(path), path.open("rb"):  # which says why, unlike safetensors
        pass
    try:
        with reading(path), safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, {
                name: (part.get_dtype(), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path} is no safetensors file, or is truncated or damaged ({error}); {EXPECTED}: "
            f"{AGAIN}"
        ) from None


def _checksum(path: pathlib.Path, stored: str) -> str:
    """Returns the checksum of a network file whose header holds the checksum `stored`."""
    checksum = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        size = file.read(8)
        header = file.read(int.from_bytes(size, "little"))
        blank = header.replace(stored.encode(), NO_CHECKSUM.encode(), 1)
        checksum.update(size + blank)
        while chunk := file.read(1 << 20):
            checksum.update(chunk)
    return checksum.hexdigest()


def _config(document: dict[str, Any], path: pathlib.Path) -> ConfigDict:
    tree = _convert(document, "config", dict[str, Any], path)
    version = saved_config.pop_version(tree, path)
    try:
        return saved_config.checked(saved_config.upgrade(tree, version))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise files.damaged(path, error, AGAIN) from None


def _convert(
    document: dict[str, Any], key: str, kind: type[T], path: pathlib.Path
) -> T:
    """Returns what the JSON object holds under a key; raises InputError if that is of another type."""
    try:
        return msgspec.convert(document.get(key), kind)
    except msgspec.ValidationError as error:
        raise files.damaged(path, f"{key!r}: {error}", AGAIN) from None


def _check_tensors(
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    expected: Mapping[str, jax.ShapeDtypeStruct],
    path: pathlib.Path,
) -> None:
    """Raises InputError unless the tensors are the variables of the network."""
    variables = {name: ("F32", leaf.shape) for name, leaf in expected.items()}
    for name in sorted(tensors.keys() | variables.keys()):
        found, wanted = tensors.get(name), variables.get(name)
        if found != wanted:
            raise files.damaged(
                path,
                f"{name}: {_tensor(found)} there, {_tensor(wanted)} in the network of its settings",
                AGAIN,
            )


def _tensor(found: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{found[0]}{list(found[1])}" if found else "none"
