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

from saltjax.data import augment
from saltjax.data.feed import MAX_STEPS_PER_CALL, Feed, calls, resident_batch
from saltjax.networks.network import Network, unit_image
from saltjax.system import devices, hosts, seeds
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
      seed: int32[], of dropout and augmentation.
      augment: `augment.augment`'s kind, "none" for none; static.
      lovasz: weight of the Lovász hinge beside the cross-entropy; static.
      ema: decay of the averaged weights, 0 for none; static.
      schedule: the learning rate of each step, None if it is set from outside; static.
      unlabelled: whether labels may be UNLABELLED; static. If not, losses are summed as if there was
        no such label, so that they are the same to the last bit.
    """

    network: Network = flax.struct.field(pytree_node=False)
    tx: optax.GradientTransformation = flax.struct.field(pytree_node=False)
    seed: np.int32 | jax.Array
    augment: str = flax.struct.field(pytree_node=False, default="none")
    lovasz: float = flax.struct.field(pytree_node=False, default=0.0)
    ema: float = flax.struct.field(pytree_node=False, default=0.0)
    schedule: optax.Schedule | None = flax.struct.field(pytree_node=False, default=None)
    unlabelled: bool = flax.struct.field(pytree_node=False, default=False)


@flax.struct.dataclass
class TrainState:
    """The state that a training step updates.

    Attributes:
      step: int32[], steps done.
      params: the network's parameters.
      batch_stats: running means and variances, {} without batch norm.
      opt_state: the optimizer's state, which holds the learning rate.
      averages: averaged params and batch_stats, {} if `Recipe.ema` is 0.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    averages: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables to be validated and tested: params and batch_stats, averaged if they are."""
        if self.averages:
            return self.averages
        return self.trained

    @property
    def trained(self) -> dict[str, Any]:
        """The variables that the optimizer updates, and not their averages: params and batch_stats."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(recipe: Recipe, seed: int) -> TrainState:
    """Returns the state before the first step, with the initial weights for the seed."""
    variables = recipe.network.init(seed)
    step, opt_state = jnp.zeros((), jnp.int32), recipe.tx.init(variables["params"])
    averages = jax.tree.map(jnp.copy, variables) if recipe.ema else {}
    return TrainState(step, opt_state=opt_state, averages=averages, **variables)


def with_trained(state: TrainState, variables: dict[str, Any]) -> TrainState:
    """Returns the state before the first step with other params and batch_stats."""
    averages = jax.tree.map(jnp.copy, variables) if state.averages else {}
    return dataclasses.replace(state, averages=averages, **variables)


def with_learning_rate(state: TrainState, learning_rate: float) -> TrainState:
    """Returns the state with that learning rate in its optimizer."""
    opt_state = optimizer.with_learning_rate(state.opt_state, learning_rate)
    return dataclasses.replace(state, opt_state=opt_state)


@functools.partial(jax.jit, donate_argnames="state")
def train_step(
    state: TrainState, batch: dict[str, jax.Array], recipe: Recipe
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Returns the state after one step, and means of each tile before it, float32[B].

    These are the `losses.tile_means` and, if its weight is not 0, the `lovasz` hinge.

    Args:
      state: the state, donated.
      batch: image uint8[B, H, W, C], label uint8[B, H, W, 1], weight float32[B]: each tile's share
        in the loss, 0 for padding.
      recipe: network, optimizer, seed and what else the training is made of.
    """
    image, label = unit_image(batch["image"]), batch["label"]
    if recipe.augment != "none":
        key = seeds.augment_key(recipe.seed, state.step)
        image, label = augment.augment(image, label, key, recipe.augment)
    tile = image.shape[1:3]
    image, label = recipe.network.inputs(image, label)
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
        logits = recipe.network.without_padding(logits, tile)
        means = losses.tile_means(logits, label, recipe.unlabelled)
        loss = means["loss"]
        if recipe.lovasz:
            means["lovasz"] = losses.symmetric_lovasz_hinge(
                logits, label, recipe.unlabelled
            )
            loss = loss + recipe.lovasz * means["lovasz"]
        loss = jnp.sum(batch["weight"] * loss)
        return loss, (means, updated.get("batch_stats", {}))

    # Not value_and_grad: the loss would need a reduction over the devices before the backward pass.
    grads, (means, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
    opt_state = state.opt_state
    if recipe.schedule is not None:
        rate = jnp.asarray(recipe.schedule(state.step), jnp.float32)
        opt_state = opt_state._replace(hyperparams={"learning_rate": rate})
    updates, opt_state = recipe.tx.update(grads, opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    step, averages = state.step + 1, state.averages
    if recipe.ema:
        variables = {"params": params, "batch_stats": batch_stats}
        averages = averaged(averages, variables, step, recipe.ema)
    return TrainState(step, params, batch_stats, opt_state, averages), means


def averaged(averages: Any, variables: Any, step: jax.Array, decay: float) -> Any:
    """Returns the bias-corrected exponential moving average of variables after a step.

    The weight of the variables after step i of n is proportional to decay^(n - i); the weights' sum
    is 1 from the first step on, so that the initial variables have none.

    Args:
      averages: those after the step before.
      variables: those after this step.
      step: int32[], steps done, this one included.
      decay: in (0, 1).
    """
    # (1 - decay) / (1 - decay^step), without cancellation for a decay near 1.
    share = np.float32(1 - decay) / -jnp.expm1(step * np.float32(np.log(decay)))
    return optax.incremental_update(variables, averages, share)


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
    """Returns the state after the steps of a call of `feed.calls`, and the means of their tiles.

    These, see `train_step`, are float32[K, B] if the tiles are resident; otherwise float32[B], of the one step.
    """
    weight = (valid / valid.sum(axis=1, keepdims=True)).astype(np.float32)
    if feed.resident:
        weight = devices.shard(weight, feed.mesh, axis=1)
        state, means = train_steps(state, feed.resident, batch["rows"], weight, recipe)
    else:
        batch = batch | devices.shard({"weight": weight[0]}, feed.mesh)
        state, means = train_step(state, batch, recipe)
    return state, devices.gather(means, feed.mesh)


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
    count = min(hosts.exchange(count))
    return dataclasses.replace(feed, steps_per_call=count)
