"""Speed of training and evaluation of a config on this machine.

python -m saltjax.benchmark --config=configs/unet.py

The last line printed is a JSON object. It times the functions that training calls, on random tiles
of the challenge's size, and takes medians after a warm-up.
"""

if __name__ == "__main__":
    from saltjax.system import signals

    signals.end_at_once()  # before the imports below, which take a second

import json
import resource
import statistics
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jax.sharding import Mesh
from ml_collections import ConfigDict

from saltjax import commandline, next_command
from saltjax.data import feed as feeds
from saltjax.data.feed import Feed
from saltjax.data.tiles import Tiles
from saltjax.networks import network as networks
from saltjax.runs import settings
from saltjax.scoring.steps import score_call
from saltjax.system import console, devices
from saltjax.training import optimizer, steps
from saltjax.training.steps import Recipe, TrainState

TILE_SIZE = 101  # pixels, the challenge's
WARM_UP_CALLS = 2
RESIDENT_CALLS = 5
PRODUCT_SIZE = 2048  # rows and columns of the matrices whose product shows the peak


def benchmark(config: ConfigDict, timed_steps: int) -> dict:
    """Returns the measurements that the module prints.

    Args:
      config: the complete config; of "data." only the network's resolution and channels are used.
      timed_steps: number of steps that are timed, one by one on a CPU; on an accelerator the number
        of steps in each timed call.

    Raises:
      InputError: if a setting is not valid.
    """
    settings.check(config)
    train = config.train
    devices.configure(train.cpu_devices, train.batch_size, train.compile_cache)
    feed, state, recipe = create(config, timed_steps)
    mesh, batch_size = feed.mesh, train.batch_size
    parameters = networks.count_parameters(state.params)
    flops = train_flops(feed, state, recipe)
    order = np.arange(len(feed.tiles))

    def train_step(rows, valid):
        nonlocal state
        batch = feeds.call_batch(feed, rows)
        state, means = steps.train_call(feed, state, batch, valid, recipe)
        return means

    def eval_step(rows, valid):
        batch = feeds.call_batch(feed, rows)
        return score_call(feed, state.variables, batch, recipe.network, count=False)

    compile_seconds, train_seconds = time_calls(feed, order, train_step)
    _, eval_seconds = time_calls(feed, order, eval_step)
    rate = batch_size / train_seconds
    gflops = flops / train_seconds / 1e9
    return {
        "model": config.model.name,
        "device": f"{mesh.size} x {mesh.devices.flat[0].device_kind}",
        "batch": batch_size,
        "dtype": config.train.dtype,
        "parameters": parameters,
        "train_images_per_s": round(rate, 2),
        "eval_images_per_s": round(batch_size / eval_seconds, 2),
        "compile_seconds": round(compile_seconds, 2),
        "train_gflops_per_s": round(gflops, 1),
        "fraction_of_peak": round(gflops / peak_gflops(mesh, config.train.dtype), 3),
        "peak_memory_mb": round(peak_memory_mb(mesh)),
    }


def create(config: ConfigDict, timed_steps: int) -> tuple[Feed, TrainState, Recipe]:
    """Returns what a training step takes, on random tiles; arguments as in `benchmark`."""
    mesh = devices.data_mesh()
    network = networks.create_network(config)
    recipe = Recipe(
        network,
        optimizer.adam(config.optim.weight_decay, config.optim.decoupled),
        np.int32(0),
        augment=config.data.augment,
        lovasz=config.loss.lovasz,
        ema=config.train.ema,
    )
    batch_size = config.train.batch_size
    feed = feeds.create(
        random_tiles(batch_size * timed_steps, network.channels),
        mesh,
        batch_size,
        resident=not devices.is_cpu(mesh),
    )
    state = devices.replicate(steps.create_state(recipe, config.seed), mesh)
    return feed, steps.with_learning_rate(state, 1e-3), recipe


def random_tiles(count: int, channels: int) -> Tiles:
    """Returns tiles of random brightness, half of their pixels salt."""
    rng = np.random.default_rng(0)
    shape = (count, TILE_SIZE, TILE_SIZE)
    images = rng.integers(0, 256, (*shape, channels), dtype=np.uint8)
    labels = rng.integers(0, 2, (*shape, 1), dtype=np.uint8)
    ids = tuple(str(i) for i in range(count))
    return Tiles(ids, images, labels, "synthetic")


def time_calls(feed: Feed, order: np.ndarray, call) -> tuple[float, float]:
    """Returns seconds: of the first call, compilation included, and the median of a step."""
    calls = list(feeds.call_rows(feed, order))
    if feed.resident:
        calls *= RESIDENT_CALLS
    calls = calls[:1] * WARM_UP_CALLS + calls
    seconds = []
    for rows, valid in calls:
        start = time.perf_counter()
        jax.block_until_ready(call(rows, valid))
        seconds.append((time.perf_counter() - start, len(rows)))
    per_step = [s / k for s, k in seconds[WARM_UP_CALLS:]]
    return seconds[0][0], statistics.median(per_step)


def train_flops(feed: Feed, state: TrainState, recipe: Recipe) -> float:
    """Returns the floating-point operations of a training step, as XLA counts them."""
    rows, valid = next(feeds.call_rows(feed, np.arange(feed.batch_size)))
    batch = feeds.host_batch(feed, rows[0]) | {"weight": np.float32(valid[0])}
    costs: Any = steps.train_step.lower(state, batch, recipe).cost_analysis()
    return costs["flops"]


def peak_gflops(mesh: Mesh, dtype: str) -> float:
    """Returns the GFLOP/s of a large matrix product, its rows sharded over the devices."""
    ones = jnp.ones((PRODUCT_SIZE, PRODUCT_SIZE), dtype)
    a, b = devices.shard(ones, mesh), devices.replicate(ones, mesh)
    product = jax.jit(jnp.matmul)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(product(a, b))
        seconds.append(time.perf_counter() - start)
    return 2 * PRODUCT_SIZE**3 / min(seconds) / 1e9


def peak_memory_mb(mesh: Mesh) -> float:
    """Returns the peak memory in megabytes: of the process on a CPU, else of the first device."""
    if devices.is_cpu(mesh):
        # Kibibytes on Linux, bytes on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return mesh.devices.flat[0].memory_stats()["peak_bytes_in_use"] / 1e6


def define_flags() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_integer(
        "steps", 20, "Steps that are timed.", lower_bound=1, upper_bound=1000
    )
    flags.DEFINE_integer(
        "batch", 0, "Tiles in a batch; 0: train.batch_size.", lower_bound=0
    )


def main() -> None:
    """Prints the measurements for the config as JSON."""
    devices.keep_freed_memory()
    devices.request_determinism()
    config = commandline.required_config()
    config.train.batch_size = flags.FLAGS.batch or config.train.batch_size
    console.say(json.dumps(benchmark(config, flags.FLAGS.steps)))
    # The last line of standard output is the JSON.
    print(
        f"Next       {next_command.training(sys.argv[1:], ['steps', 'batch'])}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    commandline.start(
        define_flags, main, lambda: f"{__doc__}{flags.FLAGS.main_module_help()}"
    )
