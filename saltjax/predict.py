"""--mode=predict: probabilities and masks for images, arrays and SEG-Y files without masks."""

import pathlib
from collections.abc import Sequence

from saltjax.data import folder, image_file
from saltjax.inference import image_files, trace_files
from saltjax.inference import predictor as predictors
from saltjax.runs import settings, trained
from saltjax.scoring import postprocess
from saltjax.seismic import segy
from saltjax.seismic.grid import ZARR_SUFFIXES
from saltjax.system import devices, output_directory, signals
from saltjax.system.errors import InputError

# How the names of pages end.
PAGE = "_report.html"
EXPECTED = "expected an image (.png, .jpg, .tif), a directory of them, a .npy, or a .sgy or .segy file"


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
) -> None:
    """Writes the probabilities and masks of an input into a directory.

    Args:
      workdirs: one or more trained networks, each as `trained.locate` takes it, whose
        probabilities are averaged.
      source: an image, a directory of them, a .npy or a SEG-Y file.
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

    Raises:
      InputError: for a mistake in run, input or output.
    """
    if not source or not output:
        raise InputError(f"--mode=predict needs --input and --output; {EXPECTED}")
    path, target = pathlib.Path(source), pathlib.Path(output)
    postprocess.check_given(threshold, min_area)
    chosen_bytes = parse_header_bytes(header_bytes, path)
    suffix = find_suffix(path)
    smallest = check_bodies(bodies, min_body, suffix, path)
    locations = [trained.locate(workdir) for workdir in workdirs]
    try:
        with (
            signals.Pause(0),
            output_directory.claim(target, "--output", path, PAGE) as claimed,
        ):
            train = locations[0].config.train
            devices.configure(train.cpu_devices, train.batch_size, train.compile_cache)
            runs = [
                predictors.restore(location, engine, precision)
                for location in locations
            ]
            runs[0] = runs[0].with_settings(direction, normalize)
            predictors.announce_synthetic(runs)
            chosen = predictors.common_postprocessing(runs, threshold, min_area)
            if threshold is None:
                predictors.announce_tta(runs, tta)
            models = [run.section_model(tta) for run in runs]
            page = page_path(claimed.folder, path)
            others = [page] if report else []
            images: list[pathlib.Path] = []
            if suffix == ".npy":
                found = trace_files.predict_array(
                    path, claimed, runs[0], models, chosen, others, smallest
                )
            elif suffix in segy.SUFFIXES:
                found = trace_files.predict_segy(
                    path,
                    claimed,
                    runs[0],
                    models,
                    chosen,
                    chosen_bytes,
                    others,
                    smallest,
                )
            else:
                images = find_images(path)
                found = image_files.predict_images(
                    images, path, claimed, models, chosen, others
                )
            if report:
                # Imported here, and with it the template library, since other predictions do
                # without it.
                from saltjax import prediction_report

                prediction_report.write(
                    page,
                    claimed,
                    path,
                    images,
                    runs,
                    tta,
                    found,
                    chosen,
                    given_flags(
                        tta,
                        header_bytes,
                        engine,
                        precision,
                        smallest,
                        direction,
                        normalize,
                    ),
                )
            trace_files.refuse_damaged(found)
    except signals.Stopped as stopped:
        stopped.advice = (
            f"no file in {target} is incomplete; the same command starts again"
        )
        raise


def find_suffix(path: pathlib.Path) -> str:
    """Returns the suffix of the input in lower case, "" for a directory.

    Raises:
      InputError: if there is no such input, or it is of another kind than those in EXPECTED.
    """
    if path.suffix.lower() in ZARR_SUFFIXES:
        raise InputError(
            f"--input={path}: Zarr is read by training only; save the array as .npy, or the volume as "
            ".sgy"
        )
    if not path.exists():
        raise InputError(f"--input={path}: no such file or directory; {EXPECTED}")
    if path.is_dir():
        return ""
    if not path.is_file():  # opening a pipe would block
        raise InputError(f"--input={path}: neither a file nor a directory; {EXPECTED}")
    suffix = path.suffix.lower()
    if suffix not in (".npy", *image_file.FORMATS, *segy.SUFFIXES):
        raise InputError(f"--input={path}: {EXPECTED}")
    return suffix


def page_path(folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    """Returns the page in a directory of results, named after their input without its suffix."""
    name = path.stem if path.is_file() else path.resolve().name or "images"
    return folder / f"{name}{PAGE}"


def given_flags(
    tta: bool | None,
    header_bytes: Sequence[str] | None,
    engine: str,
    precision: str | None,
    min_body: int | None,
    direction: str | None,
    normalize: str | None,
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
    if min_body is not None:
        flags.append("--bodies")
        flags += [f"--min_body={min_body}"] if min_body else []
    return flags


def check_bodies(
    bodies: bool, min_body: int | None, suffix: str, path: pathlib.Path
) -> int | None:
    """Returns the minimum size of bodies; None if none are to be written.

    Raises:
      InputError: if there is a size and no --bodies, the size is negative, or the input is of images.
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
    if suffix not in (".npy", *segy.SUFFIXES):
        raise InputError(
            f"--bodies is of sections and volumes, .npy, .sgy or .segy; --input={path} is none"
        )
    return min_body or 0


def parse_header_bytes(
    given: Sequence[str] | None, path: pathlib.Path
) -> tuple[int, ...] | None:
    """Returns --header_bytes as integers; None if they are not given.

    Raises:
      InputError: if they are no header bytes, or `path` is no SEG-Y file.
    """
    if given is None:
        return None
    found = tuple(
        int(b) if b.isascii() and b.isdecimal() and len(b) < 4 else 0 for b in given
    )
    flag = f"--header_bytes={','.join(given)}"
    if not settings.are_header_bytes(found):
        raise InputError(f"{flag}; {settings.HEADER_BYTES}")
    if path.suffix.lower() not in segy.SUFFIXES:
        raise InputError(f"{flag} is of SEG-Y files; --input={path} is none")
    return found


def find_images(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the image, or those of a directory, sorted by id, or of its directory `images`."""
    if source.is_file():
        return [source]
    directory = source / "images" if (source / "images").is_dir() else source
    try:
        images, _ = image_file.find(directory)
    except OSError as error:
        raise InputError(
            f"--input={source}: cannot list {directory} ({error.strerror})"
        ) from None
    if not images:
        raise InputError(f"--input={source}: no images in {directory}; {EXPECTED}")
    folder.say_ignored(directory)
    # In the order of ids, as `evaluate` reads them: batches, and so the last bits, are the same.
    images.sort(key=lambda path: path.stem)
    ids = [path.stem for path in images]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise InputError(
            f"--input={source}: {directory} holds two images with the id {twice}"
        )
    return images
