"""Devices: the cores of a CPU, GPUs or TPUs as one axis over which batches are sharded."""

import ctypes
import os
import pathlib
import tempfile

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from saltjax.system.errors import InputError

# Batches of 8 tiles per device fit a core's caches; a batch of 32 on one device does not.
TILES_PER_CPU_DEVICE = 8
# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def configure(train: ConfigDict) -> None:
    """Sets JAX up as config.train says; call before the first use of JAX."""
    if train.compile_cache:
        cache = pathlib.Path(train.compile_cache).expanduser().absolute()
        try:
            cache.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=cache).close()
        except OSError as error:
            raise InputError(
                f"config.train.compile_cache={cache}: cannot write there ({error.strerror}); expected "
                "a folder"
            ) from None
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    split_cpu(train.cpu_devices, train.batch_size)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"JAX finds no device with JAX_PLATFORMS={platforms!r} ({error or 'none there'}); set it "
            "to what this machine has, such as cpu, or leave it away"
        ) from None


def split_cpu(cpu_devices: int, batch_size: int) -> None:
    """Splits the CPU into virtual devices.

    Args:
      cpu_devices: how many; 0 chooses by cores and batch size.
      batch_size: tiles per training step.
    """
    if cpu_devices == 0:
        cores = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count()
        )
        cpu_devices = max(1, min(2 * cores, batch_size // TILES_PER_CPU_DEVICE))
    jax.config.update("jax_num_cpu_devices", cpu_devices)


def keep_freed_memory() -> None:
    """Tells the C library to keep memory that is freed; call before the first use of JAX.

    For training: XLA allocates hundreds of megabytes anew for each step. With glibc's defaults they
    come from the kernel each time, page by page: a sixth of a step's CPU time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # another C library
    for option, value in (
        (M_ARENA_MAX, 1),
        (M_MMAP_MAX, 0),
        (M_TRIM_THRESHOLD, 2**31 - 1),
        (M_TOP_PAD, 2**28),
    ):
        mallopt(option, value)


def data_mesh(count: int | None = None) -> Mesh:
    """Returns the one-dimensional mesh ("data",) over all devices, or the first `count`."""
    chosen = jax.devices()[:count]
    return jax.make_mesh(
        (len(chosen),), ("data",), axis_types=(AxisType.Auto,), devices=chosen
    )


def is_cpu(mesh: Mesh) -> bool:
    """Returns whether the mesh consists of CPU devices."""
    return mesh.devices.flat[0].platform == "cpu"


def replicate(tree, mesh: Mesh):
    """Returns the pytree with a whole copy of each leaf on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(batch, mesh: Mesh, axis: int = 0):
    """Returns the pytree with that axis of each leaf divided among the devices."""
    spec = PartitionSpec(*axis * [None], "data")
    return jax.device_put(batch, NamedSharding(mesh, spec))


def fetch(tree):
    """Returns the pytree as numpy arrays, also where other hosts hold parts of it."""
    if jax.process_count() > 1:
        return multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_get(tree)


def padded_batch_size(batch_size: int, mesh: Mesh) -> int:
    """Returns the least multiple of the device count that holds batch_size examples."""
    return -(-batch_size // mesh.size) * mesh.size
