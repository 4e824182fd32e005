"""What the page of a prediction shows of a file of traces: its lines, or a volume."""

import dataclasses

import numpy as np

from saltjax.reporting.sections import Contents, Section, choose
from saltjax.scoring.postprocess import to_sixteen_bits
from saltjax.seismic import amplitudes, npy, segy
from saltjax.seismic.neighbours import places_on
from saltjax.seismic.sample_axis import SampleAxis

Traces = npy.ArrayTraces | segy.SegyTraces
TRACES_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which traces a page shows.

    Attributes:
      kind, along, across: see `Contents`.
      names: of the sections.
      lines: the trace numbers of each section, -1 for a missing trace.
      columns: the number of each column, of each section.
    """

    kind: str
    along: str
    across: str
    names: list[str]
    lines: list[np.ndarray]
    columns: list[np.ndarray]


def of_traces(
    source: Traces,
    probs: Traces,
    direction: str,
    normalize: str,
    limits: amplitudes.Range,
) -> Contents:
    """Returns what the page shows of a file of traces.

    Only the traces that are shown are read, and a thousand at a time.

    Args:
      source, probs: the amplitudes, and the probabilities that were written for them.
      direction: that the sections of a volume are segmented along, "inline" or "crossline".
      normalize, limits: the scaling of amplitudes, see `amplitudes.to_unit`.

    Raises:
      InputError: if one of them cannot be read.
    """
    if isinstance(source, segy.SegyTraces):
        plan = plan_segy(source, direction)
    else:
        plan = plan_array(source, direction)
    rows = source.axis
    total, width = len(plan.lines), float(np.mean([len(n) for n in plan.lines]))
    kept, (step, height_step) = choose(
        plan.kind == "volume", total, width, source.samples
    )
    centre = min(height_step // 2, source.samples - 1)
    sections = []
    for i in kept:
        numbers, columns = plan.lines[i][::step], plan.columns[i][::step]
        parts = [
            _read(
                source,
                probs,
                numbers[start : start + TRACES_AT_ONCE],
                normalize,
                limits,
                height_step,
            )
            for start in range(0, len(numbers), TRACES_AT_ONCE)
        ]
        grey, prob, live = (np.concatenate(part) for part in zip(*parts))
        sections.append(Section(plan.names[i], grey.T, prob.T, live, columns))
    return Contents(
        plan.kind,
        sections,
        plan.along,
        plan.across,
        SampleAxis(rows.unit, rows.first + centre * rows.step, rows.step * height_step),
        (total / len(kept), step, height_step),
        total,
        limits,
    )


def _read(source, probs, numbers, normalize, limits, step):
    """Returns grey uint8[n, h], probabilities uint16[n, h] and live bool[n] of traces."""
    there = numbers >= 0
    grey = np.zeros((len(numbers), -(-source.samples // step)), np.uint8)
    prob, live = np.zeros(grey.shape, np.uint16), np.zeros(len(numbers), bool)
    if there.any():
        traces, _ = amplitudes.clean(source.read(numbers[there]))
        unit = amplitudes.to_unit(traces, limits, normalize)
        starts = np.arange(0, source.samples, step)
        sums = np.add.reduceat(unit, starts, axis=1)
        mean = sums / np.diff(np.append(starts, source.samples))
        grey[there] = np.rint(255 * mean)
        live[there] = amplitudes.live(traces)
        found = probs.read(numbers[there])
        middle = np.minimum(starts + step // 2, source.samples - 1)
        # In Zarr they are NaN where there is no trace.
        prob[there] = to_sixteen_bits(np.clip(np.nan_to_num(found[:, middle]), 0, 1))
    return grey, prob, live


def plan_array(source: npy.ArrayTraces, direction: str) -> Plan:
    """Returns the sections of an array or of a volume on a grid."""
    lines = source.lines(direction)
    if len(source.shape) == 2:
        return Plan("lines", "", "trace", [""], lines, [np.arange(1, source.count + 1)])
    if len(lines) == 1:  # also across the other direction
        direction = "inline" if source.shape[0] == 1 else "crossline"
    other = "crossline" if direction == "inline" else "inline"
    names = [str(number) for number in source.numbers(direction)]
    columns = [source.numbers(other)] * len(lines)
    return Plan("volume", direction, other, names, lines, columns)


def plan_segy(source: segy.SegyTraces, direction: str) -> Plan:
    """Returns the lines of a SEG-Y file: a volume if at least half of its positions have a trace."""
    found, lines = source.geometry, source.lines(direction)
    if not found.volume:
        names = [f"line {i + 1}" for i in range(len(lines))] if len(lines) > 1 else [""]
        return Plan(
            "lines", "", "trace", names, lines, list(map(_trace_numbers, lines))
        )
    other = "crossline" if direction == "inline" else "inline"
    section_of, place_of = found.inline, found.crossline
    if direction == "crossline":
        section_of, place_of = place_of, section_of
    members = [line[line >= 0] for line in lines]
    members = [m for m in members if found.placed[m[0]]]
    names = [str(section_of[m[0]]) for m in members]
    axis = _even(np.unique(np.concatenate([np.unique(place_of[m]) for m in members])))
    if 2 * sum(map(len, members)) < len(members) * len(axis):
        columns = [places_on(line, place_of.take) for line in lines]
        names = [f"{direction} {section_of[line[line >= 0][0]]}" for line in lines]
        return Plan("lines", direction, other, names, lines, columns)
    full = []
    for m in members:
        line = np.full(len(axis), -1, np.int32)
        line[np.searchsorted(axis, place_of[m])] = m
        full.append(line)
    return Plan("volume", direction, other, names, full, [axis] * len(full))


def _even(numbers: np.ndarray) -> np.ndarray:
    """Returns increasing numbers with those between them, unless these are more."""
    step = (
        int(np.gcd.reduce(np.diff(numbers.astype(np.int64)))) if len(numbers) > 1 else 1
    )
    length = (int(numbers[-1]) - int(numbers[0])) // max(step, 1) + 1
    if length > 2 * len(numbers):
        return numbers
    return int(numbers[0]) + step * np.arange(length)


def _trace_numbers(line: np.ndarray) -> np.ndarray:
    """Returns the number in the file, from 1, of each trace of a line.

    If they do not increase or decrease, the places on the line.
    """
    steps = np.diff(line)
    if (line >= 0).all() and ((steps > 0).all() or (steps < 0).all()):
        return line + 1
    return np.arange(1, len(line) + 1)
