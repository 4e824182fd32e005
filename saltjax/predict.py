"""Salt marked in images, arrays and SEG-Y files that have no masks."""

import contextlib
import csv
import io
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax.data import png, rle
from saltjax.data import tiles as data
from saltjax.inference import predictor as trained
from saltjax.inference import volumes
from saltjax.inference import windows as sections
from saltjax.scoring import postprocess as masks
from saltjax.seismic import npy as arrays
from saltjax.seismic import segy
from saltjax.system import console, devices, files, signals
from saltjax.system.errors import InputError, writing
from saltjax.training import steps

SEGY_SUFFIXES = (".sgy", ".segy")
EXPECTED = "expected a .png, a folder of them, a .npy, or a .sgy or .segy file"


def predict(
    workdirs: Sequence[pathlib.Path],
    source: str,
    output: str,
    threshold: float | None,
    tta: bool | None,
) -> None:
    """Writes the probabilities and masks of an input into a folder.

    Args:
      workdirs: the folders of one or more runs, whose probabilities are averaged.
      source: a PNG, a folder of them, a .npy or a SEG-Y file.
      output: the folder to write to.
      threshold: where a pixel is salt; None for the mean of the runs' thresholds.
      tta: average with the mirror image; None as each run's config says.

    Raises:
      InputError: for a mistake in run, input or output.
    """
    if not source or not output:
        raise InputError(f"--mode=predict needs --input and --output; {EXPECTED}")
    path, folder = pathlib.Path(source), pathlib.Path(output)
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold={threshold}; expected a probability, 0 to 1")
    if not path.exists():
        raise InputError(f"--input={path}: there is no such file or folder; {EXPECTED}")
    if not (path.is_dir() or path.is_file()):  # to open a pipe would wait for ever
        raise InputError(f"--input={path}: neither a file nor a folder; {EXPECTED}")
    devices.configure(trained.read_config(workdirs[0]).train)
    runs = [trained.load(workdir) for workdir in workdirs]
    rule = trained.common_rule(runs, threshold)
    predictors = [network.predictor(tta) for network in runs]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with signals.Pause(0):
            suffix = path.suffix.lower()
            if suffix == ".npy":
                predict_array(path, folder, runs, predictors, rule)
            elif suffix in SEGY_SUFFIXES:
                predict_segy(path, folder, runs, predictors)
            elif path.is_dir() or suffix == ".png":
                predict_images(path, folder, predictors, rule)
            else:
                raise InputError(f"--input={path}: {EXPECTED}")
    except signals.Stopped as stopped:
        stopped.advice = (
            f"nothing in {folder} is half written; the same command begins anew"
        )
        raise


def predict_array(path, folder, runs, predictors, rule) -> None:
    """Writes <name>_prob.npy, float32, and <name>_mask.npy, uint8, of the input's shape."""
    source, settings = arrays.read(path), runs[0].config.predict
    prob_path, mask_path = (folder / f"{path.stem}_{n}.npy" for n in ("prob", "mask"))
    with (
        files.written_aside(prob_path) as prob_part,
        files.written_aside(mask_path) as mask_part,
    ):
        sink = arrays.create(prob_part, source.shape, "float32")
        volumes.mark(source, sink, predictors, settings.normalize, settings.direction)
        marked = arrays.create(mask_part, source.shape, "uint8")
        salt = 0
        for line in sink.lines("inline"):
            mask = masks.salt_mask(sink.read(line).T[None], rule)[0].T
            marked.write(line, mask)
            salt += int(mask.sum())
    share = salt / (source.count * source.samples)
    console.say(f"Salt       in {share:.1%} of the samples, at {rule.threshold:.3f}")
    console.say(f"Written    {prob_path}, {mask_path.name}")


def predict_segy(path, folder, runs, predictors) -> None:
    """Writes <name>_prob.sgy, every header and trace position as in the input."""
    source, settings = segy.SegyTraces(path), runs[0].config.predict
    new = folder / f"{path.stem}_prob{path.suffix}"
    with contextlib.closing(source), files.written_aside(new) as part:
        layout = segy.copy_headers(path, part)
        with contextlib.closing(segy.SegyTraces(part, "r+")) as sink:
            lines = len(source.lines(settings.direction.replace("both", "inline")))
            console.say(
                f"SEG-Y      {source.count} traces of {source.samples} samples in {lines} line(s)"
            )
            volumes.mark(
                source, sink, predictors, settings.normalize, settings.direction
            )
    console.say(f"Written    {new}")
    if layout.format != source.layout.format:
        console.say(
            f"           Its samples are IEEE floats (format {layout.format} in bytes 3225-3226); the "
            f"input's format {source.layout.format} cannot hold probabilities. All other headers are "
            "the input's."
        )


def predict_images(path, folder, predictors, rule) -> None:
    """Writes probs/<id>.png, masks/<id>.png and, when all are done, submission.csv."""
    refuse_clash(path, folder)
    paths = find_images(path)
    _, problems = data.read_files(paths, _check_image, "Checking")
    if problems:
        raise data.bad_files(problems, paths[0].parent)
    submission = folder / "submission.csv"
    with writing(folder):
        for name in ("probs", "masks"):
            (folder / name).mkdir(exist_ok=True)
        # With it the folder is complete, so it goes first and comes last.
        submission.unlink(missing_ok=True)
    images = itertools.tee(volumes.read_ahead(_read_image, paths), len(predictors))
    streams = [sections.predict_sections(s, p) for s, p in zip(images, predictors)]
    codes = {}
    with console.Bar("Marking", len(paths), "images") as bar, writing(folder):
        for image, probs in zip(paths, zip(*streams)):
            sixteen = np.uint16(np.rint(np.mean(probs, axis=0) * steps.MAX_UINT16))
            # The mask is what the written probabilities give.
            prob = np.float32(sixteen) / steps.MAX_UINT16
            mask = masks.salt_mask(prob[None], rule)[0]
            png.write(folder / f"probs/{image.stem}.png", sixteen)
            png.write(folder / f"masks/{image.stem}.png", np.uint8(mask) * 255)
            codes[image.stem] = rle.encode(mask)
            bar.advance(1)
    files.write_text(submission, submission_text(codes))
    salt = sum(code != "" for code in codes.values())
    console.say(f"Salt       in {salt} of {len(codes)} images, at {rule.threshold:.3f}")
    console.say(f"Written    {folder}: probs, masks, submission.csv")


def refuse_clash(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Raises InputError if what is written could take the place of tiles or their masks."""
    source, folder = source.resolve(), folder.resolve()
    inside = source.is_dir() and (source in folder.parents or folder in source.parents)
    if inside or source == folder or (folder / "images").exists():
        raise InputError(
            f"--output={folder}: images lie there or beside it, and masks/ would take the place of "
            "their masks; choose a folder of its own"
        )


def find_images(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the PNG, or the sorted PNGs of a folder or of its folder `images`."""
    if source.is_file():
        return [source]
    folder = source / "images" if (source / "images").is_dir() else source
    try:
        # Hidden files are the system's, not the user's.
        paths = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"--input={source}: cannot list {folder} ({error.strerror})"
        ) from None
    found = [p for p in paths if p.suffix.lower() == ".png"]
    if found and len(found) < len(paths):
        console.say(
            f"{len(paths) - len(found)} files in {folder} are no *.png: left out"
        )
    ids = [p.stem for p in found]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise InputError(f"--input={source}: {folder} holds two images called {twice}")
    if not found:
        raise InputError(f"--input={source}: no *.png in {folder}; {EXPECTED}")
    return found


def _check_image(path: pathlib.Path) -> None:
    if not data.is_utf8(path.name):
        raise ValueError("its name is not UTF-8")
    png.read_image(path)


def _read_image(path: pathlib.Path) -> np.ndarray:
    """Returns float32[H, W, 1 or 3] in [0, 1]; grey images have one channel."""
    try:
        image = png.read_image(path)
    except ValueError as error:
        raise data.bad_files([(path, str(error))], path.parent) from None
    if (image == image[:, :, :1]).all():
        image = image[:, :, :1]
    return image.astype(np.float32) / 255


def submission_text(codes: dict[str, str]) -> str:
    """Returns submission.csv for the run-length codes of masks by their ids."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "rle_mask"))
    writer.writerows(codes.items())
    return text.getvalue()
