"""SIGTERM, SIGHUP and Ctrl-C: the program ends at once where no work can be lost, else after a save.

Python raises a signal's exception wherever the program happens to be. Within the import of a library
that has crashed the interpreter or become an ImportError, and within a callback of the garbage
collector Python discards it. So nothing is raised while the program starts, see `end_at_once`, and a
`Pause` raises again what was discarded.

This module imports little: the command line calls `end_at_once` before it imports anything else.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

SHOW_CURSOR = b"\x1b[?25h"  # which a progress bar hides
RAISE_AGAIN_SECONDS = 0.01


class Stopped(KeyboardInterrupt):
    """A signal requested the end of the program; no `except Exception` catches it.

    Attributes:
      signum: the signal's number.
      advice: what the user can do now.
    """

    advice = "the same command resumes from here"

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def _say_stopped(signum: int) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"Stopped by {signal.Signals(signum).name}.\n".encode())


def end_at_once(say: Callable[[int], object] = _say_stopped) -> None:
    """Makes signals end the process at once: a message, and the status 128 + the signal's number.

    `say` is called with the signal's number.
    """

    def end(signum, _frame) -> None:
        say(signum)
        exit_at_once(128 + signum)

    for signum in _handled():
        signal.signal(signum, end)


def exit_at_once(status: int) -> None:
    """Ends the process without shutting JAX down, which crashes while a thread compiles."""
    with contextlib.suppress(OSError):
        if os.isatty(1):
            os.write(1, SHOW_CURSOR)
    os._exit(status)


@contextlib.contextmanager
def default_actions() -> Iterator[None]:
    """Leaves signals to the operating system, which ends the process, within a `with` statement."""
    handlers = {signum: signal.getsignal(signum) for signum in _handled()}
    for signum in handlers:
        signal.signal(signum, signal.SIG_DFL)
    try:
        yield
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def _handled() -> list[signal.Signals]:
    """Returns the signals that end the program; nohup ignores SIGHUP, which then stays ignored."""
    handled = [signal.SIGTERM, signal.SIGINT]
    hangup = getattr(signal, "SIGHUP", None)  # None on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        handled.append(hangup)
    return handled


class Pause:
    """Tells a training loop when to save: at a fixed interval, and after a signal.

    Use as a context manager. Within `deferred()` a signal is recorded, and `check` raises Stopped;
    elsewhere the signal raises Stopped at once. In a process that saves nothing it is handed to the one
    that does.
    """

    def __init__(
        self, every_minutes: float, forward: Callable[[int], None] | None = None
    ):
        """Takes the interval between saves in minutes, and what hands a signal to another process."""
        self._seconds = 60 * every_minutes
        self._forward = forward
        self._last = time.monotonic()
        self._requested: int | None = None
        self._deferred = False
        self._raised = False
        self._timer: threading.Timer | None = None  # raises a signal again
        self._again = False  # the next signal is that of the timer
        self._handed_on = False  # the next signal is one of `request`
        self._received = False  # one that was neither

    def __enter__(self) -> "Pause":
        self._handlers = {s: signal.getsignal(s) for s in _handled()}
        self._hook, sys.unraisablehook = sys.unraisablehook, self._raise_again
        for signum in self._handlers:
            signal.signal(signum, self._handle)
        return self

    def __exit__(self, _type, error: BaseException | None, _traceback) -> None:
        sys.unraisablehook = self._hook
        if self._timer is not None:
            self._timer.cancel()
        self._restore_handlers()
        # A library can turn what was raised into an error of its own.
        if self._raised and error is not None and not isinstance(error, Stopped):
            assert self._requested is not None
            raise Stopped(self._requested) from error

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Records signals in its body, and raises Stopped at its end if there was one."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def request(self, signum: int) -> None:
        """Does what the signal would do, from another thread; nothing if there was one already."""
        if self._requested is not None:
            return
        if self._deferred:
            self._requested = signum
        else:
            self._handed_on = True
            signal.pthread_kill(threading.main_thread().ident or 0, signum)

    def due(self) -> bool:
        """Returns whether it is time to save."""
        if self._forward is not None:
            return False
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
        if self._requested is not None and self._forward is None:
            raise Stopped(self._requested)

    def _restore_handlers(self) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)

    def _handle(self, signum, _frame) -> None:
        again, own = self._again, not (self._again or self._handed_on)
        self._again = self._handed_on = False
        if own and self._received:
            self._restore_handlers()  # a second signal ends the program at once
            signal.raise_signal(signum)
            return
        self._received |= own
        if self._requested is not None and not again:
            return  # as `request` has said before
        self._requested = signum
        if self._forward is not None:
            self._forward(signum)
        elif not self._deferred:
            self._raised = True
            raise Stopped(signum)

    def _raise_again(self, unraisable) -> None:
        """Raises Stopped again after it came in a callback, from which Python raises nothing."""
        if not isinstance(unraisable.exc_value, Stopped):
            self._hook(unraisable)
            return
        self._again = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(
            RAISE_AGAIN_SECONDS, signal.raise_signal, [unraisable.exc_value.signum]
        )
        self._timer.daemon = True
        self._timer.start()
