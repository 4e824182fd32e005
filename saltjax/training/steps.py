"""The pure functions that run on the devices: a training step and an evaluation step."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from saltjax.networks import resize
from saltjax.training import losses

MAX_UINT16 = 65535


@dataclasses.dataclass(frozen=True)
class Network:
    """A model and the resolution it works at; hashable, so jitted steps take it as static.

    Attributes:
      model: the linen module.
      image_size: side of the square that it sees, in pixels.
      resize: how tiles are brought to that size, "nearest", "bilinear" or "pad".
    """

    model: nn.Module
    image_size: int
    resize: str

    def inputs(self, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Returns image float32[B, S, S, 3] and label float32[B, S, S, 1] of a batch of tiles."""
        tile = batch["image"].shape[1:3]
        image = batch["image"].astype(jnp.float32) / 255
        return (
            resize.image_to_network(image, tile, self.image_size, self.resize),
            resize.label_to_network(batch["label"], tile, self.image_size, self.resize),
        )


@flax.struct.dataclass
class TrainState:
    """What a training step changes.

    Attributes:
      step: int32[], steps done.
      params: the network's parameters.
      batch_stats: running means and variances, {} without batch norm.
      opt_state: the optimizer's state.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What the network is applied with."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(
    network: Network, tx: optax.GradientTransformation, seed: int
) -> TrainState:
    """Returns the state before the first step; the weights follow from the seed."""
    image = jnp.zeros((1, network.image_size, network.image_size, 3), jnp.float32)
    variables = jax.jit(network.model.init)(jax.random.key(seed), image)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params))


@functools.partial(jax.jit, static_argnames=("network", "tx"), donate_argnums=0)
def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    learning_rate: jax.Array,
    seed: jax.Array,
    *,
    network: Network,
    tx: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Returns the state after one step and the `losses.tile_means` before it.

    Args:
      state: the state, donated.
      batch: image uint8[B, H, W, 3], label uint8[B, H, W, 1], weight float32[B]: each tile's share
        in the loss, 0 where it only fills up the batch.
      learning_rate: float32[].
      seed: int32[], of dropout.
      network: the model and its resolution.
      tx: the optimizer, for a learning rate of 1.
    """
    image, label = network.inputs(batch)
    rng = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss_fn(params):
        logits, updated = network.model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            image,
            train=True,
            valid=batch["weight"] > 0,
            rngs={"dropout": rng},
            mutable=["batch_stats"],
        )
        means = losses.tile_means(logits, label)
        loss = jnp.sum(batch["weight"] * means["loss"])
        return loss, (means, updated.get("batch_stats", {}))

    # The value of the loss is not used: devices would have to meet for it before they go back.
    grads, (means, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: learning_rate * u, updates)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, batch_stats, opt_state), means


@functools.partial(jax.jit, static_argnames=("network", "tx"), donate_argnums=0)
def train_steps(
    state: TrainState,
    tiles: dict[str, jax.Array],
    rows: jax.Array,
    weight: jax.Array,
    learning_rate: jax.Array,
    seed: jax.Array,
    *,
    network: Network,
    tx: optax.GradientTransformation,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Returns the state after K steps of `train_step` and the means of each, float32[K, B].

    Args:
      state: the state, donated.
      tiles: image uint8[N, H, W, 3], label uint8[N, H, W, 1].
      rows: int32[K, B], the tiles of each step's batch.
      weight: float32[K, B].
      learning_rate, seed, network, tx: as in `train_step`.
    """

    def body(state, step):
        rows, weight = step
        batch = _gather(tiles, rows) | {"weight": weight}
        return train_step(state, batch, learning_rate, seed, network=network, tx=tx)

    return jax.lax.scan(body, state, (rows, weight))


def _gather(tiles, rows):
    return {name: x[rows] for name, x in tiles.items()}


@functools.partial(jax.jit, static_argnames="network")
def score_step(
    variables: dict[str, Any], batch: dict[str, jax.Array], *, network: Network
) -> dict[str, jax.Array]:
    """Returns the `losses.tile_means` of a batch; arguments as in `eval_step`."""
    image, label = network.inputs(batch)
    return losses.tile_means(network.model.apply(variables, image), label)


@functools.partial(jax.jit, static_argnames="network")
def score_steps(
    variables: dict[str, Any],
    tiles: dict[str, jax.Array],
    rows: jax.Array,
    *,
    network: Network,
) -> dict[str, jax.Array]:
    """Returns the means of K batches, float32[K, B]; arguments as in `train_steps`."""
    return jax.lax.map(
        lambda rows: score_step(variables, _gather(tiles, rows), network=network), rows
    )


@functools.partial(jax.jit, static_argnames=("network", "tta"))
def eval_step(
    variables: dict[str, Any],
    batch: dict[str, jax.Array],
    *,
    network: Network,
    tta: bool,
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Returns the `losses.tile_means` of a batch, and what it is scored by.

    Args:
      variables: params and batch_stats.
      batch: image uint8[B, H, W, 3], label uint8[B, H, W, 1].
      network: the model and its resolution.
      tta: average the probabilities of each image and of its mirror image, left to right.

    Returns:
      The means; and `prob` float32[B, S, S], `label` uint8[B, S, S] at the network's resolution,
      `prob_native` uint16[B, H, W], 65535 times the probability, at the tiles' own.
    """
    image, label = network.inputs(batch)
    logits = _logits(variables, image, network.model, tta)
    prob = jax.nn.sigmoid(logits)
    tile = batch["image"].shape[1:3]
    native = resize.probability_to_native(
        prob, tile, tile, network.image_size, network.resize
    )
    # The depth at which probabilities are written: a mask is what the written ones give.
    native = jnp.rint(jnp.clip(native, 0, 1) * MAX_UINT16).astype(jnp.uint16)
    outputs = {"prob": prob, "label": label.astype(jnp.uint8), "prob_native": native}
    means = losses.tile_means(logits, label)
    return means, {name: x[..., 0] for name, x in outputs.items()}


@functools.partial(jax.jit, static_argnames=("model", "tta"))
def predict_step(
    variables: dict[str, Any], image: jax.Array, *, model: nn.Module, tta: bool
) -> jax.Array:
    """Returns probabilities of salt float32[B, H, W] for windows at the network's scale.

    Args:
      variables: params and batch_stats.
      image: float32[B, H, W, 1 or 3] in [0, 1]; one channel stands for three equal ones.
      model: the network.
      tta: as in `eval_step`.
    """
    image = jnp.broadcast_to(image, (*image.shape[:3], 3))
    return jax.nn.sigmoid(_logits(variables, image, model, tta))[..., 0]


def _logits(variables, image, model, tta):
    logits = model.apply(variables, image)
    if tta:
        mirrored = model.apply(variables, image[:, :, ::-1])[:, :, ::-1]
        logits = average_logits(logits, mirrored)
    return logits


def average_logits(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the logits of the mean of the probabilities of logits a and b."""
    # From logarithms of both probabilities: 1 - p would lose what is near 1.
    salt = jnp.logaddexp(jax.nn.log_sigmoid(a), jax.nn.log_sigmoid(b))
    none = jnp.logaddexp(jax.nn.log_sigmoid(-a), jax.nn.log_sigmoid(-b))
    return salt - none
