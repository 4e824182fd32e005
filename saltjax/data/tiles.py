"""Tiles and their salt masks."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from saltjax.system import files

# The label of a pixel that counts in no loss and no score.
UNLABELLED = 255
# Upper bounds of the classes of salt coverage, each inclusive.
COVERAGE_EDGES = (0.0, 0.1, 0.4)
COVERAGE_CLASSES = ("0", "0-0.1", "0.1-0.4", "0.4-1")
# Tiles that are looked at together.
BLOCK = 1024


def training_noun(source: str) -> str:
    """Returns what one of the tiles for training is called, by `Tiles.source`."""
    return "patch" if source == "volume" else "tile"


def scored_noun(source: str) -> str:
    """Returns what one of the tiles for validation and test is called, by `Tiles.source`."""
    return "line" if source == "volume" else "tile"


class Pixels(Protocol):
    """uint8[N, H, W, C], an array or read from a file when it is indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        ...

    def __getitem__(self, key: Any) -> Any:
        """Returns the pixels of some tiles as an array."""
        ...


@dataclasses.dataclass(frozen=True)
class Summary:
    """Labels and content of each of N tiles.

    Attributes:
      coverage: float64[N], see `salt_coverage`.
      labelled: int64[N], labelled pixels.
      constant: bool[N], see `is_constant`.
      contents: int[N], one number for all images of the same pixels, in the order of the first of
        them. Images of one constant value are gaps in the data, and no copies of each other.
    """

    coverage: np.ndarray
    labelled: np.ndarray
    constant: np.ndarray
    contents: np.ndarray


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Seismic tiles with their salt masks, in the order of their ids.

    Attributes:
      ids: N ids, in a directory the names of the files without .png.
      images: uint8[N, H, W, C]: three channels, or sections of a volume between their neighbours,
        see `config.data.context`.
      labels: uint8[N, H, W, 1], 1 where salt, 0 where none, or UNLABELLED. Images and labels that
        do not fit into memory are read when they are indexed, see `streamed`.
      source: "folder", "synthetic" or "volume".
      directory: where they were read from, the file of a volume; "" for synthetic tiles.
    """

    ids: tuple[str, ...]
    images: Pixels
    labels: Pixels
    source: str
    directory: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of each, in pixels."""
        height, width = self.images.shape[1:3]
        return height, width

    @property
    def description(self) -> str:
        """What the tiles are, for the screen and the figures."""
        if self.source == "synthetic":
            return "built-in synthetic sections, not real data"
        if self.source == "volume":
            return f"lines of {files.path_label(self.directory)}"
        return f"tiles of {files.path_label(self.directory)}"

    @property
    def streamed(self) -> bool:
        """Whether images and labels are read from a file when they are indexed."""
        return not isinstance(self.images, np.ndarray)

    @functools.cached_property
    def summary(self) -> Summary:
        """Labels and content of each tile; all of them are read once."""
        parts = []
        for start in range(0, len(self), BLOCK):
            images, labels = (
                x[start : start + BLOCK] for x in (self.images, self.labels)
            )
            constant = is_constant(images)
            digests = [
                b"" if alike else hashlib.sha256(image.tobytes()).digest()
                for image, alike in zip(images, constant)
            ]
            labelled = (labels != UNLABELLED).sum(axis=(1, 2, 3))
            parts.append((salt_coverage(labels), labelled, constant, digests))
        coverage, labelled, constant = map(np.concatenate, list(zip(*parts))[:3])
        every = itertools.chain.from_iterable(part[3] for part in parts)
        keys = [digest or i for i, digest in enumerate(every)]
        numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        contents = np.array([numbers[key] for key in keys])
        return Summary(coverage, labelled, constant, contents)

    @property
    def has_unlabelled(self) -> bool:
        """Whether any pixel is UNLABELLED."""
        height, width = self.labels.shape[1:3]
        return bool((self.summary.labelled < height * width).any())

    @property
    def contents(self) -> np.ndarray:
        """See `Summary`."""
        return self.summary.contents

    def shown(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        """Returns the images of some tiles for figures and pages, uint8[n, H, W, 3].

        Of the sections of a volume and their neighbours these are the sections.
        """
        images = self.images[indices]
        if self.source == "volume":
            images = np.repeat(images[..., images.shape[3] // 2, None], 3, axis=3)
        return images

    def content_hash(self) -> str:
        """Returns the SHA-256, in hex, over ids, shapes and pixels."""
        digest = hashlib.sha256(repr((self.ids, self.images.shape)).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def is_constant(images: np.ndarray) -> np.ndarray:
    """Returns bool[N], whether an image has one value only, for uint8[N, H, W, C]."""
    flat = images.reshape(len(images), -1)
    return flat.min(axis=1) == flat.max(axis=1)


def salt_coverage(labels: np.ndarray) -> np.ndarray:
    """Returns float64[N], the share of salt in the labelled pixels of each label uint8[N, H, W, 1].

    It is 0 where no pixel is labelled.
    """
    salt, labelled = (
        x.sum(axis=(1, 2, 3)) for x in (labels == 1, labels != UNLABELLED)
    )
    return salt / np.maximum(labelled, 1)


def coverage_class(coverage: np.ndarray) -> np.ndarray:
    """Returns int[N], the class 0 to 3 of each coverage float[N] in [0, 1].

    The classes, COVERAGE_CLASSES, are no salt, up to 0.1, up to 0.4 and above.

    >>> coverage_class(np.array([0, 0.001, 0.1, 0.4, 0.41])).tolist()
    [0, 1, 1, 2, 3]
    """
    return np.digitize(coverage, COVERAGE_EDGES, right=True)
