"""The training step: a pure function of state and batch, jitted once."""

import dataclasses
import functools
import time
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from saltjax.data.feed import MAX_STEPS_PER_CALL, Feed, calls, resident_batch
from saltjax.networks.network import Network
from saltjax.system import devices, seeds
from saltjax.training import losses, optimizer

# After a signal a run is saved once the calls that have begun, one or two, are done.
SECONDS_PER_CALL = 1.0
TIMED_STEPS = 8


@flax.struct.dataclass
class Recipe:
    """The arguments of a training step besides state and batch.

    Attributes:
      network: the model and its resolution; static.
      tx: the optimizer; static.
      seed: int32[], of dropout.
    """

    network: Network = flax.struct.field(pytree_node=False)
    tx: optax.GradientTransformation = flax.struct.field(pytree_node=False)
    seed: np.int32 | jax.Array


@flax.struct.dataclass
class TrainState:
    """The state that a training step updates.

    Attributes:
      step: int32[], steps done.
      params: the network's parameters.
      batch_stats: running means and variances, {} without batch norm.
      opt_state: the optimizer's state, which holds the learning rate.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The network's variables: params and batch_stats."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(recipe: Recipe, seed: int) -> TrainState:
    """Returns the state before the first step, with the initial weights for the seed."""
    variables = recipe.network.init(seed)
    step, opt_state = jnp.zeros((), jnp.int32), recipe.tx.init(variables["params"])
    return TrainState(step, opt_state=opt_state, **variables)


def with_learning_rate(state: TrainState, learning_rate: float) -> TrainState:
    """Returns the state with that learning rate in its optimizer."""
    opt_state = optimizer.with_learning_rate(state.opt_state, learning_rate)
    return dataclasses.replace(state, opt_state=opt_state)


@functools.partial(jax.jit, donate_argnames="state")
def train_step(
    state: TrainState, batch: dict[str, jax.Array], recipe: Recipe
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Returns the state after one step, and the `losses.tile_means` float32[B] before it.

    Args:
      state: the state, donated.
      batch: image uint8[B, H, W, 3], label uint8[B, H, W, 1], weight float32[B]: each tile's share
        in the loss, 0 for padding.
      recipe: network, optimizer and seed.
    """
    image, label = recipe.network.inputs(batch)
    rng = seeds.dropout_key(recipe.seed, state.step)

    def loss_fn(params):
        logits, updated = recipe.network.model.apply(
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

    # Not value_and_grad: the loss would need a reduction over the devices before the backward pass.
    grads, (means, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = recipe.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, batch_stats, opt_state), means


@functools.partial(jax.jit, donate_argnames="state")
def train_steps(
    state: TrainState,
    tiles: dict[str, jax.Array],
    rows: jax.Array,
    weight: jax.Array,
    recipe: Recipe,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Returns the state after K steps of `train_step` and the means of each, float32[K, B].

    Args:
      state: the state, donated.
      tiles: `Feed.resident`.
      rows: int32[K, B], the tiles of each step's batch.
      weight: float32[K, B].
      recipe: as in `train_step`.
    """

    def body(state, step):
        rows, weight = step
        batch = resident_batch(tiles, rows) | {"weight": weight}
        return train_step(state, batch, recipe)

    return jax.lax.scan(body, state, (rows, weight))


def train_call(
    feed: Feed,
    state: TrainState,
    batch: dict[str, jax.Array],
    valid: np.ndarray,
    recipe: Recipe,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Returns the state after the steps of a call of `feed.calls`, and their `losses.tile_means`.

    These are float32[K, B] if the tiles are resident; otherwise float32[B], of the one step.
    """
    weight = (valid / valid.sum(axis=1, keepdims=True)).astype(np.float32)
    if feed.resident:
        weight = devices.shard(weight, feed.mesh, axis=1)
        return train_steps(state, feed.resident, batch["rows"], weight, recipe)
    batch = batch | devices.shard({"weight": weight[0]}, feed.mesh)
    return train_step(state, batch, recipe)


def timed_feed(feed: Feed, state: TrainState, recipe: Recipe) -> Feed:
    """Returns the feed with as many steps in a call as take about SECONDS_PER_CALL.

    The result of training does not depend on that number. Where tiles are not resident it is 1.
    """
    if not feed.resident:
        return feed
    short = dataclasses.replace(feed, steps_per_call=TIMED_STEPS)
    order = np.arange(TIMED_STEPS * feed.batch_size) % len(feed.tiles)
    ((batch, valid),) = calls(short, order)
    for _ in range(2):  # the first call compiles
        copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))  # which is donated
        start = time.perf_counter()
        jax.block_until_ready(train_call(short, copy, batch, valid, recipe))
        seconds = (time.perf_counter() - start) / TIMED_STEPS
    count = int(np.clip(SECONDS_PER_CALL / seconds, 1, MAX_STEPS_PER_CALL))
    count = devices.same_on_all_hosts(count)
    return dataclasses.replace(feed, steps_per_call=count)
