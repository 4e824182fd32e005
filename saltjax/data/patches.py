"""Patches drawn at random from the sections of a volume, a given share of them with salt."""

from collections.abc import Callable, Iterator

import numpy as np

from saltjax.data.tiles import UNLABELLED
from saltjax.system.errors import InputError

# Of the samples of a patch, at least.
LABELLED_SHARE = 0.1


def draw(
    labels: Callable[[int], np.ndarray],
    sections: int,
    tile: int,
    count: int,
    salt_share: float,
    rng: np.random.Generator,
) -> Iterator[tuple[int, int, int]]:
    """Yields section, first sample and first trace of each patch, in the order of sections.

    Every place where a patch with salt fits is equally probable, and so is every place where one
    without salt fits; none is drawn again before all others of its kind. A patch has labels for at
    least LABELLED_SHARE of its samples.

    Args:
      labels: returns the labels uint8[samples, traces] of a section, from 0: 0, 1 or UNLABELLED.
      sections: how many there are.
      tile: samples and traces of a patch.
      count: of all patches.
      salt_share: of the patches; the number of those with salt is rounded.
      rng: of the choice.

    Raises:
      InputError: if there are no patches with salt, or none without, and some are wanted.
    """
    places = np.array(
        [[fits.sum() for fits in _places(labels(i), tile)] for i in range(sections)]
    )
    with_salt = round(count * salt_share)
    wanted = np.array([with_salt, count - with_salt])
    _check(places.sum(axis=0), wanted, tile)
    drawn = []
    for held, number in zip(places.T, wanted):
        ends = np.cumsum(held)
        ranks = _ranks(ends[-1], number, rng)
        section = np.searchsorted(ends, ranks, side="right")
        drawn.append((section, ranks - (ends - held)[section]))
    for i in np.unique(np.concatenate([section for section, _ in drawn])):
        for fits, (section, ranks) in zip(_places(labels(int(i)), tile), drawn):
            for row, column in np.argwhere(fits)[ranks[section == i]]:
                yield int(i), int(row), int(column)


def _ranks(places: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """Returns int[number] less than `places`, all equally often, or once more by chance."""
    rest = number % max(places, 1)
    every = np.arange(number - rest) % max(places, 1)
    others = rng.choice(places, rest, replace=False, shuffle=False)
    return np.concatenate([every, others])


def _places(labels: np.ndarray, tile: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns where patches with salt fit, and those without, bool[samples', traces'].

    Of each place that is the first sample and trace.
    """
    salt = box_sums(labels == 1, tile)
    labelled = box_sums(labels != UNLABELLED, tile)
    enough = labelled >= LABELLED_SHARE * tile**2
    return enough & (salt > 0), enough & (salt == 0)


def box_sums(x: np.ndarray, size: int) -> np.ndarray:
    """Returns int64[H - size + 1, W - size + 1], the sums of bool[H, W] over squares."""
    total = np.zeros((x.shape[0] + 1, x.shape[1] + 1), np.int64)
    total[1:, 1:] = x.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    over_rows = total[size:] - total[:-size]
    return over_rows[:, size:] - over_rows[:, :-size]


def _check(places: np.ndarray, wanted: np.ndarray, tile: int) -> None:
    patches = f"patches of {tile}×{tile} samples and traces (data.tile)"
    if not places.sum():
        raise InputError(
            f"no {patches} in the training inlines have labels for a tenth of their samples; give "
            "more labels, a smaller data.tile, or patches along the sections that are labelled "
            "(data.direction)"
        )
    for found, number, which, share in zip(
        places, wanted, ("with", "without"), ("0", "1")
    ):
        if number and not found:
            raise InputError(
                f"no {patches} {which} salt in the training inlines, and data.salt_share asks for "
                f"{number}; give another data.salt_share, such as {share}, or a smaller data.tile"
            )
