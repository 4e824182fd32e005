"""The files of --bodies: salt bodies as a table and per sample, and top and base of salt."""

import contextlib
import csv
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from saltjax.inference import bodies as salt_bodies
from saltjax.inference.bodies import Bodies, Points
from saltjax.inference.volumes import Traces
from saltjax.seismic import sample_axis, segy, surfaces, trace_coordinates
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.seismic.trace_coordinates import Bins, Coordinates
from saltjax.system import console, output_directory
from saltjax.system.errors import InputError

# All whole numbers up to this are exact in the floating point formats of SEG-Y.
MAX_BODIES = 2**24
POINTS_AT_ONCE = 2**16
AXES = {"ms": "two-way time", "m": "depth", "ft": "depth"}
COLUMNS = (
    "id",
    "samples",
    "traces",
    "inline_min",
    "inline_max",
    "crossline_min",
    "crossline_max",
    "z_min",
    "z_max",
    "z_unit",
    "area",
    "area_unit",
    "volume",
    "volume_unit",
    "mean_probability",
)


@dataclasses.dataclass(frozen=True)
class Paths:
    """The files, or temporary paths of them: table, body of each sample, points, and surfaces."""

    table: pathlib.Path
    ids: pathlib.Path
    top: pathlib.Path
    base: pathlib.Path
    surfaces: tuple[pathlib.Path, ...] = ()

    def all(self) -> tuple[pathlib.Path, ...]:
        """Returns all of them."""
        return self.table, self.ids, self.top, self.base, *self.surfaces


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of the places of samples and traces.

    Attributes:
      name: of the input.
      volume: whether it is one; otherwise it is a section, or several.
      axis: of the samples.
      coordinates: of the traces; None if there are none.
      bins: the grid on the map of a volume, None if it is not known.
      spacing: the distance of the traces of a section, None if it is not known.
    """

    name: str
    volume: bool
    axis: SampleAxis
    coordinates: Coordinates | None = None
    bins: Bins | None = None
    spacing: float | None = None


@dataclasses.dataclass(frozen=True)
class Listed:
    """A body as pages show it.

    Attributes:
      row: its values by COLUMNS, "" where they are unknown.
      section: the index of the 2-D line that it lies in; 0 in a volume.
      inline, crossline, sample: the middle of it where it is thickest.
    """

    row: dict[str, Any]
    section: int
    inline: int
    crossline: int
    sample: int


def survey_of(name: str, source: segy.SegyTraces) -> Survey:
    """Returns what the headers of a SEG-Y file tell.

    Raises:
      InputError: if they cannot be read.
    """
    axis = sample_axis.read(source.name, source.layout)
    volume, known = source.geometry.volume, trace_coordinates.find(source)
    if known is None:
        return Survey(name, volume, axis)
    if volume:
        return Survey(name, True, axis, known, bins=trace_coordinates.bins(known))
    line = max(source.lines("inline"), key=len)
    spacing = trace_coordinates.spacing(known, line)
    return Survey(name, False, axis, known, spacing=spacing)


def paths(folder: pathlib.Path, path: pathlib.Path, survey: Survey) -> Paths:
    """Returns the files in a directory, named after the input.

    With surfio, those of a volume have surfaces among them; if they cannot be written, a line says why.
    """
    horizons = [folder / f"{path.stem}_{kind}_salt" for kind in ("top", "base")]
    top, base = (horizon.with_name(f"{horizon.name}.txt") for horizon in horizons)
    wanted = survey.volume and survey.coordinates and surfaces.are_available()
    if wanted and (problem := surfaces.problem(survey.bins)):
        console.say(f"Surfaces   none: {problem}")
        wanted = False
    return Paths(
        folder / f"{path.stem}_bodies.csv",
        folder / f"{path.stem}_bodies{path.suffix}",
        top,
        base,
        tuple(h.with_name(f"{h.name}.gri") for h in horizons if wanted),
    )


@contextlib.contextmanager
def opened(
    claimed: output_directory.OutputDirectory, wanted: Paths | None
) -> Iterator[Paths | None]:
    """Yields temporary paths that become the files at the end; None if none are wanted."""
    if wanted is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(claimed.write(p)) for p in wanted.all()]
        table, ids, top, base, *of_surfaces = parts
        yield Paths(table, ids, top, base, tuple(of_surfaces))


def write(
    parts: Paths,
    masks: Traces,
    probs: Traces,
    ids: Traces,
    survey: Survey,
    min_body: int,
) -> list[Listed]:
    """Writes all files, and says how many bodies there are.

    Args:
      parts: the temporary paths.
      masks, probs: what was written for the input.
      ids: where the body of each sample is written, of `parts.ids`.
      survey: the places of its traces and samples.
      min_body: samples; smaller bodies are dropped.

    Returns:
      The bodies, the largest first.

    Raises:
      InputError: if there are more bodies than a file can number, or a file cannot be read.
    """
    found = salt_bodies.find(masks, probs, min_body)
    if found.count > MAX_BODIES:
        raise InputError(
            f"{survey.name}: {found.count} salt bodies; at most {MAX_BODIES} can be numbered: give "
            "--min_body"
        )
    points = salt_bodies.write(masks, ids, found)
    rows = table(found, points, survey)
    with parts.table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for path, kind, samples in (
        (parts.top, "Top", points.top),
        (parts.base, "Base", points.base),
    ):
        write_points(path, kind, samples, points, masks, survey)
    if survey.bins and parts.surfaces:
        lines_of_points = masks.line_numbers(points.trace)
        for path, samples, merge in zip(
            parts.surfaces, (points.top, points.base), (np.fmin, np.fmax)
        ):
            z = survey.axis.first + survey.axis.step * samples
            surfaces.write(path, survey.bins, *lines_of_points, z, merge)
    dropped = f"; those under {min_body} samples left out" if min_body > 1 else ""
    largest = f", the largest of {rows[0]['samples']} samples" if rows else ""
    count = console.counted(found.count, "salt body")
    console.say(f"Bodies     {count}{largest}{dropped}")
    return _listed(rows, points, masks)


def table(bodies: Bodies, points: Points, survey: Survey) -> list[dict[str, Any]]:
    """Returns the values by COLUMNS of each body, "" where they are unknown.

    In a volume, `area` is that on the map, and `volume` the samples times the area of a bin and the
    sampling interval. In a section `area` is that in the section, and there is no volume.

    Args:
      bodies, points: as found.
      survey: the places of traces and samples.
    """
    axis, extents, bins = survey.axis, bodies.extents, survey.bins
    length = survey.coordinates.unit if survey.coordinates else ""
    known = axis.unit != "sample"
    rows = []
    for i, traces in enumerate(np.diff(points.starts).tolist()):
        samples, low, high = int(extents.samples[i]), extents.low[i], extents.high[i]
        area = volume = area_unit = volume_unit = ""
        if bins:
            area, area_unit = _shown(traces * bins.area), length and f"{length}2"
            if known:
                volume = _shown(samples * bins.area * axis.step)
                volume_unit = _product(length, 2, axis.unit)
        elif survey.spacing and known:
            area = _shown(samples * survey.spacing * axis.step)
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
        rows.append(dict(zip(COLUMNS, values)))
    return rows


def write_points(
    path: pathlib.Path,
    kind: str,
    samples: np.ndarray,
    points: Points,
    masks: Traces,
    survey: Survey,
) -> None:
    """Writes horizon points: inline, crossline, x and y if they are known, and time or depth.

    Args:
      path: the text file.
      kind: "Top" or "Base".
      samples: int[n], of each point.
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
    with path.open("w", encoding="utf-8") as file:
        file.write(
            f"# {kind} of salt in {survey.name}: {console.counted(len(samples), 'point')} of {count}, "
            f"those of body 1 first\n# {names}\n"
        )
        for start in range(0, len(samples), POINTS_AT_ONCE):
            part = slice(start, start + POINTS_AT_ONCE)
            numbers = points.trace[part]
            values = [*masks.line_numbers(numbers)]
            if known:
                values += [*known.read(numbers).T]
            values.append(axis.first + axis.step * samples[part])
            np.savetxt(file, np.stack(values, 1), formats)


def _listed(rows: list[dict[str, Any]], points: Points, masks: Traces) -> list[Listed]:
    section = np.zeros(masks.count, np.int32)
    for i, grid in enumerate(masks.grids()):
        section[grid[grid >= 0]] = i
    found = []
    for i, row in enumerate(rows):
        point = points.thickest(i)
        trace = points.trace[point]
        inline, crossline = masks.line_numbers(np.array([trace]))
        middle = (int(points.top[point]) + int(points.base[point])) // 2
        found.append(
            Listed(row, int(section[trace]), int(inline[0]), int(crossline[0]), middle)
        )
    return found


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
