"""Tiles and their masks: a checked folder of PNGs, and batches."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from saltjax.data import png
from saltjax.system import console
from saltjax.system.errors import InputError

# Of the classes of salt coverage: each holds its upper edge.
COVERAGE_EDGES = (0.0, 0.1, 0.4)
COVERAGE_CLASSES = ("0", "0-0.1", "0.1-0.4", "0.4-1")


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Seismic tiles with their salt masks, in the order of their ids.

    Attributes:
      ids: N names.
      images: uint8[N, H, W, 3].
      labels: uint8[N, H, W, 1], 1 where salt.
      source: "folder" or "synthetic".
      directory: the folder, "" for synthetic tiles.
    """

    ids: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    source: str
    directory: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def description(self) -> str:
        """What the tiles are, for the screen and the figures."""
        if self.source == "synthetic":
            return "built-in synthetic sections, no real data"
        return f"tiles of {folder_label(self.directory)}"

    def content_hash(self) -> str:
        """Returns the SHA-256, in hex, over ids, shapes and pixels."""
        digest = hashlib.sha256(repr((self.ids, self.images.shape)).encode())
        digest.update(self.images)
        digest.update(self.labels)
        return digest.hexdigest()


def folder_label(directory: str) -> str:
    """Returns the last two parts of a folder's absolute path.

    >>> folder_label("/data/competition_data/train")
    'competition_data/train'
    """
    label = "/".join(pathlib.Path(directory).resolve().parts[-2:])
    return label.encode(errors="replace").decode()


def source_label(facts: dict) -> str:
    """Returns where a run's tiles come from and how many train, validate and test, in a word.

    >>> source_label({"source": "folder", "dir": "/data/tgs/train", "train": 7, "val": 2, "test": 1})
    'tgs/train 7/2/1'
    """
    place = (
        "synthetic" if facts["source"] == "synthetic" else folder_label(facts["dir"])
    )
    return f"{place} {facts['train']}/{facts['val']}/{facts['test']}"


def read_folder(directory: str) -> Tiles:
    """Reads `images/<id>.png` and `masks/<id>.png` of a folder, every file checked.

    Raises:
      InputError: naming every file that is missing, damaged, of another size or no PNG.
    """
    root = pathlib.Path(directory)
    ids, problems = _match_ids(root)
    image_paths = [root / "images" / f"{i}.png" for i in ids]
    mask_paths = [root / "masks" / f"{i}.png" for i in ids]
    images, bad_images = read_files(image_paths, png.read_image, "Images")
    labels, bad_masks = read_files(mask_paths, png.read_mask, "Masks")
    problems += bad_images + bad_masks
    shapes = [x if x is None else x.shape[:2] for x in (*images, *labels)]
    problems += size_problems([*image_paths, *mask_paths], shapes)
    if problems:
        raise bad_files(problems, root)
    return Tiles(tuple(ids), np.stack(images), np.stack(labels), "folder", directory)


def read_files(
    paths: Sequence[pathlib.Path],
    reader: Callable[[pathlib.Path], Any],
    title: str,
) -> tuple[list, list[tuple[pathlib.Path, str]]]:
    """Returns what `reader` makes of each file, None of a bad one, and (path, reason) of those."""
    problems = []

    def read(path):
        try:
            return reader(path)
        except ValueError as error:
            problems.append((path, str(error)))
            return None

    found = []
    with (
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        console.Bar(title, len(paths), "files") as bar,
    ):
        for value in pool.map(read, paths):
            found.append(value)
            bar.advance(1)
    return found, problems


def bad_files(
    problems: list[tuple[pathlib.Path, str]], folder: pathlib.Path
) -> InputError:
    """Returns the error that lists (path, reason) of all bad files."""
    lines = [f"  {path}: {reason}" for path, reason in sorted(problems)]
    return InputError(
        f"{len(problems)} bad file(s) in {folder}; mend or remove them:\n"
        + "\n".join(lines)
    )


def _match_ids(
    root: pathlib.Path,
) -> tuple[list[str], list[tuple[pathlib.Path, str]]]:
    """Returns the sorted ids that have image and mask, and (path, reason) for all else."""
    found, problems = [], []
    for name in ("images", "masks"):
        try:
            # Hidden files are the system's, not the user's.
            paths = [p for p in (root / name).iterdir() if not p.name.startswith(".")]
        except OSError as error:
            raise InputError(
                f"data.dir={root}: cannot list {root / name} ({error.strerror}); "
                "expected a folder with images/<id>.png and masks/<id>.png"
            ) from None
        found.append({p.stem for p in paths if p.suffix == ".png"})
        problems += [(p, "not named *.png") for p in paths if p.suffix != ".png"]
        problems += [(p, "its name is not UTF-8") for p in paths if not is_utf8(p.name)]
    images, masks = found
    problems += [
        (root / "images" / f"{i}.png", "has no mask of that name")
        for i in images - masks
    ]
    problems += [
        (root / "masks" / f"{i}.png", "has no image of that name")
        for i in masks - images
    ]
    if not images & masks and not problems:
        raise InputError(
            f"data.dir={root}: no files in {root / 'images'} and {root / 'masks'}; "
            "expected images/<id>.png and masks/<id>.png"
        )
    return sorted(images & masks), problems


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


def batch_rows(
    indices: np.ndarray, batch_size: int, padded_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns every tile of `indices` once, in that order, in batches of one shape.

    Each batch takes up to `batch_size` tiles and is filled up to `padded_size` (>= batch_size)
    with its first tile, marked invalid.

    Returns:
      rows int32[K, B], the tiles of each batch, and valid bool[K, B], B = padded_size.
    """
    starts = range(0, len(indices), batch_size)
    rows = np.empty((len(starts), padded_size), np.int32)
    valid = np.zeros(rows.shape, bool)
    for k, start in enumerate(starts):
        batch = indices[start : start + batch_size]
        rows[k], valid[k, : len(batch)] = batch[0], True
        rows[k, : len(batch)] = batch
    return rows, valid


def epoch_order(indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Returns the indices in the order of that epoch: the same for the same seed and epoch."""
    return np.random.default_rng((seed, epoch)).permutation(indices)


def statistics(tiles: Tiles) -> dict[str, float | int | list]:
    """Returns counts and salt coverage of the tiles.

    `coverage_histogram` counts the tiles with salt in ten equal bins of coverage, 0 to 1.
    """
    coverage = salt_coverage(tiles.labels)
    flat = tiles.images.reshape(len(tiles), -1)
    return {
        "tiles": len(tiles),
        "height": tiles.images.shape[1],
        "width": tiles.images.shape[2],
        "empty_masks": int((coverage == 0).sum()),
        "full_masks": int((coverage == 1).sum()),
        "constant_images": int((flat.min(axis=1) == flat.max(axis=1)).sum()),
        "salt_coverage": float(coverage.mean()),
        "coverage_histogram": np.histogram(coverage[coverage > 0], 10, (0, 1))[
            0
        ].tolist(),
    }


def salt_coverage(labels: np.ndarray) -> np.ndarray:
    """Returns float64[N] in [0, 1], the share of salt pixels, for uint8[N, H, W, 1]."""
    return labels.mean(axis=(1, 2, 3))


def coverage_class(coverage: np.ndarray) -> np.ndarray:
    """Returns int[N], the class 0 to 3 of each coverage float[N] in [0, 1].

    The classes, COVERAGE_CLASSES, are no salt, up to 0.1, up to 0.4 and above.

    >>> coverage_class(np.array([0, 0.001, 0.1, 0.4, 0.41])).tolist()
    [0, 1, 1, 2, 3]
    """
    return np.digitize(coverage, COVERAGE_EDGES, right=True)
