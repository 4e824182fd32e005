"""The end of predict with --report: a page of what was read and written."""

import pathlib
import shlex
from collections.abc import Sequence

import numpy as np

from saltjax.inference import volumes
from saltjax.inference.inputs import Input
from saltjax.inference.masks import Segmented
from saltjax.inference.predictor import Predictor
from saltjax.reporting import image_sections, section_report, trace_sections
from saltjax.reporting.sections import Contents
from saltjax.runs import environment
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic import array_files, segy
from saltjax.system import console, files, output_directory


def write(
    page: pathlib.Path,
    claimed: output_directory.OutputDirectory,
    source: Input,
    runs: Sequence[Predictor],
    computations: Sequence[str],
    found: Segmented,
    chosen: Postprocessing,
    flags: Sequence[str],
) -> None:
    """Writes the page of a prediction.

    Args:
      page: its path.
      claimed: the directory that it lies in.
      source: the input.
      runs: the networks.
      computations: in words how each network computed, see `Predictor.computation`.
      found: what was written.
      chosen: threshold and minimum component size.
      flags: others that were given and change the result.

    Raises:
      InputError: if input or results cannot be read, or the page not be written.
    """
    path, places = (
        source.path.resolve(),
        [str(run.workdir.resolve()) for run in runs],
    )
    command = [
        f"--workdir={','.join(places)}",
        source.flag,
        f"--output={claimed.folder.resolve()}",
        *flags,
        "--report",
    ]
    prediction = section_report.Prediction(
        name=path.name,
        source=str(path),
        networks=list(zip(places, computations)),
        command=f"{environment.program()} --mode=predict {shlex.join(command)}",
        chosen=chosen,
        share=found.share,
        synthetic=any(run.result.data.source == "synthetic" for run in runs),
        bodies=found.bodies.largest if found.bodies else None,
        body_count=found.bodies.count if found.bodies else 0,
    )
    if source.images:
        contents = image_sections.of_files(source.images, found.probs)
    else:
        contents = of_traces(found, runs[0])
    text = section_report.render(contents, prediction)
    files.write_text(page, text, claimed.write)
    console.say(f"Report     {page}")


def of_traces(found: Segmented, first: Predictor) -> Contents:
    """Returns what the page shows of a .npy, ZGY or SEG-Y file."""
    source = found.source
    assert source is not None
    probs: volumes.Traces
    if isinstance(source, segy.SegyTraces):
        probs = segy.reopen(found.probs, source)
    else:
        probs, image = array_files.read(found.probs), source.image()
        if image is not None:
            return image_sections.of_array(image, probs.read(np.arange(probs.count)).T)
    assert found.scaling is not None
    direction = volumes.passes(first.direction)[0]
    return trace_sections.of_traces(source, probs, direction, *found.scaling)
