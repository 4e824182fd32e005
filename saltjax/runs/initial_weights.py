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

    def record(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Returns what env.json holds of them, under `environment.INITIAL`; for `facts` see `bias`."""
        return {
            "from": self.source.name,
            "weights_sha256": self.source.weights_sha256(),
            "taken": sorted(self.taken),
            "left": self.left,
            "bias": self.bias(facts),
        }

    def bias(self, facts: dict[str, Any]) -> str:
        """Returns a sentence if their network was trained on test tiles of the run, else "".

        What that network itself began with is not known.

        Args:
          facts: what data.json of the run holds.
        """
        test, tiles = facts["splits"]["test"], self.source.tiles
        same = facts["content_sha256"] == tiles.content_sha256
        if facts["source"] != "folder" and not same:
            return ""  # other sections, or lines of other volumes, have the same ids
        name, biased = self.source.name, "scores are biased in the run's favour"
        if facts["source"] == "volume":
            if test == tiles.splits.get("test"):
                return ""
            return (
                f"{name}, which it began with, was trained on the same volume with other test lines: "
                f"lines of this run's test may be among its training lines; {biased}"
            )
        seen = self.source.count_seen(test)
        if not seen:
            return ""
        return (
            f"{seen} of the {len(test)} test tiles have the ids of tiles that {name}, which it began "
            f"with, was trained or validated on: {biased}"
        )

    def announce(self, facts: dict[str, Any]) -> None:
        """Prints which arrays are taken over, and `bias`."""
        name, count = self.source.name, len(self.taken)
        if self.left:
            lines = "".join(f"\n  {line}" for line in self.left)
            console.say(
                f"Initial    {count} arrays of {name}; these are not taken over:{lines}"
            )
        else:
            console.say(f"Initial    weights of {name}: all {count} arrays")
        if biased := self.bias(facts):
            console.say(f"           {biased}")


def read(
    given: str,
    partial: bool,
    shapes: dict[str, Any],
    config: ConfigDict,
    workdir: pathlib.Path,
) -> InitialWeights | None:
    """Returns the weights that a run is to begin with, None for random ones.

    Args:
      given: the setting train.init_from: "", or a network as `trained.locate` takes it.
      partial: the setting train.init_partial: take over the arrays that fit.
      shapes: the run's variables, with a `jax.ShapeDtypeStruct` for each array.
      config: of the run, to name the settings in which the two networks differ.
      workdir: the run's directory.

    Raises:
      InputError: if there is no such network, or it is that of the run's own directory; if its arrays
        and the run's are not the same and `partial` is False; or if no kernel fits.
    """
    if not given:
        return None
    # Its weights would be deleted before those of the run are saved.
    if pathlib.Path(given).expanduser().resolve() == workdir.resolve():
        raise InputError(
            f"config.train.init_from={given} is the directory of the run itself; choose another --workdir"
        )
    source = _read(given)
    there, here = network_file.flatten(source.variables), network_file.flatten(shapes)
    paths = sorted(there.keys() | here.keys())
    different = {path for path in paths if _shape(there, path) != _shape(here, path)}
    taken = {path: there[path] for path in paths if path not in different}
    left = [
        f"{path}: {_shape(there, path)} there, {_shape(here, path)} in this run"
        for path in sorted(different)
    ]
    fits = any(path.endswith("/kernel") for path in taken)
    if not fits or (left and not partial):
        count = len(taken) if fits else 0
        raise InputError(_refusal(given, source.config, config, left, count))
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
    recorded = environment.initial(environment.read(workdir)).get("weights_sha256")
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
