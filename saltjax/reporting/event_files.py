"""Event files for TensorBoard: the columns of metrics.csv, and example tiles of some epochs.

A start of a run begins a new file with the mark of a restart at the first epoch that earlier files
lack, or have other values of than metrics.csv: from there on TensorBoard, also one that is open,
forgets what they hold, and the new file has it again. Earlier files are never changed.
"""

from __future__ import annotations

import contextlib
import pathlib
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saltjax.data.tiles import UNLABELLED, salt_coverage
from saltjax.system import console
from saltjax.system.errors import InputError

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

FOLDER = "tensorboard"
# The names of the files: TensorBoard reads them in their order, this one's begin and end so.
PREFIX, SUFFIX = "events.out.tfevents.", ".saltjax"
EXAMPLES = 4
EPOCHS_BETWEEN_IMAGES = 5
# By epoch and tag. An event holds one value or image.
Events = dict[tuple[int, str], "Event"]


def require() -> None:
    """Raises InputError if tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise InputError(
            "config.train.tensorboard=True needs tensorboardX, which is not installed: "
            "pip install tensorboardX"
        ) from None


class EventFile:
    """The event file of a start of a run. Failures are told; they do not end the run.

    After a failure the next epoch begins another file, with what the failed one lacks.
    """

    def __init__(self, workdir: pathlib.Path, enabled: bool):
        """Takes the run directory, and whether anything is written at all."""
        self._folder, self._enabled = workdir / FOLDER, enabled
        self._writer: Any = None  # a tensorboardX.RecordWriter

    def close(self) -> None:
        """Closes the file; what was written is on its way to the disk already."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def write(
        self,
        history: Sequence[dict[str, Any]],
        images: Callable[[], dict[str, np.ndarray]] = dict,
    ) -> None:
        """Writes the last epoch, in a new file also those before it.

        Args:
          history: rows of metrics.csv; with a new epoch before its checkpoint is saved, so that a
            run that is killed in between, and repeats the epoch, has its images.
          images: returns uint8[H, W, 3] by tag, called if the last epoch is to have images.
        """
        if not self._enabled:
            return
        try:
            self._write(history, images)
        except Exception as error:
            self.close()
            console.say(
                f"Events     not written for TensorBoard ({type(error).__name__}: {error}); "
                "training is not affected"
            )

    def _write(self, history, images) -> None:
        from tensorboardX import summary

        rows, events = history[-1:], {}
        if self._writer is None:
            paths = sorted(self._folder.glob(f"{PREFIX}*{SUFFIX}"))
            found = read(paths, len(history))
            first = next(
                (row["epoch"] for row in history if not _holds(found, row)),
                len(history) + 1,
            )
            self._begin(paths, first)
            rows = history[first - 1 :]
            events = {key: event for key, event in found.items() if key[0] >= first}
        for row in rows:
            for tag, scalar in _scalars(row).items():
                events[row["epoch"], tag] = _event(row["epoch"], summary=scalar)
        if history and shows_images(epoch := history[-1]["epoch"]):
            for tag, array in images().items():
                image = summary.image(tag, array, dataformats="HWC")
                tag = image.value[0].tag  # without characters that tags cannot have
                events[epoch, tag] = _event(epoch, summary=image)
        for key in sorted(events):
            self._writer.write(events[key].SerializeToString())
        self._writer.flush()

    def _begin(self, earlier: Sequence[pathlib.Path], epoch: int) -> None:
        """Opens a file whose name follows those of the earlier ones, and marks a restart at an epoch."""
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder.mkdir(exist_ok=True)
        seconds = int(time.time())
        if earlier:
            last = earlier[-1].name.removeprefix(PREFIX).removesuffix(SUFFIX)
            seconds = max(seconds, int(last) + 1)
        path = self._folder / f"{PREFIX}{seconds}{SUFFIX}"
        self._writer = RecordWriter(str(path))
        start = SessionLog(status=SessionLog.START)
        for field in ({"file_version": "brain.Event:2"}, {"session_log": start}):
            self._writer.write(_event(epoch, **field).SerializeToString())


def tag_of(column: str) -> str:
    """Returns the tag of a column of metrics.csv, in groups as TensorBoard shows them.

    >>> tag_of("train_loss"), tag_of("val_kaggle_map"), tag_of("seconds")
    ('loss/train', 'kaggle_map/val', 'epoch/seconds')
    """
    part, _, score = column.partition("_")
    return f"{score}/{part}" if part in ("train", "val") else f"epoch/{column}"


def shows_images(epoch: int) -> bool:
    """Returns whether an epoch, from 1, has images: the first, and then at intervals."""
    return epoch == 1 or epoch % EPOCHS_BETWEEN_IMAGES == 0


def choose(labels: np.ndarray) -> np.ndarray:
    """Returns the indices of EXAMPLES of the labels uint8[N, H, W, 1], evenly by salt coverage."""
    order = np.argsort(salt_coverage(labels), kind="stable")
    return order[np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).astype(int)]


def side_by_side(image: np.ndarray, label: np.ndarray, prob: np.ndarray) -> np.ndarray:
    """Returns uint8[H, 3W + 8, 3]: image, label and probability of a tile, white between them.

    Args:
      image: uint8[H, W, 3].
      label: uint8[H, W], 1 where salt; grey where UNLABELLED.
      prob: float32[H, W].
    """
    line = np.full((len(image), 4, 3), 255, np.uint8)
    panels = [
        np.repeat(np.rint(255.0 * x).astype(np.uint8)[..., None], 3, axis=2)
        for x in (np.where(label == UNLABELLED, 0.5, label), prob)
    ]
    return np.concatenate([image, line, panels[0], line, panels[1]], axis=1)


def read(paths: Sequence[pathlib.Path], epochs: int) -> Events:
    """Returns the events of the first epochs in these files, as TensorBoard takes them."""
    from tensorboardX.proto.event_pb2 import SessionLog

    events: Events = {}
    for path in paths:
        for event in _records(path.read_bytes()):
            if event.session_log.status == SessionLog.START:
                events = {k: e for k, e in events.items() if k[0] < event.step}
            elif event.summary.value:
                events[event.step, event.summary.value[0].tag] = event
    return {key: event for key, event in events.items() if key[0] <= epochs}


def _scalars(row: dict[str, Any]) -> dict[str, Any]:
    """Returns the summaries of a row of metrics.csv by their tags."""
    from tensorboardX import summary

    tags = {tag_of(column): row[column] for column in row.keys() - {"epoch"}}
    return {tag: summary.scalar(tag, value) for tag, value in tags.items()}


def _holds(events: Events, row: dict[str, Any]) -> bool:
    """Returns whether the events hold the values of a row."""
    keys = {(row["epoch"], tag): scalar for tag, scalar in _scalars(row).items()}
    return all(k in events and events[k].summary == keys[k] for k in keys)


def _records(content: bytes) -> Iterator[Event]:
    """Yields the events of a file, up to where it is damaged or was not written to its end.

    A record is its length, uint64, a checksum of that, uint32, the event, and a checksum of it.
    """
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    start = 12
    while start <= len(content):
        (length,) = struct.unpack_from("<Q", content, start - 12)
        end = start + length
        if end + 4 > len(content):
            return
        try:
            yield Event.FromString(content[start:end])
        except DecodeError:
            return
        start = end + 16


def _event(epoch: int, **content: Any) -> Event:
    from tensorboardX.proto.event_pb2 import Event

    return Event(step=epoch, wall_time=time.time(), **content)
