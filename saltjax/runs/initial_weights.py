"""Initial weights of a run that are those of another network: `train.init_from`."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from saltjax.runs import environment, network_file, saved_config, settings, trained
from saltjax.runs.network_file import TrainedNetwork
from saltjax.system import console
from saltjax.system.errors import InputError

# Settings of a model that change none of its arrays.
WITHOUT_ARRAYS = ("model.dropout", "model.init")
# Arrays that a message lists.
SHOWN = 5


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Weights of another network that a run begins with.

    Attributes:
      source: the network.
      taken: its arrays that are taken over, by their paths, such as "params/head/kernel".
      left: a line for each array, of either network, that is not.
    """

    source: TrainedNetwork = dataclasses.field(repr=False)
    taken: dict[str, np.ndarray] = dataclasses.field(repr=False)
    left: list[str]

    def variables(self, initial: dict[str, Any]) -> dict[str, Any]:
        """Returns the run's initial variables with the arrays that are taken over in their places."""
        arrays = network_file.flatten(initial) | self.taken
        return network_file.unflatten(arrays, initial)

    def record(self) -> dict[str, Any]:
        """Returns what env.json holds of them, under `environment.INITIAL`."""
        return {
            "from": self.source.name,
            "weights_sha256": self.source.weights_sha256(),
            "taken": sorted(self.taken),
            "left": self.left,
        }

    def announce(self, facts: dict[str, Any]) -> None:
        """Prints which arrays are taken over, and whether their network knows the run's test tiles.

        It does not know what the weights began with that the network itself was fine-tuned from.

        Args:
          facts: what data.json of the run holds.
        """
        name, count = self.source.name, len(self.taken)
        if self.left:
            lines = "".join(f"\n  {line}" for line in self.left)
            console.say(
                f"Initial    {count} arrays of {name}; these are not taken over:{lines}"
            )
        else:
            console.say(f"Initial    weights of {name}: all {count} arrays")
        test, tiles = facts["splits"]["test"], self.source.tiles
        same = facts["content_sha256"] == tiles.content_sha256
        if facts["source"] != "folder" and not same:
            return  # other sections, or lines of other volumes, have the same ids
        if facts["source"] == "volume":
            if test != tiles.splits.get("test"):
                console.say(
                    f"{name} was trained on the same volume with other test lines: lines of this run's "
                    "test may be among its training lines, and the scores biased in the run's favour."
                )
        elif seen := self.source.count_seen(test):
            console.say(
                f"{seen} of the {len(test)} test tiles have the ids of tiles that {name} was "
                "trained or validated on: the scores will be biased in the run's favour."
            )


def read(
    given: str, partial: bool, shapes: dict[str, Any], config: ConfigDict
) -> InitialWeights | None:
    """Returns the weights that a run is to begin with, None for random ones.

    Args:
      given: the setting train.init_from: "", or a network as `trained.locate` takes it.
      partial: the setting train.init_partial: take over the arrays that fit.
      shapes: the run's variables, with a `jax.ShapeDtypeStruct` for each array.
      config: of the run, to name the settings in which the two networks differ.

    Raises:
      InputError: if there is no such network; if its arrays and the run's are not the same and
        `partial` is False; or if none fits.
    """
    if not given:
        return None
    source = _read(given)
    there, here = network_file.flatten(source.variables), network_file.flatten(shapes)
    paths = sorted(there.keys() | here.keys())
    different = {path for path in paths if _shape(there, path) != _shape(here, path)}
    taken = {path: there[path] for path in paths if path not in different}
    left = [
        f"{path}: {_shape(there, path)} there, {_shape(here, path)} in this run"
        for path in sorted(different)
    ]
    if not taken or (left and not partial):
        raise InputError(_refusal(given, source.config, config, left, len(taken)))
    return InitialWeights(source, taken, left)


def _refusal(
    given: str,
    there: ConfigDict,
    here: ConfigDict,
    left: list[str],
    taken: int,
) -> str:
    """Returns the message that two networks differ: in which settings, and in which arrays."""
    lines, flags = [f"config.train.init_from={given}: another network"], []
    a, b = (settings.flatten(c.to_dict()) for c in (there, here))
    for key in sorted(a.keys() & b.keys()):
        found, wanted = (settings.value_text(values[key]) for values in (a, b))
        # Sections without neighbours have as many channels as those with one on either side.
        channels = key == "data.context" and {found, wanted} != {"0", "1"}
        model = key.startswith("model.") and key not in WITHOUT_ARRAYS
        if found != wanted and (model or channels):
            lines.append(f"  {key}: {found} there, {wanted} in this run")
            flags.append(f"--config.{key}={found}")
    lines.append(f"{len(left)} arrays differ:")
    lines += [f"  {line}" for line in left[:SHOWN]]
    if len(left) > SHOWN:
        lines.append(f"  … and {len(left) - SHOWN} more")
    advice = "expected the same network"
    if flags:
        advice += f": give {' '.join(flags)}"
    if taken:
        advice += f"; --config.train.init_partial=True takes the other {taken} arrays"
    return "\n".join([*lines, advice])


def check_moved(workdir: pathlib.Path, given: str) -> None:
    """Checks that the run in a directory began with the weights of `given`.

    Its setting train.init_from may name them by another path now. Under the same name nothing is
    read: a run goes on from its own checkpoints, and the network may be gone by then.

    Raises:
      InputError: if they are other weights, or cannot be read.
    """
    before = settings.flatten(saved_config.read_json(workdir)).get("train.init_from")
    if before == given:
        return
    recorded = environment.initial_checksum(environment.read(workdir))
    if not recorded or _read(given).weights_sha256() != recorded:
        raise InputError(
            f"config.train.init_from={given}: the run in {workdir} began with the weights of "
            f"{before}, which are others; give these, choose another --workdir, or start again with "
            "--overwrite"
        )


def _read(given: str) -> TrainedNetwork:
    try:
        return trained.read(trained.locate(given))
    except InputError as error:
        raise InputError(f"config.train.init_from={given}: {error}") from None


def _shape(arrays: Mapping[str, Any], path: str) -> str:
    return str(list(arrays[path].shape)) if path in arrays else "none"
