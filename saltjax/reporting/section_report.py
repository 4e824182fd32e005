"""The page of a prediction: sections with their probabilities over the amplitudes."""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np

from saltjax.reporting import html
from saltjax.reporting.sections import Contents, Section
from saltjax.runs import environment
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic.salt_body import SaltBody
from saltjax.system import console

STYLES = ("page.css", "section.css")
SCRIPTS = (
    "common.js",
    "arrays.js",
    "masks.js",
    "colors.js",
    "slices.js",
    "viewer.js",
    "choice.js",
    "list.js",
    "section.js",
)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the page says of a prediction.

    Attributes:
      name: of the input.
      source: its path.
      networks: the runs or network files, and how each computed its probabilities.
      command: that repeats the prediction, without threshold and minimum component size.
      chosen: these two.
      share: of salt, as the program printed it.
      synthetic: whether a network has seen no real data.
      bodies: the largest salt bodies, the largest first; None if they were not written.
      body_count: how many there are.
    """

    name: str
    source: str
    networks: list[tuple[str, str]]
    command: str
    chosen: Postprocessing
    share: float
    synthetic: bool
    bodies: Sequence[SaltBody] | None = None
    body_count: int = 0


def render(contents: Contents, prediction: Prediction) -> str:
    """Returns the text of the page."""
    shown = contents.sections
    now = datetime.datetime.now(datetime.UTC)
    data = {
        "kind": contents.kind,
        "sections": [_describe(section) for section in shown],
        "along": contents.along,
        "across": contents.across,
        "rows": dataclasses.asdict(contents.rows),
        "steps": contents.steps,
        "limits": contents.limits and dataclasses.astuple(contents.limits),
        "chosen": {
            "threshold": prediction.chosen.threshold,
            "minArea": prediction.chosen.min_area,
            "share": prediction.share,
        },
        "command": html.text(prediction.command),
    }
    return html.render(
        "section.html",
        STYLES,
        SCRIPTS,
        name=prediction.name,
        prediction=prediction,
        source=prediction.source,
        networks=prediction.networks,
        summary=summary(contents),
        thinned=thinned(contents),
        contents=contents,
        bodies=[(body.row, places(contents, body)) for body in prediction.bodies or ()],
        data=data,
        version=environment.version(),
        written=now.strftime("%Y-%m-%d %H:%M:%S UTC"),
        grey=html.pack_pictures(section.grey for section in shown),
        prob=html.pack_uint16(np.concatenate([s.prob.ravel() for s in shown])),
        live=html.pack(np.concatenate([s.live for s in shown]).tobytes()),
    )


def places(contents: Contents, body: SaltBody) -> list[int] | None:
    """Returns the slices that show a body: of each direction of a volume, or the section.

    Indices are those of what the page holds; the nearest, where that is only a part of the volume.
    None if the page does not hold the line of the body.
    """
    sections = contents.sections
    if contents.kind == "volume":
        along, across = body.inline, body.crossline
        if contents.along == "crossline":
            along, across = across, along
        numbers = np.array([int(section.name) for section in sections])
        row = min(body.sample // contents.steps[2], sections[0].grey.shape[0] - 1)
        return [
            int(np.abs(numbers - along).argmin()),
            int(np.abs(sections[0].columns - across).argmin()),
            row,
        ]
    if len(sections) == 1:
        return [0]
    number = {"inline": body.inline, "crossline": body.crossline}.get(contents.along)
    name = f"line {body.section + 1}"
    if number is not None:
        name = f"{contents.along} {number}"
    names = [section.name for section in sections]
    return [names.index(name)] if name in names else None


def _describe(section: Section) -> dict[str, Any]:
    """Returns what the script is told of a section; of columns at even distances, first and step."""
    columns: Any = section.columns.tolist()
    steps = set(np.diff(section.columns).tolist())
    if len(steps) < 2:
        columns = {"first": columns[0], "step": min(steps, default=1)}
    height, width = section.grey.shape
    name = html.text(section.name)
    return {"name": name, "height": height, "width": width, "columns": columns}


def summary(contents: Contents) -> str:
    """Returns what the page shows, in a few words."""
    first, count = contents.sections[0], len(contents.sections)
    height, width = first.grey.shape
    if contents.kind == "images":
        one = f"one image of {width}×{height} pixels"
        return one if count == 1 else console.counted(count, "image")
    if contents.kind == "lines" and count > 1:
        return console.counted(count, "line")
    samples = console.counted(height, "sample")
    if contents.kind == "lines":
        return f"one line of {console.counted(width, 'trace')} × {samples}"
    along, across = (
        console.counted(count, contents.along),
        console.counted(width, contents.across),
    )
    return f"a volume of {along} × {across} × {samples}"


def thinned(contents: Contents) -> str:
    """Returns how the page was made smaller than the input; "" if it holds all of it."""
    section_step, *steps = contents.steps
    images, volume = contents.kind == "images", contents.kind == "volume"
    noun = "image" if images else "line"
    lost = []
    if not volume and section_step > 1:
        count = len(contents.sections)
        lost.append(f"{count} of {contents.total} {noun}s, evenly spaced")
    parts = [("column", "row")] if images else [(contents.across, "sample")]
    named = list(zip(steps, parts[0]))
    if volume:
        named.insert(0, (round(section_step), contents.along))
    lost += [f"one {part} in {step}" for step, part in named if step > 1]
    if not lost:
        return ""
    listed = " and ".join(filter(None, (", ".join(lost[:-1]), lost[-1])))
    text = f"So that this file stays small, it holds {listed}"
    if steps[1] > 1 and not images:
        text += f"; amplitudes are means of {steps[1]} samples"
    text += ". The files that were written hold everything."
    if max(steps) > 1:
        text += " Shares of salt and minimum component sizes are therefore approximate here."
    return text
