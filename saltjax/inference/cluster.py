"""Workers on other machines, or in processes of this one: a cluster of Dask.

`dask.distributed` is imported where it is used, since most commands do without it.
"""

import concurrent.futures
import contextlib
import logging
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self, TypeVar

from saltjax.runs import environment
from saltjax.system import console, files
from saltjax.system.errors import InputError

T = TypeVar("T")
EXPECTED = (
    "expected the address of a Dask scheduler, as tcp://10.0.0.5:8786, its scheduler file *.json, or "
    "local:N for N processes on this machine"
)
# Sent as text: a function is sent by its name, which a worker without saltjax would not find.
VERSION = "__import__('saltjax.runs.environment', fromlist=['version']).version()"
CONNECT_SECONDS, WORKER_SECONDS = 20, 120
# After which, without a task that is done, it is looked whether there are workers.
SECONDS_BETWEEN_LOOKS = 5.0


class Cluster:
    """The workers of a scheduler; use it as a context manager.

    Attributes:
      address: of the scheduler, or local:N.
      shares: the processes that share the cores of this machine; 0 for a scheduler that others started.
    """

    def __init__(self, address: str):
        """Takes --scheduler.

        Raises:
          InputError: if it is no address, or dask.distributed is not installed.
        """
        self.address, self.shares = address, 0
        if address.startswith("local:"):
            count = address.removeprefix("local:")
            if not (count.isascii() and count.isdecimal() and 0 < int(count) < 1000):
                raise InputError(f"--scheduler={address}; {EXPECTED}")
            self.shares = int(count)
        elif not re.fullmatch(r"(\w+://)?\S+:\d+|.*\.json", address):
            raise InputError(f"--scheduler={address}; {EXPECTED}")
        try:
            import distributed
        except ImportError as error:
            raise InputError(
                f"--scheduler needs dask.distributed ({error}): pip install 'saltjax-seismic[dask]'"
            ) from None
        # What it logs with a traceback is told here too. Its modules have levels of their own.
        for name in logging.root.manager.loggerDict:
            if name.partition(".")[0] == "distributed":
                logging.getLogger(name).setLevel(logging.CRITICAL)
        self._dask = distributed

    def __enter__(self) -> Self:
        """Connects.

        Raises:
          InputError: if there is no scheduler, no worker, or one with another version of saltjax.
        """
        with contextlib.ExitStack() as stack:
            if self.shares:
                console.say(f"Starting   {console.counted(self.shares, 'process')}")
                address: Any = stack.enter_context(
                    self._dask.LocalCluster(
                        n_workers=self.shares,
                        threads_per_worker=1,
                        memory_limit=None,
                        # None would be port 8787 of all interfaces, which another may have.
                        dashboard_address="127.0.0.1:0",
                        silence_logs=logging.CRITICAL,
                    )
                )
            else:
                address = self.address
            self._client = stack.enter_context(self._connect(address))
            self._check_workers()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _connect(self, address: Any) -> Any:
        if isinstance(address, str) and address.endswith(".json"):
            address = _address_in(pathlib.Path(address))
        try:
            return self._dask.Client(address, timeout=CONNECT_SECONDS)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"--scheduler={self.address}: no scheduler answers there within {CONNECT_SECONDS} s "
                f"({error or type(error).__name__}); start one with `dask scheduler`, or give local:N"
            ) from None

    def _wait_for_workers(self, count: int) -> None:
        """Waits until there are workers; raises InputError if there are none for WORKER_SECONDS."""
        start = "start some with `dask worker --nthreads=1 "
        start += (
            "--scheduler-file=" * self.address.endswith(".json") + f"{self.address}`"
        )
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        if not self.shares and not there:
            console.say(
                f"Waiting    for a worker of {self.address}, {WORKER_SECONDS} s at most: {start}"
            )
        try:
            self._client.wait_for_workers(count, timeout=WORKER_SECONDS)
        except TimeoutError:
            advice = f"it has no worker; {start}"
            if self.shares:
                advice = (
                    f"its processes have not started within {WORKER_SECONDS} s; give fewer, or wait until "
                    "the machine is less busy"
                )
            raise InputError(f"--scheduler={self.address}: {advice}") from None

    def _check_workers(self) -> None:
        """Waits for the first worker, and checks what all have that there are."""
        self._wait_for_workers(max(1, self.shares))
        found = self._client.run(eval, VERSION, on_error="return")
        own = environment.version()
        for worker, version in found.items():
            if version != own:
                known = f"no saltjax ({version})"
                if isinstance(version, str):
                    known = f"saltjax {version}"
                raise InputError(
                    f"worker {worker} has {known}; expected {own}, as here: install that where the worker "
                    "runs, and start it again"
                )
        console.say(f"Workers    {len(found)} of {self.address}")

    def map(
        self, function: Callable[..., None], items: Sequence[T], **arguments: Any
    ) -> Iterator[T]:
        """Calls function(item, **arguments) for each item on some worker; yields those that are done.

        What a worker does that is lost, another does.

        Raises:
          InputError: if the function raises one, workers end again and again, all are gone for
            WORKER_SECONDS, or the scheduler is lost.
        """
        futures = self._client.map(function, items, pure=False, **arguments)
        by_key = dict(zip([future.key for future in futures], items))
        completed, seen = self._dask.as_completed(futures), time.monotonic()
        try:
            while not completed.is_empty():
                batch = completed.next_batch(block=False)
                for future in batch:
                    self._check_done(future)
                    yield by_key[future.key]
                    future.release()
                if not batch and time.monotonic() - seen < SECONDS_BETWEEN_LOOKS:
                    time.sleep(0.02)
                    continue
                if not batch:
                    self._check_connected()
                seen = time.monotonic()
        finally:
            self._client.cancel(futures)

    def _check_connected(self) -> None:
        """Waits for a worker if there is none, see `map`; does nothing while Dask reconnects."""
        if self._client.status == "running":
            self._wait_for_workers(1)
        elif self._client.status != "connecting":
            raise self._lost()

    def _lost(self) -> InputError:
        return InputError(
            f"--scheduler={self.address}: the connection to the scheduler was lost; the same command goes on"
        )

    def _check_done(self, future: Any) -> None:
        """Raises what a task has raised; see `map`."""
        try:
            future.result()
        except self._dask.KilledWorker as error:
            raise InputError(
                "several workers ended while they did the same task, the last of them "
                f"{error.last_worker.address}; their logs say why: often it is memory. The same command goes "
                "on"
            ) from None
        except concurrent.futures.CancelledError:
            raise self._lost() from None


def _address_in(path: pathlib.Path) -> str:
    """Returns the address in a scheduler file; raises InputError if it has none."""
    expected = f"expected the file of `dask scheduler --scheduler-file={path}`"
    if not path.is_file():  # for which Dask would wait without end
        raise InputError(f"--scheduler={path}: no such file; {expected}")
    found = files.read_json(path, expected)
    if not isinstance(found.get("address"), str):
        raise InputError(f"--scheduler={path}: it names no address; {expected}")
    return found["address"]
