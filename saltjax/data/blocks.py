"""Splits of a volume into contiguous blocks of inlines, with gaps between the parts."""

from collections.abc import Sequence

import numpy as np

from saltjax.system.errors import InputError

PARTS = ("train", "val", "test")
NAMES = {"train": "training", "val": "validation", "test": "test"}
# Of the inlines with indices start to stop - 1.
Block = tuple[int, int]


def split(
    labelled: np.ndarray, shares: Sequence[float], gap: int, folds: int, fold: int
) -> dict[str, list[Block]]:
    """Returns the blocks of "train", "val" and "test", in the order of their inlines.

    Validation is the first block and the test the last, with training between them. Of folds the
    test is one of K blocks of as many labelled inlines, and validation lies at the outer end of the
    larger of the two stretches beside it.

    Args:
      labelled: bool[n], which inlines hold labels; shares are counted in these.
      shares: of training, validation and test, sum 1.
      gap: inlines that are left out between two parts.
      folds: K of cross-validation, 0 for none.
      fold: the test fold, 0 to K - 1.

    Raises:
      InputError: if a part would hold no labelled inline.
    """
    places = np.flatnonzero(labelled)
    if folds:
        blocks = _fold(places, len(labelled), shares, gap, folds, fold)
    else:
        blocks = _in_order(places, len(labelled), shares, gap)
    if blocks is None:
        parts = f"{folds} folds" if folds else "training, validation and test"
        raise InputError(
            f"{len(places)} of {len(labelled)} inlines hold labels, too few for {parts} with gaps of "
            f"{gap} inlines between them; expected a labelled inline in each: give more labels, "
            "fewer data.folds or a smaller data.gap"
        )
    return blocks


def _in_order(
    places: np.ndarray, n: int, shares: Sequence[float], gap: int
) -> dict[str, list[Block]] | None:
    """Returns validation, training and test, one after the other; None if that is impossible.

    Of all ways to cut it is the one whose parts differ least from their shares of the inlines used.
    """
    m = len(places)
    best, chosen = np.inf, None
    # Indices into `places`: of the first training inline, for each first inline of the test.
    for test in range(2, m):
        vals = np.arange(1, test)
        starts = np.searchsorted(places, places[vals - 1] + gap + 1)
        stop = np.searchsorted(places, places[test] - gap)
        sizes = np.stack([stop - starts, vals, np.full(len(vals), m - test)])
        used = np.maximum(sizes.sum(axis=0), 1)
        wrong = np.abs(sizes / used - np.array(shares)[:, None]).sum(axis=0)
        wrong[sizes[0] < 1] = np.inf
        i = int(np.argmin(wrong))
        if wrong[i] < best:
            best, chosen = wrong[i], (int(vals[i]), test)
    if chosen is None:
        return None
    end, start = int(places[chosen[0] - 1]) + 1, int(places[chosen[1]])
    return {
        "train": [(end + gap, start - gap)],
        "val": [(0, end)],
        "test": [(start, n)],
    }


def _fold(
    places: np.ndarray, n: int, shares: Sequence[float], gap: int, folds: int, fold: int
) -> dict[str, list[Block]] | None:
    """Returns the blocks of a fold; None if that is impossible."""
    borders = np.rint(np.linspace(0, len(places), folds + 1)).astype(int)
    if (np.diff(borders) < 1).any():
        return None
    edges = [0, *(int(places[b]) for b in borders[1:-1]), n]
    start, stop = edges[fold], edges[fold + 1]
    rest = [(0, start - gap), (stop + gap, n)]
    held = [places[(places >= a) & (places < b)] for a, b in rest]
    side = int(len(held[1]) >= len(held[0]))
    wanted = shares[1] / (shares[0] + shares[1]) * sum(map(len, held))
    count = max(1, round(wanted))
    if count >= len(held[side]):
        return None
    (low, high), inside = rest[side], held[side]
    if side:
        first = int(inside[-count])
        rest[side], val = (low, first - gap), (first, high)
    else:
        last = int(inside[count - 1]) + 1
        rest[side], val = (last + gap, high), (low, last)
    train = [(a, b) for a, b in rest if ((places >= a) & (places < b)).any()]
    if not train:
        return None
    return {"train": train, "val": [val], "test": [(start, stop)]}


def members(blocks: Sequence[Block]) -> np.ndarray:
    """Returns the indices int[n] of the inlines of blocks."""
    return np.concatenate([np.arange(start, stop) for start, stop in blocks])


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Returns Pearson's correlation of the amplitudes of two lines [traces, samples].

    Of traces that are live in both; None if there are none, or their amplitudes are constant.
    """
    live = np.any(a != 0, axis=1) & np.any(b != 0, axis=1)
    x, y = (np.float64(line[live]).ravel() for line in (a, b))
    if not x.size or not x.std() or not y.std():
        return None
    return float(np.corrcoef(x, y)[0, 1])
