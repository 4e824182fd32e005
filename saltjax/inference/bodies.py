"""Salt bodies: the connected components of a mask in three dimensions, in blocks of lines.

A body is a 26-connected component of salt: samples that touch at a face, an edge or a corner belong
to one. In a section these are the 8-connected components. The mask is labelled block by block with
`scipy.ndimage.label`; each block begins with the last line of the one before, in which components of
both meet. So memory grows with the numbers of traces and of components, and not with the samples.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from saltjax.inference.volumes import Traces
from saltjax.system import console

CONNECTIVITY = np.ones((3, 3, 3))
# Samples that are labelled together, unless one line has more.
BLOCK = 2**22


@dataclasses.dataclass(frozen=True)
class Extents:
    """Sizes and extents of `n` parts of a mask.

    Attributes:
      samples: int64[n].
      traces: int64[n], those that have such samples; of merged parts the sum.
      total: float64[n], the sum of the probabilities.
      first: int64[n], the lowest trace number × samples of a trace + sample.
      low, high: int32[n, 3], the extent: inline and crossline number and sample.
    """

    samples: np.ndarray
    traces: np.ndarray
    total: np.ndarray
    first: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def merged(self, group: np.ndarray, count: int) -> "Extents":
        """Returns the extents of `count` groups; `group` int[n] is that of each part."""
        limits = np.iinfo(np.int32)
        low = np.full((count, 3), limits.max, np.int32)
        high = np.full((count, 3), limits.min, np.int32)
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, group, self.first)
        np.minimum.at(low, group, self.low)
        np.maximum.at(high, group, self.high)
        sums = (
            np.bincount(group, weights, minlength=count)
            for weights in (self.samples, self.traces, self.total)
        )
        samples, traces, total = sums
        samples, traces = samples.astype(np.int64), traces.astype(np.int64)
        return Extents(samples, traces, total, first, low, high)

    def of(self, index: np.ndarray) -> "Extents":
        """Returns some of the parts, in the order of `index`."""
        return Extents(
            *(getattr(self, f.name)[index] for f in dataclasses.fields(self))
        )


@dataclasses.dataclass(frozen=True)
class Bodies:
    """The salt bodies of a mask, the largest first.

    Attributes:
      extents: of each.
      ids: int32[m], the number of the body, from 1, of each component of a block, counted over all
        blocks; 0 for those that are too small, and for component 0, which is no salt.
    """

    extents: Extents
    ids: np.ndarray

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.extents.samples)


@dataclasses.dataclass(frozen=True)
class Points:
    """Where traces enter and leave a body: those of body 1 come first, in the order of the traces.

    Attributes:
      trace: int32[n], the trace number.
      top, base: int32[n], the first and the last sample of the body there.
      starts: int64[bodies + 1], where the points of each body start.
    """

    trace: np.ndarray
    top: np.ndarray
    base: np.ndarray
    starts: np.ndarray

    def thickest(self, body: int) -> int:
        """Returns the point of a body, counted from 0, where top and base are farthest apart."""
        part = slice(self.starts[body], self.starts[body + 1])
        return int(part.start + (self.base[part] - self.top[part]).argmax())


def find(masks: Traces, probs: Traces, min_body: int) -> Bodies:
    """Returns the salt bodies of at least `min_body` samples; of equal size, the first in the file first.

    Args:
      masks: salt where not 0.
      probs: the probabilities of the same traces.
      min_body: samples.

    Raises:
      InputError: if masks or probabilities cannot be read.
    """
    # Imported here, and in `labelled`, since most commands do without it.
    from scipy import sparse

    parts, edges, offset, before = [], [np.empty((0, 2), np.int64)], 1, np.empty(0)
    for traces, labels, count, new in labelled(masks, "Salt bodies"):
        labels[labels > 0] += offset - 1
        if not new:
            both = labels[0] > 0
            edges.append(
                np.unique(np.stack([before[both], labels[0][both]], 1), axis=0)
            )
        before = labels[-1].copy()
        own = slice(0 if new else 1, None)
        parts.append(_extents(masks, probs, traces[own], labels[own], offset, count))
        offset += count
    joined = np.concatenate(edges)
    links = sparse.coo_array(
        (np.ones(len(joined), np.int8), (joined[:, 0], joined[:, 1])), (offset, offset)
    )
    # Component 0 is no salt, and alone in its group.
    groups, group = sparse.csgraph.connected_components(links, directed=False)
    together = _concatenated(parts).merged(group[1:] - 1, groups - 1)
    order = np.lexsort((together.first, -together.samples))
    order = order[together.samples[order] >= max(1, min_body)]
    number = np.zeros(groups, np.int32)
    number[order + 1] = np.arange(1, len(order) + 1)
    return Bodies(together.of(order), number[group])


def write(masks: Traces, sink: Traces, bodies: Bodies) -> Points:
    """Writes the body of each sample, 0 for none, and returns where traces enter and leave them.

    Args:
      masks: those that the bodies were found in.
      sink: where they are written, trace by trace.
      bodies: see `find`.

    Raises:
      InputError: if masks cannot be read.
    """
    # A trace may have been counted for two components of a body that only meet in another block.
    room = np.concatenate([[0], np.cumsum(bodies.extents.traces)])
    trace, first, last = np.full((3, room[-1]), -1, np.int32)
    free, offset = room[:-1].copy(), 1
    for traces, labels, count, new in labelled(masks, "Writing"):
        numbers = np.concatenate([[0], bodies.ids[offset : offset + count]])
        offset += count
        own = slice(0 if new else 1, None)
        found, of_block = numbers.astype(np.int32)[labels[own]], traces[own].ravel()
        sink.write(of_block, found.reshape(len(of_block), -1))
        row, body, top, base, _ = _runs(found)
        order = np.argsort(body, kind="stable")
        here, start, size = np.unique(
            body[order], return_index=True, return_counts=True
        )
        place = np.repeat(free[here - 1] - start, size) + np.arange(len(order))
        trace[place] = of_block[row[order]]
        first[place], last[place] = top[order], base[order]
        free[here - 1] += size
    used = trace >= 0
    starts = np.concatenate([[0], np.cumsum(free - room[:-1])])
    return Points(trace[used], first[used], last[used], starts)


def labelled(
    masks: Traces, title: str
) -> Iterator[tuple[np.ndarray, np.ndarray, int, bool]]:
    """Yields the mask block by block, with a progress bar.

    Yields:
      traces: int[rows, columns], the trace numbers, -1 for none.
      labels: int32[rows, columns, samples], the component of each sample, from 1; 0 for no salt.
      count: of the components.
      new: whether the block starts a section or a volume. Otherwise its first row is the last one
        of the block before.
    """
    from scipy import ndimage

    with console.Bar(title, masks.count * masks.samples, "samples") as bar:
        for grid in masks.grids():
            step = max(1, BLOCK // (grid.shape[1] * masks.samples))
            for start in range(0, len(grid), step):
                traces = grid[max(0, start - 1) : start + step]
                mask = masks.read(traces.ravel()) != 0
                labels, count = ndimage.label(
                    mask.reshape(*traces.shape, -1), CONNECTIVITY
                )
                yield traces, labels, count, start == 0
                bar.advance(
                    int((grid[start : start + step] >= 0).sum()) * masks.samples
                )


def _extents(
    masks: Traces,
    probs: Traces,
    traces: np.ndarray,
    labels: np.ndarray,
    offset: int,
    count: int,
) -> Extents:
    """Returns the extents of the components `offset`, `offset` + 1, … of a block."""
    numbers = traces.ravel()
    prob = probs.read(numbers).reshape(labels.shape)
    row, label, top, base, place = _runs(labels)
    inline, crossline = masks.line_numbers(numbers[row])
    runs = Extents(
        np.bincount(place, minlength=len(row)),
        np.ones(len(row), np.int64),
        np.bincount(place, prob[labels > 0], minlength=len(row)),
        numbers[row].astype(np.int64) * masks.samples + top,
        np.stack([inline, crossline, top], 1),
        np.stack([inline, crossline, base], 1),
    )
    return runs.merged(label - offset, count)


def _runs(
    labels: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns where traces enter and leave components.

    Args:
      labels: int32[rows, columns, samples], 0 for no salt.

    Returns:
      trace: int[n], index in [rows × columns].
      label: int32[n], of a component that the trace has samples of; pairs are distinct, in the
        order of traces.
      top, base: int[n], the first and last of these samples.
      place: int[m], for each sample of salt, the pair that it belongs to.
    """
    samples = labels.shape[-1]
    salt = np.flatnonzero(labels)
    trace, sample = np.divmod(salt, samples)
    label = labels.ravel()[salt]
    # A trace may leave a component and enter it again: first the runs of samples, which are few.
    breaks = (np.diff(salt) > 1) | (np.diff(trace) > 0)
    starts = np.flatnonzero(np.concatenate([[True], breaks])[: len(salt)])
    stops = np.append(starts[1:], len(salt))[: len(starts)]
    key = trace[starts] * (int(label.max(initial=0)) + 1) + label[starts]
    _, first, pair = np.unique(key, return_index=True, return_inverse=True)
    base = np.zeros(len(first), np.int64)
    np.maximum.at(base, pair, sample[stops - 1])
    return (
        trace[starts][first],
        label[starts][first],
        sample[starts][first],
        base,
        np.repeat(pair, stops - starts),
    )


def _concatenated(parts: list[Extents]) -> Extents:
    columns = zip(*([getattr(p, f.name) for f in dataclasses.fields(p)] for p in parts))
    return Extents(*map(np.concatenate, columns))
