"""A directory of tiles as image files, every file checked."""

import collections
import concurrent.futures
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saltjax.data import image_file
from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.system import console
from saltjax.system.errors import InputError


def read_folder(
    directory: str, option: str = "config.data.dir", unlabelled: int = -1
) -> Tiles:
    """Reads the images `images/<id>.*` and `masks/<id>.*` of a directory, every one checked.

    Other files beside them are named and ignored.

    Args:
      directory: the directory.
      option: what it was given by, for messages.
      unlabelled: the value in masks of pixels without a label; a negative one for none.

    Raises:
      InputError: naming every image that is missing, damaged or of another size.
    """
    root = pathlib.Path(directory)
    pairs, problems = match(root, option)
    for name in ("images", "masks"):
        say_ignored(root / name)
    ids = sorted(pairs)
    image_paths, mask_paths = ([pairs[i][k] for i in ids] for k in (0, 1))
    decoded, bad_images = read_files(image_paths, image_file.decode_image, "Images")
    read_mask = functools.partial(image_file.read_mask, unlabelled=unlabelled)
    masks, bad_masks = read_files(mask_paths, read_mask, "Masks")
    problems += bad_images + bad_masks + salt_problems(mask_paths, masks)
    labels = [mask and mask.label for mask in masks]
    pixels = [x if x is None else x[0] for x in decoded]
    shapes = [x if x is None else x.shape[:2] for x in (*pixels, *labels)]
    problems += size_problems([*image_paths, *mask_paths], shapes)
    if problems:
        raise bad_files(problems, root)
    check_range([largest for _, largest in decoded], root / "images")
    images = [image for image, _ in decoded]
    _say_unlabelled(labels, unlabelled)
    return Tiles(tuple(ids), np.stack(images), np.stack(labels), "folder", directory)


def _say_unlabelled(labels: Sequence[np.ndarray], unlabelled: int) -> None:
    """Prints how much of the masks has no label, if there is a value for that."""
    if unlabelled < 0:
        return
    shares = np.array([np.mean(label == UNLABELLED) for label in labels])
    console.say(
        f"Unlabelled {shares.mean():.1%} of the pixels, in {np.count_nonzero(shares)} of "
        f"{console.counted(len(labels), 'tile')} (data.unlabelled={unlabelled})"
    )
    if not any((label == 1).any() for label in labels):
        console.say(
            f"Warning    no mask holds salt: is {unlabelled}, data.unlabelled, the value of salt?"
        )


def read_files(
    paths: Sequence[pathlib.Path],
    reader: Callable[[pathlib.Path], Any],
    title: str,
) -> tuple[list, list[tuple[pathlib.Path, str]]]:
    """Returns `reader(path)` of each file, None for a bad one, and (path, reason) of bad ones.

    A file is bad if the reader raises ValueError.
    """
    problems = []

    def read(path):
        try:
            return reader(path)
        except ValueError as error:
            problems.append((path, str(error)))
            return None

    values = []
    with (
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        console.Bar(title, len(paths), "files") as bar,
    ):
        for value in pool.map(read, paths):
            values.append(value)
            bar.advance(1)
    return values, problems


def salt_problems(
    paths: Sequence[pathlib.Path], masks: Sequence[image_file.Mask | None]
) -> list[tuple[pathlib.Path, str]]:
    """Returns (path, reason) for each mask whose salt has another value than that of the others.

    An unreadable mask is None.
    """
    values = image_file.salt_values(mask for mask in masks if mask)
    problems = []
    for path, mask in zip(paths, masks):
        if mask and mask.salt:
            common = values.get(mask.largest)
            if common is None:
                reason = (
                    f"mask values {mask.salt}, no 0; expected 0 and one value for salt"
                )
                problems.append((path, reason))
            elif mask.salt != common:
                reason = (
                    f"salt has the value {mask.salt}; in most other masks {common}"
                    f"{image_file.UNNAMED}"
                )
                problems.append((path, reason))
    return problems


def check_range(largest: Sequence[int], path: pathlib.Path) -> None:
    """Raises InputError if 16-bit images do not use the upper half of their range, 0 to 65535.

    They then hold data of fewer bits, as if they were nearly black.

    Args:
      largest: the largest 16-bit value of each image, see `image_file.decode_image`.
      path: where the images are.
    """
    found = max(largest, default=0)
    if 0 < found < 2**15:
        bits = max(8, found.bit_length())
        raise InputError(
            f"{path}: the largest value of the 16-bit images is {found}, as if they held {bits} "
            "bits; 16-bit values are taken as 0 to 65535, so these would be nearly black. Multiply "
            f"the values of all files by 65535 / {2**bits - 1}; or, if they are meant to be so dark, "
            "divide them by 257 and save them with 8 bits"
        )


def bad_files(
    problems: list[tuple[pathlib.Path, str]], directory: pathlib.Path
) -> InputError:
    """Returns the error that lists (path, reason) of all bad files."""
    lines = [f"  {path}: {reason}" for path, reason in sorted(problems)]
    return InputError(
        f"{len(problems)} bad file(s) in {directory}; repair or remove them:\n"
        + "\n".join(lines)
    )


def match(
    root: pathlib.Path, option: str
) -> tuple[
    dict[str, tuple[pathlib.Path, pathlib.Path]], list[tuple[pathlib.Path, str]]
]:
    """Returns image and mask of each id that has both, and (path, reason) of bad files.

    Raises:
      InputError: if a directory cannot be listed, or holds no images.
    """
    found: list[dict[str, pathlib.Path]] = []
    problems = []
    for name in ("images", "masks"):
        try:
            paths, _ = image_file.find(root / name)
        except OSError as error:
            raise InputError(
                f"{option}={root}: cannot list {root / name} ({error.strerror}); "
                "expected a directory with images/<id>.png and masks/<id>.png"
            ) from None
        by_id: dict[str, pathlib.Path] = {}
        for path in paths:
            if not is_utf8(path.name):
                problems.append((path, "the file name is not UTF-8"))
            elif path.stem in by_id:
                reason = f"has the same id as {by_id[path.stem].name}"
                problems.append((path, reason))
            else:
                by_id[path.stem] = path
        found.append(by_id)
    images, masks = found
    for one, other, kind in ((images, masks, "mask"), (masks, images, "image")):
        alone = one.keys() - other.keys()
        problems += [(one[i], f"has no {kind} of that name") for i in alone]
    both = images.keys() & masks.keys()
    if not both and not problems:
        raise InputError(
            f"{option}={root}: no images in {root / 'images'} and {root / 'masks'}; "
            "expected images/<id>.png and masks/<id>.png"
        )
    return {i: (images[i], masks[i]) for i in both}, problems


def say_ignored(folder: pathlib.Path) -> None:
    """Prints which files beside the images in a directory are ignored, if there are any."""
    _, others = image_file.find(folder)
    say_ignored_files(others, folder)


def say_ignored_files(others: Sequence[pathlib.Path], folder: pathlib.Path) -> None:
    """Prints which files of a directory are ignored, if there are any; directories go without saying."""
    others = [path for path in others if not path.is_dir()]
    if others:
        names = ", ".join(path.name for path in others[:3])
        more = ", …" if len(others) > 3 else ""
        count = console.counted(len(others), "file")
        console.say(f"Ignored    {count} in {folder}: {names}{more}")


def is_utf8(name: str) -> bool:
    """Returns whether a file's name can be written into JSON and figures."""
    return name.encode(errors="replace").decode() == name


def size_problems(
    paths: Sequence[pathlib.Path], shapes: Sequence[tuple[int, int] | None]
) -> list[tuple[pathlib.Path, str]]:
    """Returns (path, reason) for each file whose (height, width) is not the most common one.

    The shape of an unreadable file is None.
    """
    known = collections.Counter(shape for shape in shapes if shape)
    if not known:
        return []
    (common, _), *_ = known.most_common(1)
    return [
        (path, f"{shape[1]}×{shape[0]} pixels; the others have {common[1]}×{common[0]}")
        for path, shape in zip(paths, shapes)
        if shape not in (None, common)
    ]
