"""Finds and reads trained networks: of a run directory, a network file, or a packaged name."""

import dataclasses
import os
import pathlib
from typing import Any

import jax
import msgspec
import numpy as np
from ml_collections import ConfigDict

from saltjax.networks import network as networks
from saltjax.runs import checkpoint, environment, network_file, saved_config, workdir
from saltjax.runs import result as results
from saltjax.runs.network_file import SUFFIX, TrainedNetwork
from saltjax.system import console, files
from saltjax.system.errors import InputError, reading

# Holds the networks of the package: NAME.safetensors is called NAME.
PACKAGED = pathlib.Path(__file__).parents[1] / "pretrained"


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a trained network is: the path of a run directory or network file, and its settings."""

    path: pathlib.Path
    config: ConfigDict = dataclasses.field(repr=False)

    @property
    def is_run(self) -> bool:
        """Whether it is a run directory, and not a network file."""
        return self.path.is_dir()


def locate(given: str | os.PathLike) -> Location:
    """Returns where a trained network is; says so if the name is that of a packaged network.

    Args:
      given: a run directory, a network file, or the name of a packaged network, over which a run
        directory of that name takes precedence.

    Raises:
      InputError: if there is none, or its settings cannot be read.
    """
    path, packaged = pathlib.Path(os.path.expanduser(given)), packaged_networks()
    name = str(path)
    with reading(name):
        is_folder, exists = path.is_dir(), path.exists()
        is_run = is_folder and (path / "config.json").exists()
    if is_run and name in packaged:
        console.say(
            f"Network    of the run in the directory {name}, not the packaged {name}; delete or rename "
            "the directory for that one"
        )
    if name in packaged and not is_run:
        path = packaged[name]
        noted = f"; the directory {name} holds no run" if is_folder else ""
        console.say(f"Network    {name}, of the package{noted}")
    elif is_folder:
        return Location(path, saved_config.read(path))
    elif not exists:
        known = ", ".join(packaged) or "this installation has none"
        raise InputError(
            f"{name}: no such run directory, network file (*{SUFFIX}) or packaged network; "
            f"packaged networks: {known}"
        )
    return Location(path, network_file.read_config(path))


def packaged_networks() -> dict[str, pathlib.Path]:
    """Returns the files of the packaged networks by their names."""
    return {path.stem: path for path in sorted(PACKAGED.glob(f"*{SUFFIX}"))}


def read(location: Location) -> TrainedNetwork:
    """Returns the trained network of a location.

    Raises:
      InputError: if the directory holds no finished run, or it or the file is damaged.
    """
    if location.is_run:
        return _read_run(location.path, location.config)
    return network_file.read(location.path)


def read_starts(location: Location) -> list[dict[str, Any]]:
    """Returns the starts of the location's run, see `environment`; raises InputError as `read`."""
    if location.is_run:
        return environment.read(location.path)
    return network_file.read_starts(location.path)


def _read_run(path: pathlib.Path, config: ConfigDict) -> TrainedNetwork:
    """Returns the best network of a finished run."""
    if workdir.status(path) is not workdir.Status.FINISHED:
        raise InputError(f"{path} holds no finished run: train it to its end first")
    result = results.read(path)
    like = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype),
        network_file.shapes_of(networks.create_network(config)),
    )
    variables, best = checkpoint.restore_best(path, like)
    if best["epoch"] > result.epochs:
        raise InputError(
            f"{path}: result.json is of {result.epochs} epochs, and the best checkpoint is of epoch "
            f"{best['epoch']}: the run is being continued; repeat the command that trains it until "
            "it is complete"
        )
    if best["epoch"] != result.best_epoch:
        raise InputError(
            f"{path}: result.json is of epoch {result.best_epoch}, but the best remaining "
            f"checkpoint is of epoch {best['epoch']}; delete result.json, and the command that "
            "trained the run tests that one"
        )
    facts = path / "data.json"
    try:
        tiles = msgspec.convert(files.read_json(facts), network_file.Tiles)
    except msgspec.ValidationError as error:
        raise files.damaged(facts, error) from None
    return TrainedNetwork(path, config, result, tiles, variables)
