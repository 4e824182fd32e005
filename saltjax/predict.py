"""--mode=predict: probabilities and masks for images and files of traces without masks."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

from saltjax.inference import chosen_lines, image_files, inputs, scaling, trace_files
from saltjax.inference import predictor as predictors
from saltjax.inference.cluster import Cluster
from saltjax.inference.inputs import Input
from saltjax.inference.predictor import Predictor
from saltjax.inference.request import Request
from saltjax.runs import settings, trained
from saltjax.scoring import postprocess
from saltjax.seismic import segy
from saltjax.system import console, devices, output_directory, signals
from saltjax.system.errors import InputError
from saltjax.system.output_directory import OutputDirectory

# How the names of pages end.
PAGE = "_report.html"
# Flags that a page shows by itself, or that do not change the result.
OF_THE_PAGE = ("threshold", "min_area", "report")


@dataclasses.dataclass(frozen=True)
class Flags:
    """The flags of the command line that have defaults.

    Attributes:
      threshold: at and above which a pixel is salt; None for the mean of the runs' thresholds.
      min_area: pixels, the minimum size of a component; None for the mean of the runs'.
      report: also write a page to look at the result with, NAME_report.html.
      tta: average with the mirror image; None for each run's `eval.tta`.
      header_bytes: first bytes of inline and crossline numbers in SEG-Y trace headers, as text;
        None for the first run's `data.header_bytes`.
      engine, precision: as in `predictor.load`.
      direction, normalize: other settings than the first run's `predict.direction` and
        `predict.normalize`.
      lines: segment only these lines of volumes, see `chosen_lines.parse`; None for all.
      scale: by how much the networks see sections stretched, see `scaling.parse`; None for not at all.
      bodies: of a section or volume, also write its salt bodies, see `body_files`.
      min_body: samples, the minimum size of such a body; None for any.
      scheduler: computes volumes on several machines, see `cluster`; None for this process.
    """

    threshold: float | None = None
    min_area: int | None = None
    report: bool = False
    tta: bool | None = None
    header_bytes: Sequence[str] | None = None
    engine: str = "jax"
    precision: str | None = None
    direction: str | None = None
    normalize: str | None = None
    lines: str | None = None
    scale: str | None = None
    bodies: bool = False
    min_body: int | None = None
    scheduler: str | None = None

    def given(self) -> list[str]:
        """Returns those that were given and change the result, but for threshold and minimum size."""
        found = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in OF_THE_PAGE or value == field.default:
                continue
            if isinstance(value, bool):
                found.append(f"--{field.name}" if value else f"--no{field.name}")
            elif isinstance(value, str | int):
                found.append(f"--{field.name}={value}")
            else:
                found.append(f"--{field.name}={','.join(value)}")
        return found


DEFAULTS = Flags()


def predict(
    workdirs: Sequence[pathlib.Path],
    source: str,
    output: str,
    flags: Flags = DEFAULTS,
) -> None:
    """Writes the probabilities and masks of inputs into a directory.

    Args:
      workdirs: one or more trained networks, each as `trained.locate` takes it, whose
        probabilities are averaged.
      source: the inputs, see `inputs.find`. Of several, one that cannot be segmented does not keep the
        others from it.
      output: the directory to write to.
      flags: what else is wanted.

    Raises:
      InputError: for a mistake in run, input or output.
    """
    if not source:
        raise InputError(f"--mode=predict needs --input; {inputs.EXPECTED}")
    if not output:
        raise InputError("--mode=predict needs --output; expected a directory")
    target = pathlib.Path(output)
    postprocess.check_given(flags.threshold, flags.min_area)
    found = inputs.find(source, output_directory.recorded(target))
    header_bytes = parse_header_bytes(flags.header_bytes, found, source)
    min_body = check_bodies(flags.bodies, flags.min_body, found)
    lines = None if flags.lines is None else chosen_lines.parse(flags.lines)
    scale = scaling.NONE if flags.scale is None else scaling.parse(flags.scale)
    if all(one.images for one in found):
        for name, value in (
            ("direction", flags.direction),
            ("normalize", flags.normalize),
            ("lines", flags.lines),
        ):
            if value is not None:
                raise InputError(
                    f"--{name}={value} is of sections and volumes; --input={source} is of images"
                )
        if flags.scheduler is not None:
            raise InputError(
                f"--scheduler={flags.scheduler} is of volumes; --input={source} is of images"
            )
    locations = [trained.locate(workdir) for workdir in workdirs]
    workers = None if flags.scheduler is None else Cluster(flags.scheduler)
    try:
        with (
            signals.Pause(0),
            output_directory.claim(target, "--output", found[0].path, PAGE) as claimed,
            workers or contextlib.nullcontext(),
            # Where workers compute, the devices of this machine are left to them.
            devices.on_the_cpu() if workers else contextlib.nullcontext(),
        ):
            train = locations[0].config.train
            if workers is None:
                devices.configure(
                    train.cpu_devices, train.batch_size, train.compile_cache
                )
            runs = [
                predictors.restore(place, flags.engine, flags.precision)
                for place in locations
            ]
            runs[0] = runs[0].with_settings(flags.direction, flags.normalize)
            if lines is not None and any(run.network.context for run in runs):
                raise InputError(
                    f"--lines={lines}: a network of several lines (data.context) needs the lines beside "
                    "them; expected one of a single line"
                )
            predictors.announce_synthetic(runs)
            if scale != scaling.NONE:
                console.say(f"Scale      {scale} of samples and traces")
            if flags.threshold is None:
                predictors.announce_tta(runs, flags.tta)
            wanted = Request(
                first=runs[0],
                runs=runs,
                models=[run.section_model(flags.tta, scale) for run in runs],
                periods={str(run.workdir): run.period for run in runs},
                chosen=predictors.common_postprocessing(
                    runs, flags.threshold, flags.min_area
                ),
                inputs=[path for one in found for path in one.images or (one.path,)],
                header_bytes=header_bytes,
                min_body=min_body,
                lines=lines,
                cluster=workers,
            )
            _predict_all(found, claimed, runs, wanted, flags)
    except signals.Stopped as stopped:
        stopped.advice = f"no file in {target} is incomplete; the same command starts again, and goes on with Zarr"
        raise


def _predict_all(
    found: Sequence[Input],
    claimed: OutputDirectory,
    runs: Sequence[Predictor],
    wanted: Request,
    flags: Flags,
) -> None:
    """Segments one input after the other, those after a failed one too."""
    failed = []
    for i, one in enumerate(found, 1):
        claimed.turn_to(one.path, [other.path for other in found])
        if len(found) == 1:
            _predict_one(one, claimed, runs, wanted, flags)
            return
        console.say(f"Input      {i} of {len(found)}: {one.path}")
        try:
            _predict_one(one, claimed, runs, wanted, flags)
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
    claimed: OutputDirectory,
    runs: Sequence[Predictor],
    wanted: Request,
    flags: Flags,
) -> None:
    """Segments an input of those of the command."""
    page = page_path(claimed.folder, one)
    others = [page] if flags.report else []
    if one.images:
        segmented = image_files.predict_images(
            one.images,
            one.path,
            claimed,
            wanted.models,
            wanted.chosen,
            wanted.inputs,
            others,
        )
    else:
        segmented = trace_files.predict(one.path, claimed, wanted, others)
    if flags.report:
        # Imported here, and with it the template library, since other predictions do without it.
        from saltjax import prediction_report

        prediction_report.write(
            page,
            claimed,
            one,
            runs,
            [run.computation(flags.tta, wanted.models[0].scale) for run in runs],
            segmented,
            wanted.chosen,
            flags.given(),
        )
    trace_files.refuse_damaged(segmented)


def first_input(output: str, source: str) -> Input:
    """Returns the first input of --input, as `predict` takes it."""
    results = output_directory.recorded(pathlib.Path(output))
    return inputs.find(source, results, announce=False)[0]


def page_path(output: str | pathlib.Path, one: Input) -> pathlib.Path:
    """Returns the page of an input in a directory of results."""
    return pathlib.Path(output) / f"{one.name}{PAGE}"


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
                "--bodies is of sections and volumes, .npy, .sgy, .segy, .zgy, .zarr or .mdio; "
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
