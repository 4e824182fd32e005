"""Inference on files of traces, line by line, in memory that does not grow with the file."""

import collections
import concurrent.futures
import functools
import itertools
import math
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from saltjax.inference import axes
from saltjax.inference.line_images import LineImages
from saltjax.inference.windows import SectionModel, predict_sections
from saltjax.seismic import amplitudes, array_files, npy, segy
from saltjax.system import console
from saltjax.system.errors import InputError

Traces = npy.ArrayTraces | segy.SegyTraces
T = TypeVar("T")

# Traces; a longer line is processed in pieces, each with the context that its ends need.
PIECE = 4096
READ_AHEAD = 2
# Amplitudes of at most so many bytes are looked through before anything is computed: seconds.
SCAN_BYTES = 500_000_000
SCAN_BLOCK = 2**22  # samples


def open_traces(path: pathlib.Path, header_bytes: Sequence[int]) -> Traces:
    """Returns the traces of a file.

    Args:
      path: the file.
      header_bytes: of SEG-Y, where inline and crossline numbers are.

    Raises:
      InputError: if it is damaged or cannot be read, or holds no section or volume.
    """
    if path.suffix.lower() in segy.SUFFIXES:
        return segy.SegyTraces(path, header_bytes=header_bytes)
    return array_files.read(path)


def segment(
    source: Traces,
    sink: Traces,
    models: Sequence[SectionModel],
    normalize: str,
    direction: str,
    scan_all: bool = False,
    limits: amplitudes.Range | None = None,
) -> dict[int, str]:
    """Writes the probabilities of salt, the mean over all models, of every trace.

    Dead traces, which are all zero or all NaN, have probability 0. A trace of which only some
    samples are finite is an error: nothing is computed if the amplitudes were few enough to look
    for them beforehand, or if the sample for the range holds one. Otherwise hours may have passed:
    the trace is announced and treated as dead, and all others are completed.

    Args:
      source: the amplitudes.
      sink: where the probabilities are written, trace by trace.
      models: the networks.
      normalize: see `amplitudes.estimate`.
      direction: "inline", "crossline" or "both", the mean of the two.
      scan_all: look through amplitudes beforehand even if they have more than SCAN_BYTES.
      limits: the range of amplitudes, if `amplitudes.scaling` has already given it and `normalize`.

    Returns:
      Of traces that are not finite, found while others were computed: messages by trace number, for
      `refuse`.

    Raises:
      InputError: if amplitudes are not finite or, with normalize="none", not in [0, 1].
    """
    size = source.count * source.samples * source.dtype.itemsize
    if scan_all or size <= SCAN_BYTES:
        check_finite(source)
    if limits is None:
        normalize, limits = amplitudes.scaling(sample_of(source), normalize)
    directions = passes(direction)
    lines = [source.lines(name) for name in directions]
    if lines[0] is lines[-1] or len(lines[0]) == len(lines[-1]) == 1:
        lines = lines[:1]  # sections have one direction
    total = len(lines) * source.count * source.samples
    damaged: dict[int, str] = {}
    announced = False
    with console.Bar("Segmenting", total, "samples") as bar:
        for name, lines_of_pass in zip(directions, lines):

            def write(numbers, prob, again=name != directions[0]):
                if again:
                    prob = (sink.read(numbers) + prob) / 2
                sink.write(numbers, prob)

            probs = predict_lines(
                source, lines_of_pass, name, models, limits, normalize, damaged
            )
            for numbers in write_behind(write, probs):
                bar.advance(int((numbers >= 0).sum()) * source.samples)
                if damaged and not announced:
                    announced = True
                    # As a list: another thread adds to it.
                    first = list(damaged.values())[0]  # noqa: RUF015
                    console.say(f"{first}: going on without it")
    return damaged


def passes(direction: str) -> tuple[str, ...]:
    """Returns the directions that a volume is segmented along, one after the other."""
    return ("inline", "crossline") if direction == "both" else (direction,)


def check_finite(source: Traces) -> None:
    """Raises InputError if there are traces of which only some samples are finite."""
    damaged: dict[int, str] = {}
    step = max(1, SCAN_BLOCK // source.samples)
    if source.dtype.kind == "f":
        for start in range(0, source.count, step):
            read(source, np.arange(start, min(start + step, source.count)), damaged)
    refuse(damaged, "Nothing was computed")


def read(source: Traces, numbers: np.ndarray, damaged: dict[int, str]) -> np.ndarray:
    """Returns finite traces [n, samples], see `amplitudes.clean`.

    To `damaged` a message is added for each trace of which only some samples are finite.
    """
    raw = source.read(numbers)
    traces, bad = amplitudes.clean(raw)
    for trace, number in zip(raw[bad], numbers[bad]):
        value = trace[~np.isfinite(trace)][0]
        place = source.place(int(number))
        damaged[int(number)] = (
            f"{source.name}: {place} has samples that are not finite, such as {value}"
        )
    return traces


def refuse(damaged: dict[int, str], consequence: str) -> None:
    """Raises InputError if there are damaged traces, see `segment`; `consequence` ends it."""
    if damaged:
        first = damaged[min(damaged)]
        raise InputError(
            f"{first}{npy.and_more(len(damaged))}; replace them, or set all samples of a missing "
            "trace to NaN or 0; or is the sample format not the one in the file's header? "
            f"{consequence}"
        )


def sample_of(source: Traces) -> np.ndarray:
    """Returns traces evenly spaced over the file, from which the range is estimated.

    Raises:
      InputError: if only some samples of one of them are finite.
    """
    wanted = max(1, amplitudes.MAX_SAMPLES // source.samples)
    numbers = np.unique(np.linspace(0, source.count - 1, wanted).astype(int))
    damaged: dict[int, str] = {}
    traces = read(source, numbers, damaged)
    refuse(damaged, "Nothing was computed")
    return traces


def predict_lines(
    source: Traces,
    lines: Sequence[np.ndarray],
    direction: str,
    models: Sequence[SectionModel],
    limits: amplitudes.Range,
    normalize: str,
    damaged: dict[int, str],
    part: range | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (trace numbers [n], probabilities float32[n, samples]) until all lines are done.

    The lines are those of `direction`, of which only `part` is computed, by default all. For `damaged`
    see `read`.
    """
    jobs = (
        (i, *piece)
        for i in (range(len(lines)) if part is None else part)
        for piece in pieces(len(lines[i]), models)
    )
    waiting: collections.deque[Any] = collections.deque()

    def read_unit(numbers):
        traces = read(source, numbers, damaged)
        live = amplitudes.live(traces) & (numbers >= 0)
        return amplitudes.to_unit(traces, limits, normalize), live

    context = max(model.network.context for model in models)
    positions = functools.partial(source.positions, direction=direction)
    line_images = LineImages(lines, positions, read_unit, context, longest(models))

    def load(job):
        i, part, keep = job
        image, live = line_images.load(i, part)
        return image, (lines[i][part][keep], keep, live[keep])

    def images():
        for image, facts in read_ahead(load, jobs):
            waiting.append(facts)
            yield image

    streams = (
        predict_sections(narrowed(stream, context, model.network.context), model)
        for stream, model in zip(itertools.tee(images(), len(models)), models)
    )
    for probs in zip(*streams):
        numbers, keep, live = waiting.popleft()
        mean = probs[0]
        if len(probs) > 1:
            mean = np.asarray(np.mean(probs, axis=0, dtype=np.float32))
        prob = np.ascontiguousarray(mean[:, keep].T)
        prob[~live] = 0
        yield numbers, prob


def narrowed(
    images: Iterable[np.ndarray], context: int, less: int
) -> Iterator[np.ndarray]:
    """Yields the 2 less + 1 channels in the middle of images with 2 context + 1 channels."""
    for image in images:
        yield image[:, :, context - less : context + less + 1]


def pieces(length: int, models: Sequence[SectionModel]) -> list[tuple[slice, slice]]:
    """Returns the pieces of a line of so many traces, each with the part of it that is to be kept.

    The rest of a piece is context, so that the kept traces have the same probabilities as in the
    whole line. Pieces start where the grids of network and traces coincide.
    """
    most = longest(models)
    if length <= most:
        return [(slice(0, length), slice(0, length))]
    needs = [_needs(model) for model in models]
    period = math.lcm(*(period for period, _ in needs))
    context = max(context for _, context in needs)
    context, stride = (-(-n // period) * period for n in (context, most))
    parts = []
    for start in range(0, length, stride):
        first, stop = max(0, start - context), min(length, start + stride)
        piece = slice(first, min(length, stop + context))
        parts.append((piece, slice(start - first, stop - first)))
    return parts


def longest(models: Sequence[SectionModel]) -> int:
    """Returns how many traces of a line are computed at once: PIECE of them as a network sees them."""
    return int(PIECE / max(1.0, *(float(model.scale.traces) for model in models)))


def _needs(model: SectionModel) -> tuple[int, int]:
    """Returns the period of coincidence of the grids, and the context, both in traces."""
    network, width = model.network, model.tile[1]
    period, context = axes.alignment(network)
    if network.resize == "pad":
        context += network.image_size - width
    else:
        turns = period // math.gcd(period, network.image_size)
        period = turns * width
        context = -(-context * width // network.image_size) + 2
    factor = model.scale.traces
    if factor != 1:
        # The least number of traces that is stretched to a multiple of the period.
        period = (period / factor).numerator
        context = math.ceil(context / factor) + model.scale.context()
    return period, context


def read_ahead(load: Callable[[Any], T], jobs: Iterable[Any]) -> Iterator[T]:
    """Yields load(job) of each job, while another thread loads the next ones."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending: collections.deque[concurrent.futures.Future[T]] = collections.deque()
        for job in jobs:
            pending.append(pool.submit(load, job))
            if len(pending) > READ_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def write_behind(
    write: Callable[..., None], items: Iterable[tuple[T, Any]]
) -> Iterator[T]:
    """Calls write(key, value) for each item in another thread; yields the keys of those written."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending: collections.deque[Any] = collections.deque()
        for key, value in items:
            pending.append((key, pool.submit(write, key, value)))
            if len(pending) > READ_AHEAD:
                key, done = pending.popleft()
                done.result()
                yield key
        for key, done in pending:
            done.result()
            yield key
