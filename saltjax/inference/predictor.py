"""A finished run, read back to be applied."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from saltjax.inference import volumes
from saltjax.inference import windows as sections
from saltjax.networks import unet as models
from saltjax.runs import settings
from saltjax.scoring import postprocess as masks
from saltjax.seismic import npy as arrays
from saltjax.system import files
from saltjax.system.errors import InputError
from saltjax.training import optimizer, steps
from saltjax.training import progress as journal


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """The best network of a finished run.

    Attributes:
      workdir: the run's folder.
      config: every setting of the run.
      result: what result.json holds.
      network: the model and its resolution.
      variables: its weights, as numpy arrays.
      rule: what it marks as salt, chosen on the run's validation tiles.
      tile: height and width in pixels of the tiles that it was trained on.
    """

    workdir: pathlib.Path
    config: ConfigDict
    result: dict[str, Any]
    network: steps.Network
    variables: dict[str, Any]
    rule: masks.Rule
    tile: tuple[int, int]

    @property
    def threshold(self) -> float:
        """The probability from which on a pixel is salt."""
        return self.rule.threshold

    def predictor(self, tta: bool | None = None) -> sections.Predictor:
        """Returns what looks at sections; `tta` None is as the run's config says."""
        pixels = self.config.train.batch_size * self.network.image_size**2
        tta = self.config.eval.tta if tta is None else tta
        return sections.Predictor(self.network, self.variables, self.tile, pixels, tta)

    def predict(self, array: np.ndarray) -> np.ndarray:
        """Returns the probabilities of salt, float32 of the array's shape, in [0, 1].

        Args:
          array: a section [samples, traces] or a volume [inline, crossline, sample] of amplitudes,
            brought to the network's range as `config.predict.normalize` says; an array of uint8 is
            an image, from 0 to 255. Traces that are all zero are dead: their probability is 0.

        Raises:
          InputError: a ValueError, if the array is not such, or not finite.
        """
        array = np.asarray(array)
        prob = np.zeros(array.shape, np.float32)
        volumes.mark(
            arrays.ArrayTraces(lambda: array, "the array"),
            arrays.ArrayTraces(lambda: prob, "the probabilities"),
            [self.predictor()],
            self.config.predict.normalize,
            self.config.predict.direction,
        )
        return prob


def common_rule(
    runs: Sequence[TrainedRun], threshold: float | None = None
) -> masks.Rule:
    """Returns the rule for the mean of the runs: the means of their thresholds and least areas."""
    if threshold is None:
        threshold = float(np.mean([found.rule.threshold for found in runs]))
    return masks.Rule(threshold, round(np.mean([r.rule.min_area for r in runs])))


def load(workdir: str | os.PathLike) -> TrainedRun:
    """Returns the best network of a finished run.

    Raises:
      InputError: if the folder holds no finished run, or a damaged one.
    """
    workdir = pathlib.Path(workdir)
    config = read_config(workdir)
    if not (workdir / "result.json").exists():
        raise InputError(f"{workdir} holds no finished run: train it to its end first")
    result = files.read_json(workdir / "result.json")
    try:
        chosen, area = result["threshold"], result["min_area"]
        rule = masks.Rule(float(chosen["value"]), int(area))
        if not (0 <= rule.threshold <= 1 and rule.min_area == area >= 0):
            raise ValueError(f"threshold {rule.threshold}, min_area {area}")
        if chosen["metric"] not in settings.CHOICES["eval.threshold_metric"]:
            raise ValueError(f"metric {chosen['metric']}")
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(
            f"{workdir / 'result.json'}: damaged ({error!r}); delete it, and the command that "
            "trained the run tests it again"
        ) from None
    network = create_network(config)
    create = functools.partial(
        steps.create_state, network, optimizer.adamw(config.optim.weight_decay), 0
    )
    shapes = jax.eval_shape(create).variables
    like = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    variables, best = journal.restore_best(workdir, like)
    if best["epoch"] != result.get("best_epoch"):
        raise InputError(
            f"{workdir}: result.json is of epoch {result.get('best_epoch')}, and the best checkpoint "
            f"that is left of epoch {best['epoch']}; delete result.json, and the command that "
            "trained the run tests what is left"
        )
    facts = files.read_json(workdir / "data.json")
    try:
        tile = int(facts["height"]), int(facts["width"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{workdir / 'data.json'}: damaged ({error!r})") from None
    return TrainedRun(workdir, config, result, network, variables, rule, tile)


def create_network(config: ConfigDict) -> steps.Network:
    """Returns the network that a config describes."""
    model = models.create_model(**config.model, dtype=config.train.dtype)
    return steps.Network(model, config.data.image_size, config.data.resize)


def read_config(workdir: pathlib.Path) -> ConfigDict:
    """Returns the checked config of a run; raises InputError if it has none that can be used."""
    path = workdir / "config.json"
    tree = files.read_json(path)
    try:
        config = ConfigDict(_with_tuples(tree))
        settings.check(config)
        create_network(config)
    except KeyError as error:
        raise InputError(
            f"{path} is damaged, or of another version: it lacks {error}"
        ) from None
    except (InputError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged, or of another version: {error}") from None
    return config


def _with_tuples(tree: Any) -> Any:
    """Returns what JSON gave with tuples for its lists, as settings have them."""
    if isinstance(tree, dict):
        return {key: _with_tuples(value) for key, value in tree.items()}
    return tuple(tree) if isinstance(tree, list) else tree
