"""The files of --bodies: salt bodies as a table and per sample, and top and base of salt."""

import contextlib
import csv
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from saltjax.inference import bodies as salt_bodies
from saltjax.inference.bodies import Bodies, Points
from saltjax.inference.volumes import Traces
from saltjax.seismic import npy, segy, surfaces, trace_coordinates
from saltjax.seismic.grid_traces import ArrayCoordinates, GridCoordinates, GridTraces
from saltjax.seismic.salt_body import COLUMNS, SaltBody
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.seismic.trace_coordinates import Bins, Coordinates
from saltjax.system import console, output_directory
from saltjax.system.errors import InputError

# All whole numbers up to this are exact in the floating point formats of SEG-Y.
MAX_BODIES = 2**24
# Of the largest bodies, which a page lists.
MAX_LISTED = 200
POINTS_AT_ONCE = 2**16
AXES = {"ms": "two-way time", "m": "depth", "ft": "depth"}


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of the places of samples and traces.

    Attributes:
      name: of the input.
      volume: whether it is one; otherwise it is a section, or several.
      axis: of the samples.
      coordinates: of the traces; None if there are none.
      bins: the grid on the map of a volume, None if it is not known.
      spacings: the distance of the traces of each section, None where it is not known.
    """

    name: str
    volume: bool
    axis: SampleAxis
    coordinates: Coordinates | GridCoordinates | ArrayCoordinates | None = None
    bins: Bins | None = None
    spacings: tuple[float | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written of the bodies of an input.

    Attributes:
      survey: the places of its traces and samples.
      min_body: samples; smaller bodies are dropped.
      table, ids: the table, and the file with the body of each sample.
      points: the horizon points of top and base of salt.
      surfaces: their surfaces, if they are written.
    """

    survey: Survey
    min_body: int
    table: pathlib.Path
    ids: pathlib.Path
    points: tuple[pathlib.Path, pathlib.Path]
    surfaces: tuple[pathlib.Path, ...]

    @property
    def paths(self) -> list[pathlib.Path]:
        """All files."""
        return [self.table, self.ids, *self.points, *self.surfaces]


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
      count: of the bodies.
      largest: the largest of them, at most MAX_LISTED.
    """

    count: int
    largest: list[SaltBody]


def survey_of(name: str, source: Traces, whole: Traces | None = None) -> Survey:
    """Returns what the headers of a file tell; those of .npy tell nothing.

    Args:
      name: of the file.
      source: its traces.
      whole: if these are some of its lines, all of them, whose grid they lie on.

    Raises:
      InputError: if they cannot be read.
    """
    if isinstance(source, GridTraces):
        places = source.coordinates()
        return Survey(name, True, source.axis, places, places.bins if places else None)
    if isinstance(source, npy.ArrayTraces):
        volume = len(source.shape) == 3 and source.image() is None
        return Survey(name, volume, source.axis)
    axis = source.axis
    volume, known = source.geometry.volume, trace_coordinates.find(source)
    if known is None:
        return Survey(name, volume, axis)
    if volume:
        every = known
        if isinstance(whole, segy.SegyTraces):
            every = trace_coordinates.find(whole) or known
        return Survey(name, True, axis, known, bins=trace_coordinates.bins(every))
    lines = source.lines("inline")
    spacings = tuple(trace_coordinates.spacing(known, line) for line in lines)
    return Survey(name, False, axis, known, spacings=spacings)


def plan(
    folder: pathlib.Path, stem: str, suffix: str, survey: Survey, min_body: int
) -> Plan:
    """Returns what is written into a directory, see `possible_paths`.

    With surfio, those of a volume have surfaces among them; if they cannot be written, a line says why.
    """
    wanted = survey.volume and surfaces.are_available()
    if wanted:
        problem = "the file has no coordinates"
        if survey.coordinates:
            problem = surfaces.problem(survey.bins)
        if problem:
            console.say(f"Surfaces   none: {problem}")
            wanted = False
    table, ids, top, base, *others = possible_paths(folder, stem, suffix)
    chosen = tuple(others) if wanted else ()
    return Plan(survey, min_body, table, ids, (top, base), chosen)


def possible_paths(folder: pathlib.Path, stem: str, suffix: str) -> list[pathlib.Path]:
    """Returns all files that may be written for an input: table, ids, points and surfaces.

    Args:
      folder: the directory.
      stem: what their names begin with.
      suffix: of the files of traces.
    """
    horizons = [f"{stem}_{kind}_salt" for kind in ("top", "base")]
    names = [f"{stem}_bodies.csv", f"{stem}_bodies{suffix}"]
    names += [f"{horizon}{end}" for end in (".txt", ".gri") for horizon in horizons]
    return [folder / name for name in names]


def write(
    wanted: Plan,
    claimed: output_directory.OutputDirectory,
    masks: Traces,
    probs: Traces,
    create: Callable[[pathlib.Path], contextlib.AbstractContextManager[Traces]],
) -> Found:
    """Writes all files, and says how many bodies there are.

    Args:
      wanted: what is written.
      claimed: the directory.
      masks, probs: what was written for the input.
      create: yields new traces in a file, for the body of each sample.

    Raises:
      InputError: if there are more bodies than a file can number, or a file cannot be read or written.
    """
    found = salt_bodies.find(masks, probs, wanted.min_body)
    if found.count > MAX_BODIES:
        raise InputError(
            f"{wanted.survey.name}: {found.count} salt bodies; at most {MAX_BODIES} can be numbered: "
            "give --min_body. Probabilities and mask are written"
        )
    with claimed.write(wanted.ids) as part, create(part) as sink:
        points = salt_bodies.write(masks, sink, found)
    section = _sections(masks)
    with (
        claimed.write(wanted.table) as part,
        part.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows(found, points, wanted.survey, section))
    with (
        claimed.write(wanted.points[0]) as top,
        claimed.write(wanted.points[1]) as base,
    ):
        write_points((top, base), points, masks, wanted.survey)
    if wanted.survey.bins and wanted.surfaces:
        placed = masks.placed(points.trace)  # padding has no place on the grid
        numbers = masks.line_numbers(points.trace[placed])
        for path, samples, merge in zip(
            wanted.surfaces, (points.top, points.base), (np.fmin, np.fmax)
        ):
            z = wanted.survey.axis.first + wanted.survey.axis.step * samples[placed]
            with claimed.write(path) as part:
                surfaces.write(part, wanted.survey.bins, *numbers, z, merge)
    largest = [
        _look(row, i, points, section, masks)
        for i, row in enumerate(
            itertools.islice(rows(found, points, wanted.survey, section), MAX_LISTED)
        )
    ]
    _say(found, wanted.min_body)
    return Found(found.count, largest)


def rows(
    bodies: Bodies, points: Points, survey: Survey, section: np.ndarray
) -> Iterator[dict[str, Any]]:
    """Yields the values by COLUMNS of each body, "" where they are unknown.

    In a volume, `area` is that on the map, and `volume` the samples times the area of a bin and the
    sampling interval. In a section `area` is that in the section, and there is no volume.

    Args:
      bodies, points: as found.
      survey: the places of traces and samples.
      section: int[traces], the section of each trace.
    """
    axis, extents, bins = survey.axis, bodies.extents, survey.bins
    length = survey.coordinates.unit if survey.coordinates else ""
    known = axis.unit != "sample"
    for i, traces in enumerate(np.diff(points.starts).tolist()):
        samples, low, high = int(extents.samples[i]), extents.low[i], extents.high[i]
        area = volume = area_unit = volume_unit = ""
        spacing = None
        if survey.spacings:
            spacing = survey.spacings[section[points.trace[points.starts[i]]]]
        if bins:
            area, area_unit = _shown(traces * bins.area), length and f"{length}2"
            if known:
                volume = _shown(samples * bins.area * axis.step)
                volume_unit = _product(length, 2, axis.unit)
        elif spacing and known:
            area = _shown(samples * spacing * axis.step)
            area_unit = _product(length, 1, axis.unit)
        values = (
            i + 1,
            samples,
            traces,
            int(low[0]),
            int(high[0]),
            int(low[1]),
            int(high[1]),
            _shown(axis.first + axis.step * int(low[2])),
            _shown(axis.first + axis.step * int(high[2])),
            axis.unit,
            area,
            area_unit,
            volume,
            volume_unit,
            f"{extents.total[i] / samples:.4f}",
        )
        yield dict(zip(COLUMNS, values))


def write_points(
    paths: tuple[pathlib.Path, pathlib.Path],
    points: Points,
    masks: Traces,
    survey: Survey,
) -> None:
    """Writes horizon points: inline, crossline, x and y if they are known, and time or depth.

    Args:
      paths: the text files of top and base.
      points: the points.
      masks: has the line numbers of traces.
      survey: the places of traces and samples.
    """
    axis, known = survey.axis, survey.coordinates
    unit = f" ({known.unit})" if known and known.unit else ""
    columns = [f"x{unit}", f"y{unit}"] if known else []
    z = f"{AXES[axis.unit]} ({axis.unit})" if axis.unit in AXES else "sample"
    names = ", ".join(("inline", "crossline", *columns, z))
    formats = ["%d", "%d", *["%.10g"] * (len(columns) + 1)]
    count = console.counted(len(points.starts) - 1, "salt body")
    many = console.counted(len(points.trace), "point")
    name = "".join(c if c.isprintable() else "?" for c in survey.name)
    with (
        # A name that is not UTF-8 is no reason to fail.
        paths[0].open("w", encoding="utf-8", errors="replace") as top,
        paths[1].open("w", encoding="utf-8", errors="replace") as base,
    ):
        for file, kind in ((top, "Top"), (base, "Base")):
            file.write(
                f"# {kind} of salt in {name}: {many} of {count}, those of body 1 first\n"
                f"# {names}\n"
            )
        for start in range(0, len(points.trace), POINTS_AT_ONCE):
            part = slice(start, start + POINTS_AT_ONCE)
            numbers = points.trace[part]
            place = [*masks.line_numbers(numbers)]
            if known:
                place += [*known.read(numbers).T]
            for file, samples in ((top, points.top), (base, points.base)):
                values = [*place, axis.first + axis.step * samples[part]]
                np.savetxt(file, np.stack(values, 1), formats)


def _sections(masks: Traces) -> np.ndarray:
    """Returns int32[traces], the index of the grid that each trace lies in."""
    section = np.zeros(masks.count, np.int32)
    for i, grid in enumerate(masks.grids()):
        section[grid[grid >= 0]] = i
    return section


def _look(
    row: dict[str, Any], i: int, points: Points, section: np.ndarray, masks: Traces
) -> SaltBody:
    """Returns body i, counted from 0, with the middle of its thickest place."""
    point = points.thickest(i)
    trace = points.trace[point]
    inline, crossline = masks.line_numbers(np.array([trace]))
    middle = (int(points.top[point]) + int(points.base[point])) // 2
    return SaltBody(row, int(section[trace]), int(inline[0]), int(crossline[0]), middle)


def _say(found: Bodies, min_body: int) -> None:
    dropped = f"; those under {min_body} samples left out" if min_body > 1 else ""
    sizes = found.extents.samples
    largest = f", the largest of {sizes[0]} samples" if found.count else ""
    largest = f" of {sizes[0]} samples" if found.count == 1 else largest
    count = console.counted(found.count, "salt body")
    console.say(f"Bodies     {count}{largest}{dropped}")


def _product(length: str, power: int, unit: str) -> str:
    """Returns the unit of a length to a power times a time or depth; "" if the length's is unknown."""
    if not length:
        return ""
    if length == unit:
        return f"{length}{power + 1}"
    return f"{length}{power if power > 1 else ''} {unit}"


def _shown(value: float) -> str:
    """Returns a number to six digits, without an exponent, which some programs do not read."""
    return np.format_float_positional(value, 6, fractional=False, trim="-")
