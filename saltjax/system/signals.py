"""SIGTERM and Ctrl-C: handled at once where no work can be lost, else after a save."""

import contextlib
import signal
import time
from collections.abc import Iterator


class Stopped(Exception):
    """A signal requested the end of the program.

    Attributes:
      signum: the signal's number.
      advice: what the user can do now.
    """

    advice = "the same command resumes from here"

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Pause:
    """Tells a training loop when to save: at a fixed interval, and after a signal.

    Use as a context manager. Within `deferred()` a signal is recorded, and `check` raises Stopped;
    elsewhere the signal raises Stopped at once.
    """

    def __init__(self, every_minutes: float):
        """Takes the interval between saves in minutes."""
        self._seconds = 60 * every_minutes
        self._last = time.monotonic()
        self._requested = None
        self._deferred = False

    def __enter__(self) -> "Pause":
        self._before = {
            s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_) -> None:
        self._restore_handlers()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Records signals in its body, and raises Stopped at its end if there was one."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def due(self) -> bool:
        """Returns whether it is time to save."""
        return (
            self._requested is not None
            or time.monotonic() - self._last >= self._seconds
        )

    def saved(self) -> None:
        """Call after a save: restarts the interval; raises Stopped if there was a signal."""
        self._last = time.monotonic()
        self.check()

    def check(self) -> None:
        """Raises Stopped if there was a signal."""
        if self._requested is not None:
            raise Stopped(self._requested)

    def _handle(self, signum, _frame) -> None:
        self._restore_handlers()  # a second signal ends the program at once
        # Recorded in any case: Python discards exceptions raised in a weak reference's callback.
        self._requested = signum
        if not self._deferred:
            raise Stopped(signum)

    def _restore_handlers(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
