"""A finished run, read back to be applied."""

import dataclasses
import functools
import os
import pathlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from saltjax import journal, masks, models, optimizer, run, settings, steps
from saltjax.errors import InputError


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
    """

    workdir: pathlib.Path
    config: ConfigDict
    result: dict[str, Any]
    network: steps.Network
    variables: dict[str, Any]
    rule: masks.Rule


def load(workdir: str | os.PathLike) -> TrainedRun:
    """Returns the best network of a finished run.

    Raises:
      InputError: if the folder holds no finished run, or a damaged one.
    """
    workdir = pathlib.Path(workdir)
    config = read_config(workdir)
    if not (workdir / "result.json").exists():
        raise InputError(f"{workdir} holds no finished run: train it to its end first")
    result = run.read_json(workdir / "result.json")
    try:
        rule = masks.Rule(float(result["threshold"]["value"]), int(result["min_area"]))
    except (KeyError, TypeError, ValueError) as error:
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
    return TrainedRun(workdir, config, result, network, variables, rule)


def create_network(config: ConfigDict) -> steps.Network:
    """Returns the network that a config describes."""
    model = models.create_model(**config.model, dtype=config.train.dtype)
    return steps.Network(model, config.data.image_size, config.data.resize)


def read_config(workdir: pathlib.Path) -> ConfigDict:
    """Returns the checked config of a run; raises InputError if it has none that can be used."""
    path = workdir / "config.json"
    tree = run.read_json(path)
    try:
        config = ConfigDict(_with_tuples(tree))
        settings.check(config)
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged, or of another version: {error}") from None
    return config


def _with_tuples(tree: Any) -> Any:
    """Returns what JSON gave with tuples for its lists, as settings have them."""
    if isinstance(tree, dict):
        return {key: _with_tuples(value) for key, value in tree.items()}
    return tuple(tree) if isinstance(tree, list) else tree
