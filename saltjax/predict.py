"""Salt marked in images that have no masks."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax import (
    console,
    data,
    devices,
    explore,
    masks,
    pipeline,
    png,
    rle,
    run,
    scoring,
    steps,
    trained,
)
from saltjax.errors import InputError, writing

# Tiles in memory at a time: some 100 MB with their probabilities.
TILES_AT_ONCE = 512


def predict(
    workdir: pathlib.Path,
    source: str,
    output: str,
    threshold: float | None,
    tta: bool | None,
) -> None:
    """Writes probabilities, masks and submission.csv for a PNG or a folder of PNGs.

    Args:
      workdir: the run's folder.
      source: the PNG or the folder; PNGs may also lie in its folder `images`.
      output: the folder to write to.
      threshold: where a pixel is salt; None for the run's.
      tta: average each tile with its mirror image; None as the run's config says.

    Raises:
      InputError: for a mistake in run, input or output.
    """
    if not source or not output:
        raise InputError(
            "--mode=predict needs --input, a PNG or a folder, and --output"
        )
    config = trained.read_config(workdir)
    devices.configure(config.train)
    network = trained.load(workdir)
    rule = network.rule
    if threshold is not None:
        rule = dataclasses.replace(rule, threshold=threshold)
    tta = config.eval.tta if tta is None else tta
    paths = find_images(pathlib.Path(source))
    shape = check_images(paths)
    explore.check_shape(shape, config.data)
    console.say(f"Marking    {len(paths)} images of {shape[1]}×{shape[0]} pixels")
    folder = pathlib.Path(output)
    submission = folder / "submission.csv"
    with writing(folder):
        for name in ("probs", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        # With it the folder is complete, so it goes first and comes last.
        submission.unlink(missing_ok=True)
    codes = {}
    for start in range(0, len(paths), TILES_AT_ONCE):
        part = paths[start : start + TILES_AT_ONCE]
        prob = probabilities(network, part, tta)
        marked = masks.salt_mask(prob, rule)
        with writing(folder):
            for path, p, mask in zip(part, prob, marked):
                png.write(
                    folder / f"probs/{path.stem}.png",
                    np.uint16(np.rint(p * steps.MAX_UINT16)),
                )
                png.write(folder / f"masks/{path.stem}.png", np.uint8(mask) * 255)
        codes |= {path.stem: rle.encode(mask) for path, mask in zip(part, marked)}
    run.write_text(submission, submission_text(codes))
    salt = sum(code != "" for code in codes.values())
    console.say(f"Salt       in {salt} of {len(codes)} images, at {rule.threshold:.3f}")
    console.say(f"Written    {folder}: probs, masks, submission.csv")


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
            f"--input={source}: cannot list {folder} ({error.strerror}); expected a PNG or a folder "
            "of PNGs"
        ) from None
    found = [p for p in paths if p.suffix == ".png"]
    if not found:
        raise InputError(f"--input={source}: no *.png in {folder}")
    return found


def check_images(paths: Sequence[pathlib.Path]) -> tuple[int, int]:
    """Returns the height and width of all images.

    Raises:
      InputError: naming every file that is damaged, no PNG, or not as large as the others.
    """
    shapes, problems = data.read_files(
        paths, lambda path: png.read_image(path).shape[:2], "Checking"
    )
    problems += data.size_problems(paths, shapes)
    if problems:
        raise data.bad_files(problems, paths[0].parent)
    return shapes[0]


def probabilities(
    network: trained.TrainedRun, paths: Sequence[pathlib.Path], tta: bool
) -> np.ndarray:
    """Returns float32[N, H, W], the probabilities of salt of images of one size.

    They come from the function that scores a test, so that a score of what is written is the test's.
    """
    images, problems = data.read_files(paths, png.read_image, "Reading")
    if problems:
        raise data.bad_files(problems, paths[0].parent)
    labels = np.zeros((len(paths), *images[0].shape[:2], 1), np.uint8)
    ids = tuple(path.stem for path in paths)
    tiles = data.Tiles(ids, np.stack(images), labels, "folder")
    mesh = devices.data_mesh()
    batch_size = network.config.train.batch_size
    feed = pipeline.create(tiles, mesh, batch_size, resident=False)
    variables = devices.replicate(network.variables, mesh)
    return scoring.predict_tiles(
        feed, variables, np.arange(len(tiles)), network.network, tta
    ).prob_native


def submission_text(codes: dict[str, str]) -> str:
    """Returns submission.csv for the run-length codes of masks by their ids."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "rle_mask"))
    writer.writerows(codes.items())
    return text.getvalue()
