"""Images segmented: PNG files to PNG files of probabilities and masks, and submission.csv."""

import collections
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax.data import folder, image_file, rle
from saltjax.inference import masks, volumes, windows
from saltjax.inference.windows import SectionModel
from saltjax.scoring.postprocess import (
    Postprocessing,
    from_sixteen_bits,
    salt_mask,
    to_sixteen_bits,
)
from saltjax.system import console, files, output_directory
from saltjax.system.errors import InputError, writing


def predict_images(
    paths: Sequence[pathlib.Path],
    source: pathlib.Path,
    claimed: output_directory.OutputDirectory,
    models: Sequence[SectionModel],
    chosen: Postprocessing,
    read: Sequence[pathlib.Path],
    others: Sequence[pathlib.Path] = (),
) -> masks.Segmented:
    """Writes probs/<id>.png, masks/<id>.png and, when all are done, submission.csv.

    Args:
      paths: the images.
      source: the input that they are of, for messages.
      claimed: the directory to write to.
      models: the networks, whose probabilities are averaged.
      chosen: the postprocessing.
      read: all inputs of the command, which must not be replaced.
      others: files that the caller will write too.

    Raises:
      InputError: naming every bad image, or if files cannot be written or must not be replaced.
    """
    target = claimed.folder
    submission = target / "submission.csv"
    places = [target / name for name in ("probs", "masks")]
    if (target / "images").exists():
        raise InputError(
            f"--output={target} holds images: with these masks it would look like a directory of "
            "tiles to train on; choose another"
        )
    new = [place / f"{image.stem}.png" for place in places for image in paths]
    claimed.check([*new, submission, *others], folders=places, inputs=read)
    largest, problems = folder.read_files(paths, _check_image, "Checking")
    if problems:
        raise folder.bad_files(problems, paths[0].parent)
    folder.check_range(largest, source)
    with writing(target):
        for place in places:
            files.make_directory(place)
    codes, share = write_images(paths, claimed, models, chosen)
    with writing(target):
        claimed.sync(places)
    rows = ({"id": name, "rle_mask": code} for name, code in codes.items())
    # Written last: where there was none before, it says that the other files are complete.
    files.write_csv(submission, ("id", "rle_mask"), rows, claimed.write)
    salt = sum(code != "" for code in codes.values())
    of_all = console.counted(len(codes), "image")
    masks.say_share(share, f"all pixels and in {salt} of {of_all}", chosen)
    console.say(f"Written    {target}: probs, masks, submission.csv")
    return masks.Segmented(places[0], share)


def write_images(
    paths: Sequence[pathlib.Path],
    claimed: output_directory.OutputDirectory,
    models: Sequence[SectionModel],
    chosen: Postprocessing,
) -> tuple[dict[str, str], float]:
    """Writes probs/<id>.png and masks/<id>.png.

    Returns:
      The run-length code of each mask by id, and the share of salt in all pixels.
    """
    images = itertools.tee(volumes.read_ahead(_read_image, paths), len(models))
    streams = map(windows.predict_images, images, models)
    codes: dict[str, str] = {}
    pixels_of = collections.Counter[bool]()

    def write(image: pathlib.Path, probs: Sequence[np.ndarray]) -> None:
        sixteen = to_sixteen_bits(np.mean(probs, axis=0))
        # The mask is that of the probabilities as written, rounded to 16 bits.
        mask = salt_mask(from_sixteen_bits(sixteen)[None], chosen)[0]
        eight = mask.astype(np.uint8) * 255
        for kind, pixels in (("probs", sixteen), ("masks", eight)):
            path = claimed.folder / f"{kind}/{image.stem}.png"
            with claimed.write(path, sync_names=False) as part:
                image_file.write(part, pixels)
        codes[image.stem] = rle.encode(mask)
        salt = int(mask.sum())
        pixels_of.update({True: salt, False: mask.size - salt})

    with (
        console.Bar("Segmenting", len(paths), "images") as bar,
        writing(claimed.folder),
    ):
        # While the disk syncs files, the network computes the next ones.
        for _ in volumes.write_behind(write, zip(paths, zip(*streams))):
            bar.advance(1)
    return codes, pixels_of[True] / pixels_of.total()


def _check_image(path: pathlib.Path) -> int:
    """Returns the largest 16-bit value, see `image_file.decode_image`."""
    if not folder.is_utf8(path.name):
        raise ValueError("the file name is not UTF-8")
    return image_file.decode_image(path)[1]


def _read_image(path: pathlib.Path) -> np.ndarray:
    """Returns float32[H, W, 1 or 3], see `windows.to_section`."""
    try:
        return windows.to_section(image_file.read_image(path))
    except ValueError as error:
        raise folder.bad_files([(path, str(error))], path.parent) from None
