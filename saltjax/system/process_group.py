"""What processes that train together know of each other: values, signals, and that one ends.

It is JSON in the key-value store of JAX's coordination service, which is part of process 0. The client of
that service has no public interface; what is used of it is in `Group` alone.
"""

import contextlib
import dataclasses
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from saltjax.system import console, signals

SECONDS_BETWEEN_LOOKS = 0.2
# Process 0 ends so long after the others were to end, at most.
LEAVE_SECONDS = 5.0
# Keys of the store.
ENDED, SIGNAL, LEFT, VALUE = (f"saltjax/{x}" for x in ("ended", "signal", "left", "v"))


@dataclasses.dataclass(frozen=True)
class End:
    """Why the processes end: `index` of the one that said so first, exit status and message."""

    index: int
    status: int
    message: str


class Group:
    """This process among those that train together.

    Attributes:
      index, count: its number, from 0, and that of all.
      request: what process 0 does for a signal that another process has got.
    """

    def __init__(self, client: Any, index: int, count: int):
        self.index, self.count = index, count
        self.request: Callable[[int], None] = signal.raise_signal
        self._client = client
        self._values = 0
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def put(self, key: str, value: Any) -> None:
        """Stores JSON; raises RuntimeError if the key has a value, or the store is gone."""
        self._client.key_value_set(key, json.dumps(value))

    def try_to_put(self, key: str, value: Any) -> None:
        """Stores JSON, if the key has no value and the store is there."""
        with contextlib.suppress(RuntimeError):
            self.put(key, value)

    def found(self, folder: str) -> dict[str, Any]:
        """Returns what lies below `folder/`, by the rest of the key; nothing if the store is gone."""
        with contextlib.suppress(RuntimeError):
            pairs = self._client.key_value_dir_get(f"{folder}/")
            return {k.removeprefix(f"{folder}/"): json.loads(v) for k, v in pairs}
        return {}

    def wait(self, key: str) -> Any:
        """Returns the value of a key once it has one; signals are handled meanwhile."""
        while True:
            try:
                return json.loads(self._client.blocking_key_value_get(key, 500))
            except RuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def next_key(self) -> str:
        """Returns the same unused key on all processes, which call this equally often."""
        self._values += 1
        return f"{VALUE}/{self._values}"

    def end(self, status: int, message: str, tell: bool = True) -> End:
        """Makes all processes end, and waits for them; returns, and tells, what the first has said."""
        self._closed.set()
        self.try_to_put(f"{ENDED}/0", [self.index, status, message])
        end = self._end() or End(self.index, status, message)
        if tell:
            self._tell(end)
        self.leave()
        return end

    def forward(self, signum: int) -> None:
        """Hands a signal to process 0."""
        self.try_to_put(f"{SIGNAL}/{signum}", self.index)

    def _tell(self, end: End) -> None:
        """Prints why all end: process 0 and the one that said so the whole message, others its start."""
        place = f"process {end.index} of {self.count}: " if end.index else ""
        if self.index in (0, end.index):
            write(f"{place}{end.message}")
        else:
            first = end.message.partition("\n")[0]
            write(
                f"process {self.index} of {self.count} ends, as process {end.index}: {first}"
            )

    def _end(self) -> End | None:
        found = self.found(ENDED)
        return End(*found["0"]) if found else None

    def leave(self) -> None:
        """Says that this process ends now; the store ends with process 0, which waits for the others."""
        self._closed.set()
        self.try_to_put(f"{LEFT}/{self.index}", None)
        until = time.monotonic() + LEAVE_SECONDS
        while self.index == 0 and time.monotonic() < until:
            if len(self.found(LEFT)) == self.count:
                break
            time.sleep(0.02)

    def _watch(self) -> None:
        """Ends this process if another one ends; in process 0 raises signals that others have got."""
        raised: set[str] = set()
        while not self._closed.wait(SECONDS_BETWEEN_LOOKS):
            if end := self._end():
                self._tell(end)
                self.leave()
                signals.exit_at_once(end.status)
            signums = set(self.found(SIGNAL)) if self.index == 0 else set()
            for signum in signums - raised:
                self.request(int(signum))
            raised |= signums


def write(message: str) -> None:
    """Prints a line on standard error, which need not be writable."""
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        console.discard(sys.stderr)
