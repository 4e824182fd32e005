"""SIGTERM and Ctrl-C: at once where nothing can be lost, else after the state is saved."""

import contextlib
import signal
import time
from collections.abc import Iterator


class Stopped(Exception):
    """A signal asked the program to end.

    Attributes:
      signum: the signal's number.
      advice: what can be done now.
    """

    advice = "the same command goes on from here"

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Pause:
    """Tells a training loop when to save: every so many minutes, and when a signal came.

    Use as a context manager. Within `deferred()` a signal is only noted, and `check` raises
    Stopped; elsewhere the signal raises Stopped at once.
    """

    def __init__(self, every_minutes: float):
        self._seconds = 60 * every_minutes
        self._last = time.monotonic()
        self._requested = None
        self._deferred = False

    def __enter__(self) -> "Pause":  # noqa: PYI034 - no subclasses
        self._before = {
            s: signal.signal(s, self._handle) for s in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_) -> None:
        self._restore_handlers()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Notes signals in its body, and raises Stopped at the end of it if one came."""
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
        """Says that the state is saved; raises Stopped if a signal came."""
        self._last = time.monotonic()
        self.check()

    def check(self) -> None:
        """Raises Stopped if a signal came."""
        if self._requested is not None:
            raise Stopped(self._requested)

    def _handle(self, signum, _frame) -> None:
        self._restore_handlers()  # a second signal ends the program at once
        # Noted in any case: Python drops what is raised in the midst of a weak reference's callback.
        self._requested = signum
        if not self._deferred:
            raise Stopped(signum)

    def _restore_handlers(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
