"""Devices: CPU cores, GPUs or TPUs as one mesh axis over which batches are sharded."""

import contextlib
import ctypes
import functools
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from saltjax.system import console, hosts
from saltjax.system.errors import InputError

# Batches of 8 tiles per device fit a core's caches; a batch of 32 on one device does not.
TILES_PER_CPU_DEVICE = 8
# From glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def configure(cpu_devices: int, batch_size: int, compile_cache: str) -> None:
    """Configures JAX; call before its first use, after which it keeps the devices that it has.

    Args:
      cpu_devices: virtual devices that the CPU is split into; 0 chooses by cores and batch size.
      batch_size: tiles per step.
      compile_cache: directory that keeps compiled programs between runs; "" for none.

    Raises:
      InputError: if the cache cannot be written, or there is no device.
    """
    if compile_cache:
        cache = pathlib.Path(compile_cache).absolute()
        try:
            cache.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=cache).close()
        except OSError as error:
            raise InputError(
                f"config.train.compile_cache={cache}: cannot write there ({error.strerror}); "
                "expected a writable directory"
            ) from None
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    split_cpu(cpu_devices, batch_size)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = os.environ.get("JAX_PLATFORMS", "")
        raise InputError(
            f"JAX finds no device with JAX_PLATFORMS={platforms!r} ({error or 'none there'}); set "
            "it to a platform that this machine has, such as cpu, or unset it"
        ) from None


def split_cpu(cpu_devices: int, batch_size: int) -> None:
    """Splits the CPU into virtual devices, as many on each host; arguments as in `configure`."""
    if cpu_devices == 0:
        batch_size //= hosts.count()
        cores = os.cpu_count() or 1
        if hasattr(os, "sched_getaffinity"):
            cores = len(os.sched_getaffinity(0))
        cpu_devices = max(1, min(2 * cores, batch_size // TILES_PER_CPU_DEVICE))
        cpu_devices = min(hosts.exchange(cpu_devices))
    try:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    except RuntimeError:
        if jax.default_backend() == "cpu":
            console.say(
                f"JAX is in use already: its {jax.device_count()} CPU devices are taken, not "
                f"{cpu_devices}"
            )


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory in the process; call before the first use of JAX.

    For training: XLA allocates hundreds of megabytes for each step. With glibc's defaults they are
    returned to the kernel and mapped again page by page, a sixth of the CPU time of a step.
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


def request_determinism() -> None:
    """Makes XLA take deterministic kernels on GPUs; call before the first use of JAX.

    For training: the flag replaces kernels whose results depend on the order of atomic additions,
    and the choice of the fastest kernel by measurement. It is appended to the XLA_FLAGS of the
    process, unless they contain it already or name a file of flags. On a CPU it has no effect.
    """
    flags, name = os.environ.get("XLA_FLAGS", "").strip(), "--xla_gpu_deterministic_ops"
    if name not in flags and (not flags or flags.startswith("-")):
        os.environ["XLA_FLAGS"] = f"{flags} {name}=true".strip()


@contextlib.contextmanager
def on_the_cpu() -> Iterator[None]:
    """Computes on a CPU device within a `with` statement; JAX opens no others then."""
    jax.config.update("jax_platforms", "cpu")  # no effect where JAX is in use already
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        yield


def data_mesh() -> Mesh:
    """Returns the one-dimensional mesh ("data",) over all devices, those of other hosts too."""
    return _mesh(jax.devices())


def local_mesh(count: int) -> Mesh:
    """Returns the one-dimensional mesh ("data",) over the first `count` devices of this host."""
    return _mesh(jax.local_devices()[:count])


def _mesh(devices: list[jax.Device]) -> Mesh:
    return jax.make_mesh(
        (len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices
    )


def is_cpu(mesh: Mesh) -> bool:
    """Returns whether the mesh consists of CPU devices."""
    return mesh.devices.flat[0].platform == "cpu"


def free_memory(mesh: Mesh) -> int | None:
    """Returns the free memory in bytes of the fullest device, None where that is unknown."""
    stats = [device.memory_stats() for device in mesh.local_devices]
    if not all(s and {"bytes_limit", "bytes_in_use"} <= s.keys() for s in stats):
        return None
    return min(s["bytes_limit"] - s["bytes_in_use"] for s in stats)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Returns the pytree with a copy of each leaf on every device; all hosts have the same leaves."""
    return put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(batch: Any, mesh: Mesh, axis: int = 0) -> Any:
    """Returns the pytree with that axis of each leaf sharded over the devices; as `replicate`."""
    return put(batch, NamedSharding(mesh, PartitionSpec(*axis * [None], "data")))


def put(tree: Any, sharding: Sharding) -> Any:
    """Returns the pytree on the devices of a sharding; all hosts have the same leaves."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def parts(leaf):  # `device_put` would compare the leaves of all hosts
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)

    return jax.tree.map(parts, tree)


def own_rows(mesh: Mesh, count: int) -> np.ndarray:
    """Returns bool[count]: which rows of a batch, sharded over the mesh, are on this host's devices."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    if sharding.is_fully_addressable:
        return np.ones(count, bool)
    own = np.zeros(count, bool)
    for part in sharding.addressable_devices_indices_map((count,)).values():
        assert part is not None
        own[part] = True
    return own


def shard_own(batch: Any, mesh: Mesh, count: int) -> Any:
    """Returns the pytree of `count` rows sharded over the devices; leaves have the `own_rows` alone."""
    sharding = NamedSharding(mesh, PartitionSpec("data"))

    def whole(leaf):
        shape = (count, *leaf.shape[1:])
        return jax.make_array_from_process_local_data(sharding, leaf, shape)

    if sharding.is_fully_addressable:
        return jax.device_put(batch, sharding)
    return jax.tree.map(whole, batch)


def gather(tree: Any, mesh: Mesh) -> Any:
    """Returns the pytree so that this host can read it, once its devices have computed it.

    All hosts call this, in the same order of calls.
    """
    sharding = NamedSharding(mesh, PartitionSpec())
    if sharding.is_fully_addressable:
        return tree
    return _identity(sharding)(tree)


@functools.cache
def _identity(sharding: NamedSharding) -> Callable[[Any], Any]:
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def of_first_host(tree: Any, mesh: Mesh) -> Any:
    """Returns the pytree of numpy arrays that process 0 has, bit for bit, on all.

    Args:
      tree: of the others too, with the same structure, shapes and dtypes; their values are ignored.
      mesh: of the devices of all.
    """
    if hosts.count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(jax.device_get(tree))
    leaves = [np.asarray(leaf) for leaf in leaves]
    own = np.concatenate([np.frombuffer(x.tobytes(), np.uint8) for x in leaves])
    # A row for each device, of which that of a device of process 0 is taken.
    rows = shard_own(
        np.tile(own, (own_rows(mesh, mesh.size).sum(), 1)), mesh, mesh.size
    )
    first = [d.process_index for d in mesh.devices.flat].index(0)
    take = jax.jit(
        lambda rows: rows[first],
        out_shardings=NamedSharding(mesh, PartitionSpec()),
    )
    found, start = np.asarray(take(rows)).tobytes(), 0
    copies = []
    for leaf in leaves:
        part = found[start : start + leaf.nbytes]
        copies.append(np.frombuffer(part, leaf.dtype).reshape(leaf.shape))
        start += leaf.nbytes
    return jax.tree.unflatten(structure, copies)


def padded_batch_size(batch_size: int, mesh: Mesh) -> int:
    """Returns batch_size rounded up to a multiple of the device count."""
    return -(-batch_size // mesh.size) * mesh.size


class Delayed:
    """Passes results on one call late, so that the devices never wait for the host.

    JAX returns from a call before the devices have computed its result; reading it at once would
    block the host, which could be preparing the next call. `put` keeps a result and consumes the
    previous one; `flush` consumes the last.
    """

    def __init__(self, consume: Callable[..., None]):
        self._consume = consume
        self._held: tuple[Any, ...] | None = None

    def put(self, *result: Any) -> None:
        """Keeps a result, and calls `consume` with the previous one."""
        before, self._held = self._held, result
        if before is not None:
            self._consume(*before)

    def flush(self) -> None:
        """Calls `consume` with the result that is kept, if there is one."""
        before, self._held = self._held, None
        if before is not None:
            self._consume(*before)
