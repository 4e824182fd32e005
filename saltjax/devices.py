"""Devices: the cores of a CPU, GPUs or TPUs as one axis over which batches are sharded."""

import os

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# Batches of 8 tiles per device fit a core's caches; a batch of 32 on one device does not.
TILES_PER_CPU_DEVICE = 8


def configure_cpu(cpu_devices: int, batch_size: int) -> None:
    """Splits the CPU into virtual devices; call before the first use of JAX.

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


def data_mesh() -> Mesh:
    """Returns the one-dimensional mesh ("data",) over all devices."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicate(tree, mesh: Mesh):
    """Returns the pytree with a whole copy of each leaf on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(batch, mesh: Mesh):
    """Returns the pytree with the first axis of each leaf divided among the devices."""
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data")))


def padded_batch_size(batch_size: int, mesh: Mesh) -> int:
    """Returns the least multiple of the device count that holds batch_size examples."""
    return -(-batch_size // mesh.size) * mesh.size
