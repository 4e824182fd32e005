"""Probabilities for files of traces, line by line, in memory that does not grow with the file."""

import collections
import concurrent.futures
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from saltjax.inference import windows as sections
from saltjax.networks import unet as models
from saltjax.seismic import amplitudes, segy
from saltjax.seismic import npy as arrays
from saltjax.system import console

Traces = arrays.ArrayTraces | segy.SegyTraces

# A line longer than this is worked through in pieces, each with what its ends need to see.
PIECE = 4096
READ_AHEAD = 2


def mark(
    source: Traces,
    sink: Traces,
    predictors: Sequence[sections.Predictor],
    normalize: str,
    direction: str,
) -> None:
    """Writes the probabilities of salt, the mean of all predictors, of every trace.

    Dead traces, all zero, get 0.

    Args:
      source: the amplitudes.
      sink: where the probabilities go, trace by trace.
      predictors: the networks.
      normalize: see `amplitudes.estimate`; arrays of bytes are images, from 0 to 255.
      direction: "inline", "crossline" or "both", the mean of the two.

    Raises:
      InputError: if amplitudes are not finite, or out of their range.
    """
    limits = estimate(source, normalize)
    if source.dtype == np.uint8:
        normalize, limits = "clip", amplitudes.Range(0, 255)
    passes = ("inline", "crossline") if direction == "both" else (direction,)
    lines = [source.lines(name) for name in passes]
    if len(lines) == 2 and len(lines[0]) == len(lines[1]) == 1:
        lines = lines[:1]  # a section has but one direction
    total = len(lines) * source.count * source.samples
    with console.Bar("Marking", total, "samples") as bar:
        for number, lines_of_pass in enumerate(lines):

            def write(numbers, prob, again=number > 0):
                if again:
                    prob = (sink.read(numbers) + prob) / 2
                sink.write(numbers, prob)

            found = predict_lines(source, lines_of_pass, predictors, limits, normalize)
            for numbers in write_behind(write, found):
                bar.advance(int((numbers >= 0).sum()) * source.samples)


def estimate(source: Traces, normalize: str) -> amplitudes.Range:
    """Returns the range of amplitudes, from traces evenly spaced over the file."""
    wanted = max(1, amplitudes.MAX_SAMPLES // source.samples)
    numbers = np.unique(np.linspace(0, source.count - 1, wanted).astype(int))
    traces = source.read(numbers)
    amplitudes.check_finite(traces, numbers, source.name)
    return amplitudes.estimate(traces, normalize)


def predict_lines(
    source: Traces,
    lines: Iterable[np.ndarray],
    predictors: Sequence[sections.Predictor],
    limits: amplitudes.Range,
    normalize: str,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields (trace numbers [n], probabilities float32[n, samples]) until all lines are done."""
    jobs = (job for line in lines for job in pieces(line, predictors))
    waiting = collections.deque()

    def load(job):
        numbers, keep = job
        there = numbers >= 0
        traces = source.read(numbers)
        amplitudes.check_finite(traces, numbers, source.name)
        alive = amplitudes.live(traces) & there
        image = amplitudes.to_unit(traces, limits, normalize).T[:, :, None]
        return image, (numbers[keep], keep, alive[keep])

    def images():
        for image, facts in read_ahead(load, jobs):
            waiting.append(facts)
            yield image

    streams = itertools.tee(images(), len(predictors))
    found = zip(*(sections.predict_sections(s, p) for s, p in zip(streams, predictors)))
    for probs in found:
        numbers, keep, alive = waiting.popleft()
        prob = np.mean(probs, axis=0, dtype=np.float32)[:, keep].T
        yield numbers, np.where(alive[:, None], prob, np.float32(0))


def pieces(
    line: np.ndarray, predictors: Sequence[sections.Predictor]
) -> list[tuple[np.ndarray, slice]]:
    """Returns a line's trace numbers in pieces, each with the part of it that is to be kept.

    What is left out at the ends is what the piece's other traces must see to come out as they would
    in the whole line. Pieces begin where the network's grid and the traces' meet.
    """
    if len(line) <= PIECE:
        return [(line, slice(0, len(line)))]
    needs = [_needs(p) for p in predictors]
    period = math.lcm(*(period for period, _ in needs))
    context = max(context for _, context in needs)
    context, stride = (-(-n // period) * period for n in (context, PIECE))
    found = []
    for start in range(0, len(line), stride):
        first, stop = max(0, start - context), min(len(line), start + stride)
        numbers = line[first : min(len(line), stop + context)]
        found.append((numbers, slice(start - first, stop - first)))
    return found


def _needs(predictor: sections.Predictor) -> tuple[int, int]:
    """Returns the traces after which the grids meet again, and those that a piece's end must see."""
    network, width = predictor.network, predictor.tile[1]
    coarsest = models.coarsest_pixel(network.model)
    margin = models.receptive_radius(network.model)
    margin = network.image_size if margin is None else margin
    margin += coarsest
    if network.resize == "pad":
        return coarsest, margin + network.image_size - width
    turns = coarsest // math.gcd(coarsest, network.image_size)
    return turns * width, -(-margin * width // network.image_size) + 2


def read_ahead(load: Callable[[Any], Any], jobs: Iterable) -> Iterator:
    """Yields load(job) of each, the next ones being loaded meanwhile by another thread."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending = collections.deque()
        for job in jobs:
            pending.append(pool.submit(load, job))
            if len(pending) > READ_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def write_behind(
    write: Callable[..., None], items: Iterable[tuple[np.ndarray, np.ndarray]]
) -> Iterator[np.ndarray]:
    """Has another thread write(numbers, prob) each item; yields the numbers of what is written."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pending = collections.deque()
        for numbers, prob in items:
            pending.append((numbers, pool.submit(write, numbers, prob)))
            if len(pending) > READ_AHEAD:
                numbers, done = pending.popleft()
                done.result()
                yield numbers
        for numbers, done in pending:
            done.result()
            yield numbers
