"""--mode=predict: probabilities and masks for images and files of traces without masks."""

import dataclasses
import pathlib
from collections.abc import Sequence

from saltjax.inference import chosen_lines, image_files, inputs, scaling, trace_files
from saltjax.inference import predictor as predictors
from saltjax.inference.chosen_lines import Lines
from saltjax.inference.inputs import Input
from saltjax.inference.predictor import Predictor
from saltjax.inference.scaling import Scale
from saltjax.runs import settings, trained
from saltjax.scoring import postprocess
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic import array_files, segy
from saltjax.system import console, devices, output_directory, signals
from saltjax.system.errors import InputError
from saltjax.system.output_directory import OutputDirectory

# How the names of pages end.
PAGE = "_report.html"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is wanted of a prediction, besides the networks and the input.

    Attributes:
      tta: average with the mirror image; None for each run's `eval.tta`.
      header_bytes: first bytes of inline and crossline numbers in SEG-Y trace headers; None for the
        first run's `data.header_bytes`.
      min_body: samples, the minimum size of a salt body; None for no bodies.
      lines: of volumes; None for all.
      scale: by how much the networks see sections stretched.
      report: also write a page to look at the result with, NAME_report.html.
      flags: those of the command line that change the result, but for threshold and minimum
        component size.
    """

    tta: bool | None
    header_bytes: tuple[int, ...] | None
    min_body: int | None
    lines: Lines | None
    scale: Scale
    report: bool
    flags: Sequence[str]


def predict(
    workdirs: Sequence[pathlib.Path],
    source: str,
    output: str,
    threshold: float | None,
    tta: bool | None,
    header_bytes: Sequence[str] | None = None,
    min_area: int | None = None,
    report: bool = False,
    engine: str = "jax",
    precision: str | None = None,
    bodies: bool = False,
    min_body: int | None = None,
    direction: str | None = None,
    normalize: str | None = None,
    lines: str | None = None,
    scale: str | None = None,
) -> None:
    """Writes the probabilities and masks of inputs into a directory.

    Args:
      workdirs: one or more trained networks, each as `trained.locate` takes it, whose
        probabilities are averaged.
      source: the inputs, see `inputs.find`. Of several, one that cannot be segmented does not keep the
        others from it.
      output: the directory to write to.
      threshold: at and above which a pixel is salt; None for the mean of the runs' thresholds.
      tta: average with the mirror image; None for each run's `eval.tta`.
      header_bytes: first bytes of inline and crossline numbers in SEG-Y trace headers, as text;
        None for the first run's `data.header_bytes`.
      min_area: pixels, the minimum size of a component; None for the mean of the runs'.
      report: also write a page to look at the result with, NAME_report.html.
      engine, precision: as in `predictor.load`.
      bodies: of a section or volume, also write its salt bodies, see `body_files`.
      min_body: samples, the minimum size of such a body; None for any.
      direction, normalize: other settings than the first run's `predict.direction` and
        `predict.normalize`.
      lines: segment only these lines of volumes, see `chosen_lines.parse`; None for all.
      scale: by how much the networks see sections stretched, see `scaling.parse`; None for not at all.

    Raises:
      InputError: for a mistake in run, input or output.
    """
    if not source or not output:
        raise InputError(
            f"--mode=predict needs --input and --output; {inputs.EXPECTED}"
        )
    target = pathlib.Path(output)
    postprocess.check_given(threshold, min_area)
    found = inputs.find(source, output_directory.recorded(target))
    wanted = Settings(
        tta,
        parse_header_bytes(header_bytes, found, source),
        check_bodies(bodies, min_body, found),
        None if lines is None else chosen_lines.parse(lines),
        scaling.NONE if scale is None else scaling.parse(scale),
        report,
        given_flags(
            tta,
            header_bytes,
            engine,
            precision,
            bodies,
            min_body,
            direction,
            normalize,
            lines,
            scale,
        ),
    )
    if all(one.images for one in found):
        for name, value in (
            ("direction", direction),
            ("normalize", normalize),
            ("lines", lines),
        ):
            if value is not None:
                raise InputError(
                    f"--{name}={value} is of sections and volumes; --input={source} is of images"
                )
    locations = [trained.locate(workdir) for workdir in workdirs]
    try:
        with (
            signals.Pause(0),
            output_directory.claim(target, "--output", found[0].path, PAGE) as claimed,
        ):
            train = locations[0].config.train
            devices.configure(train.cpu_devices, train.batch_size, train.compile_cache)
            runs = [predictors.restore(place, engine, precision) for place in locations]
            runs[0] = runs[0].with_settings(direction, normalize)
            if lines is not None and any(run.network.context for run in runs):
                raise InputError(
                    f"--lines={lines}: a network of several lines (data.context) needs the lines beside "
                    "them; expected one of a single line"
                )
            predictors.announce_synthetic(runs)
            chosen = predictors.common_postprocessing(runs, threshold, min_area)
            if threshold is None:
                predictors.announce_tta(runs, tta)
            _predict_all(found, claimed, runs, chosen, wanted)
    except signals.Stopped as stopped:
        stopped.advice = (
            f"no file in {target} is incomplete; the same command starts again"
        )
        raise


def _predict_all(
    found: Sequence[Input],
    claimed: OutputDirectory,
    runs: Sequence[Predictor],
    chosen: Postprocessing,
    wanted: Settings,
) -> None:
    """Segments one input after the other, those after a failed one too."""
    failed = []
    for i, one in enumerate(found, 1):
        claimed.turn_to(one.path, [other.path for other in found])
        if len(found) == 1:
            _predict_one(one, found, claimed, runs, chosen, wanted)
            return
        console.say(f"Input      {i} of {len(found)}: {one.path}")
        try:
            _predict_one(one, found, claimed, runs, chosen, wanted)
        except InputError as error:
            failed.append(one.path)
            console.say(f"Error      {error}")
    if failed:
        names = ", ".join(map(str, failed[:3])) + (", …" if len(failed) > 3 else "")
        raise InputError(
            f"{len(failed)} of {len(found)} inputs failed, see above: {names}"
        )


def _predict_one(
    one: Input,
    found: Sequence[Input],
    claimed: OutputDirectory,
    runs: Sequence[Predictor],
    chosen: Postprocessing,
    wanted: Settings,
) -> None:
    """Segments an input of those of the command."""
    models = [run.section_model(wanted.tta, wanted.scale) for run in runs]
    periods = [run.period for run in runs]
    page = page_path(claimed.folder, one)
    others = [page] if wanted.report else []
    read = [path for each in found for path in each.images or (each.path,)]
    if one.images:
        segmented = image_files.predict_images(
            one.images, one.path, claimed, models, chosen, read, others
        )
    elif one.path.suffix.lower() in array_files.SUFFIXES:
        segmented = trace_files.predict_array(
            one.path,
            claimed,
            runs[0],
            models,
            periods,
            chosen,
            read,
            others,
            wanted.min_body,
            wanted.lines,
        )
    else:
        segmented = trace_files.predict_segy(
            one.path,
            claimed,
            runs[0],
            models,
            periods,
            chosen,
            wanted.header_bytes,
            read,
            others,
            wanted.min_body,
            wanted.lines,
        )
    if wanted.report:
        # Imported here, and with it the template library, since other predictions do without it.
        from saltjax import prediction_report

        prediction_report.write(
            page,
            claimed,
            one,
            runs,
            wanted.tta,
            segmented,
            chosen,
            wanted.flags,
        )
    trace_files.refuse_damaged(segmented)


def first_input(output: str, source: str) -> Input:
    """Returns the first input of --input, as `predict` takes it."""
    results = output_directory.recorded(pathlib.Path(output))
    return inputs.find(source, results, announce=False)[0]


def page_path(output: str | pathlib.Path, one: Input) -> pathlib.Path:
    """Returns the page of an input in a directory of results."""
    return pathlib.Path(output) / f"{one.name}{PAGE}"


def given_flags(
    tta: bool | None,
    header_bytes: Sequence[str] | None,
    engine: str,
    precision: str | None,
    bodies: bool,
    min_body: int | None,
    direction: str | None,
    normalize: str | None,
    lines: str | None,
    scale: str | None,
) -> list[str]:
    """Returns the flags, besides threshold and minimum size, that were given and change the result."""
    flags = [] if tta is None else ["--tta" if tta else "--notta"]
    if header_bytes is not None:
        flags.append(f"--header_bytes={','.join(header_bytes)}")
    if engine != "jax":
        flags.append(f"--engine={engine}")
    if precision is not None:
        flags.append(f"--precision={precision}")
    flags += [f"--direction={direction}"] if direction else []
    flags += [f"--normalize={normalize}"] if normalize else []
    flags += [f"--lines={lines}"] if lines else []
    flags += [f"--scale={scale}"] if scale else []
    flags += ["--bodies"] if bodies else []
    flags += [f"--min_body={min_body}"] if min_body else []
    return flags


def check_bodies(
    bodies: bool, min_body: int | None, found: Sequence[Input]
) -> int | None:
    """Returns the minimum size of bodies; None if none are to be written.

    Raises:
      InputError: if there is a size and no --bodies, the size is negative, or an input is of images.
    """
    if not bodies:
        if min_body is not None:
            raise InputError(
                f"--min_body={min_body} is of --bodies, which is not given"
            )
        return None
    if min_body is not None and min_body < 0:
        raise InputError(
            f"--min_body={min_body}; expected a number of samples, at least 0"
        )
    for one in found:
        if one.images:
            raise InputError(
                "--bodies is of sections and volumes, .npy, .sgy, .segy or .zgy; "
                f"{one.images[0]} is an image"
            )
    return min_body or 0


def parse_header_bytes(
    given: Sequence[str] | None, found: Sequence[Input], source: str
) -> tuple[int, ...] | None:
    """Returns --header_bytes as integers; None if they are not given.

    Raises:
      InputError: if they are no header bytes, or no input is a SEG-Y file.
    """
    if given is None:
        return None
    numbers = tuple(
        int(b) if b.isascii() and b.isdecimal() and len(b) < 4 else 0 for b in given
    )
    flag = f"--header_bytes={','.join(given)}"
    if not settings.are_header_bytes(numbers):
        raise InputError(f"{flag}; {settings.HEADER_BYTES}")
    if not any(one.path.suffix.lower() in segy.SUFFIXES for one in found):
        raise InputError(f"{flag} is of SEG-Y files; --input={source} is none")
    return numbers
