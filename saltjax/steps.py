"""The pure functions that run on the devices: a training step and an evaluation step."""

import functools
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from saltjax import losses, resize


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


def create_state(
    model: nn.Module, tx: optax.GradientTransformation, image_size: int, seed: int
) -> TrainState:
    """Returns the state before the first step; the weights follow from the seed."""
    image = jnp.zeros((1, image_size, image_size, 3), jnp.float32)
    variables = jax.jit(model.init)(jax.random.key(seed), image)
    params = variables["params"]
    batch_stats = variables.get("batch_stats", {})
    return TrainState(jnp.zeros((), jnp.int32), params, batch_stats, tx.init(params))


@functools.partial(
    jax.jit, static_argnames=("model", "tx", "image_size", "method"), donate_argnums=0
)
def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    learning_rate: jax.Array,
    seed: jax.Array,
    *,
    model: nn.Module,
    tx: optax.GradientTransformation,
    image_size: int,
    method: str,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Returns the state after one step and `losses.pixel_sums` of the batch before it.

    Args:
      state: the state, donated.
      batch: image uint8[B, H, W, 3], label uint8[B, H, W, 1], valid bool[B].
      learning_rate: float32[].
      seed: int32[], of dropout.
      model: the network.
      tx: the optimizer, for a learning rate of 1.
      image_size: side of the square that the network sees.
      method: how tiles are resized to it.
    """
    image = resize.image_to_network(batch["image"], image_size, method)
    label = resize.label_to_network(batch["label"], image_size, method)
    rng = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss_fn(params):
        logits, updated = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            image,
            train=True,
            valid=batch["valid"],
            rngs={"dropout": rng},
            mutable=["batch_stats"],
        )
        sums = losses.pixel_sums(logits, label, batch["valid"])
        return sums["loss"] / sums["count"], (sums, updated.get("batch_stats", {}))

    (_, (sums, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        state.params
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    updates = jax.tree.map(lambda u: learning_rate * u, updates)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, batch_stats, opt_state), sums


@functools.partial(jax.jit, static_argnames=("model", "image_size", "method"))
def eval_step(
    variables: dict[str, Any],
    batch: dict[str, jax.Array],
    *,
    model: nn.Module,
    image_size: int,
    method: str,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """Returns `losses.pixel_sums` of the batch and probabilities float32[B, S, S, 1]."""
    image = resize.image_to_network(batch["image"], image_size, method)
    label = resize.label_to_network(batch["label"], image_size, method)
    logits = model.apply(variables, image)
    return losses.pixel_sums(logits, label, batch["valid"]), jax.nn.sigmoid(logits)
