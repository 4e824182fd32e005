"""A volume segmented in tasks of whole lines, whose results are chunks of volumes in Zarr."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from saltjax.inference import volumes
from saltjax.inference.chunks import Chunks, Task
from saltjax.inference.volumes import Traces
from saltjax.inference.windows import SectionModel
from saltjax.scoring.postprocess import Postprocessing, salt_mask
from saltjax.seismic import amplitudes, npy
from saltjax.seismic.grid_traces import GridTraces
from saltjax.system import console

# Does tasks of a stage, whose name is the argument `stage`, and yields each when it is done.
Compute = Callable[..., Iterator[Task]]
TITLES = {"segment": "Segmenting", "average": "Segmenting", "write_mask": "Masks"}


class Positions:
    """The places of the traces of a volume in arrays of results.

    Attributes:
      shape: inlines, crosslines and samples of these.
      inlines, crosslines: int[n], their numbers.
    """

    def __init__(self, source: Traces):
        """Takes a volume: an array, or a SEG-Y file, whose padding has no place."""
        self._source = source
        self._lines: dict[str, tuple[list[np.ndarray], np.ndarray]] = {}
        if isinstance(source, npy.ArrayTraces):
            self.inlines = source.numbers("inline")
            self.crosslines = source.numbers("crossline")
        else:
            found = source.geometry
            self.inlines = np.unique(found.inline[found.placed])
            self.crosslines = np.unique(found.crossline[found.placed])
        self.shape = len(self.inlines), len(self.crosslines), source.samples

    def of(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns which traces exist and have a place, bool[n], and the places int[k] of these."""
        there = numbers >= 0
        if isinstance(self._source, GridTraces):
            there = there & self._source.exists(numbers)
        placed, row, column = self._placed(numbers[there])
        there[there] = placed
        return there, row, column

    def _placed(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns which of some trace numbers have a place, bool[n], and the places int[k] of these."""
        source, placed = self._source, self._source.placed(numbers)
        if isinstance(source, npy.ArrayTraces):
            return placed, *np.divmod(numbers, self.shape[1])
        inline, crossline = source.line_numbers(numbers[placed])
        row = np.searchsorted(self.inlines, inline)
        return placed, row, np.searchsorted(self.crosslines, crossline)

    def lines(self, direction: str) -> tuple[list[np.ndarray], np.ndarray]:
        """Returns the lines of the volume, and the index int[n] of each in the results, -1 for none.

        As in SEG-Y, they begin and end with a trace that exists.
        """
        if direction not in self._lines:
            self._lines[direction] = self._find_lines(direction)
        return self._lines[direction]

    def _find_lines(self, direction: str) -> tuple[list[np.ndarray], np.ndarray]:
        lines = self._source.lines(direction)
        if isinstance(self._source, GridTraces):
            there = [np.flatnonzero(self._source.exists(line)) for line in lines]
            lines = [
                line[known[0] : known[-1] + 1]
                for line, known in zip(lines, there)
                if len(known)
            ]
        index = np.full(len(lines), -1)
        for i, line in enumerate(lines):
            _, *place = self._placed(line[line >= 0])
            along = place[0 if direction == "inline" else 1]
            if len(along):
                index[i] = along[0]
        return lines, index


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is segmented, and where results are written.

    Attributes:
      source: the amplitudes, of a volume.
      models: the networks, whose probabilities are averaged.
      normalize, limits: how amplitudes are scaled, see `amplitudes.to_unit`.
      directions: that the volume is segmented along, one after the other.
      chosen: threshold and minimum component size.
      probs: the probabilities, NaN where there is no trace.
      masks: 1 for salt, else 0.
      first: the probabilities along the first of two directions; otherwise `probs`.
    """

    source: Traces
    models: Sequence[SectionModel]
    normalize: str
    limits: amplitudes.Range
    directions: Sequence[str]
    chosen: Postprocessing
    probs: Chunks
    masks: Chunks
    first: Chunks

    def __post_init__(self):
        if isinstance(self.source, GridTraces):
            self.source.keep(self.directions)

    @functools.cached_property
    def positions(self) -> Positions:
        """The places of traces in the results."""
        return Positions(self.source)

    def stages(self) -> list[str]:
        """Returns the names of the methods that do the tasks; all tasks of one precede the next."""
        return ["segment", *["average"] * (len(self.directions) > 1), "write_mask"]

    def tasks(self, stage: str) -> list[Task]:
        """Returns the tasks of a stage whose results are missing."""
        if stage == "write_mask":
            return self.masks.tasks()
        missing = self.probs.tasks()
        # The first direction is of no use where nothing is to be averaged with it.
        return self.first.tasks() if stage == "segment" and missing else missing

    def segment(self, task: Task) -> None:
        """Writes the probabilities of some lines of the first direction."""
        self.first.write_task(task, *self._probabilities(task))

    def average(self, task: Task) -> None:
        """Writes the mean of the first direction's probabilities and those of the second."""
        second, note = self._probabilities(task)
        self.probs.write_task(task, (self.first.read_task(task) + second) / 2, note)

    def write_mask(self, task: Task) -> None:
        """Writes the mask of some lines, and notes how many samples are salt and how many traces live."""
        prob = np.nan_to_num(self.probs.read_task(task))
        live = amplitudes.live(prob.reshape(-1, prob.shape[2])).reshape(prob.shape[:2])
        mask = np.zeros(prob.shape, np.uint8)
        for section, out in zip(prob, mask):
            out[:] = salt_mask(section.T[None], self.chosen)[0].T
        mask *= live[:, :, None]
        note = {"salt": int(mask.sum(dtype=np.int64)), "live": int(live.sum())}
        self.masks.write_task(task, mask, note)

    def damaged(self) -> dict[int, str]:
        """Returns the messages on traces that count as dead, see `volumes.segment`."""
        notes = [note["damaged"] for note in self.probs.notes()]
        return {int(number): text for note in notes for number, text in note.items()}

    def share(self) -> float:
        """Returns the share of salt in the samples of live traces, once all masks are written."""
        notes = self.masks.notes()
        salt, live = (sum(note[name] for note in notes) for name in ("salt", "live"))
        return salt / max(1, live * self.source.samples)

    def _probabilities(self, task: Task) -> tuple[np.ndarray, dict[str, Any]]:
        """Returns float32[lines, positions, samples] along the task's direction, and what is to be noted."""
        positions, damaged = self.positions, dict[int, str]()
        lines, index = positions.lines(task.direction)
        part = np.flatnonzero((index >= task.start) & (index < task.stop))
        across = positions.shape[1 if task.direction == "inline" else 0]
        found = np.full(
            (task.stop - task.start, across, self.source.samples), np.nan, np.float32
        )
        if not len(part):
            return found, {}
        first, stop = int(part[0]), int(part[-1]) + 1
        source = self.source
        if isinstance(source, GridTraces):
            context = max(model.network.context for model in self.models)
            needed = lines[max(0, first - context) : stop + context]
            source = source.held(np.unique(np.concatenate(needed)))
        for numbers, prob in volumes.predict_lines(
            source,
            lines,
            task.direction,
            self.models,
            self.limits,
            self.normalize,
            damaged,
            range(first, stop),
        ):
            there, row, column = positions.of(numbers)
            prob, numbers = prob[there], numbers[there]
            # Of NaN alone is how a missing trace is stored where nothing else tells.
            dead = np.flatnonzero(~amplitudes.live(prob))
            missing = np.isnan(source.read(numbers[dead])).all(axis=1)
            prob[dead[missing]] = np.nan
            line, place = (row, column) if task.direction == "inline" else (column, row)
            found[line - task.start, place] = prob
        return found, {"damaged": damaged} if damaged else {}


def run(survey: Survey, compute: Compute) -> None:
    """Computes what is missing of the results.

    Args:
      survey: what is segmented.
      compute: does the tasks.
    """
    left = len(survey.probs.tasks()) + len(survey.masks.tasks())
    total = survey.probs.count + survey.masks.count
    if left < total:
        console.say(
            f"Resuming   {total - left} of {total} parts of the results are there"
        )
    for stage in survey.stages():
        tasks = survey.tasks(stage)
        shape = survey.probs.shape
        samples = [_samples(task, shape) for task in tasks]
        with console.Bar(TITLES[stage], sum(samples), "samples") as bar:
            for task in compute(tasks, stage=stage):
                bar.advance(_samples(task, shape))


def _samples(task: Task, shape: Sequence[int]) -> int:
    across = shape[1 if task.direction == "inline" else 0]
    return (task.stop - task.start) * across * shape[2]
