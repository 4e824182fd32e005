"""Output to the user: plain lines, and progress bars on a terminal.

Only the command line prints: it calls `show`. In any other program, where saltjax is imported as a
library, lines go to the logger "saltjax" and there are no bars.
"""

import contextlib
import errno
import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from typing import IO, Self, TextIO

import rich.console
import rich.progress

from saltjax.system.errors import OutputError


class Output(rich.console.Console):
    """Standard output, which its reader can close without ending the program."""

    def on_broken_pipe(self) -> None:
        """Goes on without printing; rich would end the program."""
        _print_no_more()


out = Output(highlight=False, soft_wrap=True, markup=False, emoji=False)
logger = logging.getLogger("saltjax")
# Interval of the progress lines where output is a file.
SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_REFRESHES = 0.1
# Whether this process prints, see `show`; and whether it shows bars nevertheless, see `bars`.
shown = shown_bars = False
# Of each `heard`, the lines that were said since.
listeners: list[list[str]] = []


def show() -> None:
    """Makes this process print lines and progress bars, as the command line does."""
    global shown
    shown = True


def mute() -> None:
    """Makes this process say nothing, neither printed nor logged; another one says the same."""
    global shown
    shown = False
    logger.disabled = True


@contextlib.contextmanager
def bars(wanted: bool) -> Iterator[None]:
    """Shows progress bars within a `with` statement, if they are wanted, in any process."""
    global shown_bars
    before, shown_bars = shown_bars, shown_bars or wanted
    try:
        yield
    finally:
        shown_bars = before


def say(text: str = "", level: int = logging.INFO) -> None:
    """Prints a line, or logs it at that level where nothing is printed.

    Raises:
      OutputError: if it cannot be printed.
    """
    for lines in listeners:
        lines.append(text)
    if not shown:
        logger.log(level, text)
        return
    _print(text)


def _print(text: str) -> None:
    with _printing():
        out.print(text)
        out.file.flush()


@contextlib.contextmanager
def heard() -> Iterator[list[str]]:
    """Yields a list that the lines which are said within a `with` statement are added to."""
    lines: list[str] = []
    listeners.append(lines)
    try:
        yield lines
    finally:
        listeners.pop()


def counted(n: int, noun: str) -> str:
    """Returns "1 image" or, for other numbers, "2 images"."""
    return f"{n} {noun if n == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Returns "images" for "image", "patches" for "patch", "bodies" for "body"."""
    if noun.endswith("ss"):
        return f"{noun}es"
    if noun.endswith("dy"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("tch") else f"{noun}s"


@contextlib.contextmanager
def _printing() -> Iterator[None]:
    """Goes on where the reader of standard output has gone; turns other failures into OutputError."""
    try:
        yield
    except OSError as error:
        lost_terminal = error.errno == errno.EIO and _is_device(out.file)
        if error.errno != errno.EPIPE and not lost_terminal:
            raise OutputError(f"cannot write to standard output: {error}") from None
        _print_no_more()


def _is_device(file: IO[str]) -> bool:
    """Returns whether it is, or was, a terminal; `isatty` is false of one that was closed."""
    return stat.S_ISCHR(os.fstat(file.fileno()).st_mode)


def _print_no_more() -> None:
    """Discards what is printed from now on: the end of a pipe's reader is not that of the work."""
    discard(sys.stdout)
    with contextlib.suppress(OSError):
        print(
            "Standard output was closed; the program goes on and prints no more.",
            file=sys.__stderr__ or sys.stderr,  # a bar redirects it to standard output
        )


def discard(stream: TextIO) -> None:
    """Discards what is written to a stream from now on, and what is in its buffer."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Bar:
    """Progress of `total` items: a bar with rate and remaining time; in a file, occasional lines.

    Use as a context manager; `advance(n, note)` counts n more items and shows the note.
    """

    def __init__(self, title: str, total: int, unit: str):
        self.title, self.total, self.unit = title, total, unit
        self.done, self.note = 0, ""

    def __enter__(self) -> Self:
        self.start = self.last_line = self.last_refresh = time.monotonic()
        self.shown = shown or shown_bars
        self.live = self.shown and out.is_terminal and not out.is_dumb_terminal
        columns = (
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TextColumn("{task.fields[status]}", markup=False),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("left"),
        )
        self.progress = rich.progress.Progress(
            *columns,
            console=out,
            transient=True,
            disable=not self.live,
            auto_refresh=False,  # by a thread, which could not go on without a terminal
        )
        self.task = self.progress.add_task(self.title, total=self.total, status="")
        with _printing():
            self.progress.start()
        return self

    def __exit__(self, *_) -> None:
        with _printing():
            self.progress.stop()

    def advance(self, n: int, note: str = "") -> None:
        """Counts n more items as done."""
        self.done += n
        now = time.monotonic()
        rate = self.done / max(now - self.start, 1e-9)
        status = f"{self.done}/{self.total} {self.unit} {rate:6.1f}/s {note}"
        self.progress.update(self.task, completed=self.done, status=status)
        if self.live and now - self.last_refresh > SECONDS_BETWEEN_REFRESHES:
            self.last_refresh = now
            with _printing():
                self.progress.refresh()
        if (
            self.shown
            and not self.live
            and now - self.last_line > SECONDS_BETWEEN_LINES
        ):
            self.last_line = now
            left = (self.total - self.done) / rate
            _print(f"{self.title} {status} {left:.0f} s left")
