"""Salt bodies, against scipy's labelling of the whole mask."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from saltjax.inference import bodies
from saltjax.seismic import npy

WHOLE = 10**9


def found_in(mask, prob=None, min_body=0):
    """Returns the bodies, the body of each sample, and the points."""
    prob = np.ones(mask.shape, np.float32) if prob is None else prob
    ids = np.full(mask.shape, -1, np.int32)
    masks, probs, sink = (
        npy.ArrayTraces(lambda a=a: a, "a") for a in (mask.astype(np.uint8), prob, ids)
    )
    found = bodies.find(masks, probs, min_body)
    return found, ids, bodies.write(masks, sink, found)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.9])
@pytest.mark.parametrize("shape", [(13, 9, 17), (1, 9, 17), (23, 40)])
@pytest.mark.parametrize("block", [1, 400, WHOLE])
def test_bodies_are_those_of_scipy_whatever_the_blocks(
    monkeypatch, shape, share, block
):
    monkeypatch.setattr(bodies, "BLOCK", block)
    rng = np.random.default_rng(3)
    mask, prob = rng.random(shape) < share, rng.random(shape).astype(np.float32)
    expected, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    found, ids, _ = found_in(mask, prob)
    assert found.count == count
    # Each of scipy's components is one of the bodies, and no two are the same.
    pairs = np.unique(np.stack([expected.ravel(), ids.ravel()]), axis=1)
    assert [len(np.unique(side)) for side in pairs] == [pairs.shape[1]] * 2
    np.testing.assert_array_equal(ids > 0, mask)
    sizes = np.bincount(ids.ravel(), minlength=count + 1)[1:]
    np.testing.assert_array_equal(found.extents.samples, sizes)
    assert (np.diff(sizes) <= 0).all()
    sums = ndimage.sum(prob, ids, np.arange(1, count + 1))
    np.testing.assert_allclose(found.extents.total, sums, rtol=1e-6)


@pytest.mark.parametrize("block", [1, 700, WHOLE])
def test_extents_and_points_against_each_body_alone(monkeypatch, block):
    monkeypatch.setattr(bodies, "BLOCK", block)
    mask = np.random.default_rng(5).random((12, 10, 14)) < 0.07
    found, ids, points = found_in(mask)
    assert points.starts[-1] == len(points.trace)
    for i in range(found.count):
        where = np.argwhere(ids == i + 1)
        np.testing.assert_array_equal(found.extents.low[i], where.min(axis=0))
        np.testing.assert_array_equal(found.extents.high[i], where.max(axis=0))
        part = slice(points.starts[i], points.starts[i + 1])
        traces = where[:, 0] * 10 + where[:, 1]
        expected = np.unique(traces)
        np.testing.assert_array_equal(points.trace[part], expected)
        for trace, top, base in zip(
            expected, points.top[part], points.base[part], strict=True
        ):
            samples = where[traces == trace, 2]
            assert (top, base) == (samples.min(), samples.max())


def test_the_same_numbers_whatever_the_blocks(monkeypatch):
    mask = np.random.default_rng(1).random((15, 8, 20)) < 0.06
    _, expected, points = found_in(mask)
    for block in (1, 161, 900):
        monkeypatch.setattr(bodies, "BLOCK", block)
        _, ids, others = found_in(mask)
        np.testing.assert_array_equal(ids, expected)
        for name in ("trace", "top", "base", "starts"):
            np.testing.assert_array_equal(getattr(others, name), getattr(points, name))


def test_an_overhang_has_one_top_and_one_base_a_trace():
    mask = np.zeros((3, 5, 10), bool)
    mask[1, 1, 2:9] = True  # a stem, with an arm above and one below
    mask[1, 1:4, 2] = mask[1, 1:4, 7] = True
    _, _, points = found_in(mask)
    assert points.trace.tolist() == [6, 7, 8]
    assert points.top.tolist() == [2, 2, 2]
    assert points.base.tolist() == [8, 7, 7]
    assert points.thickest(0) == 0


def test_small_bodies_are_dropped():
    mask = np.zeros((4, 4, 8), bool)
    mask[0, 0, :3] = mask[2, 2, :5] = mask[0, 3, 7] = True
    found, ids, points = found_in(mask, min_body=3)
    assert found.extents.samples.tolist() == [5, 3]
    assert ids[2, 2, 0] == 1
    assert ids[0, 0, 0] == 2
    assert ids[0, 3, 7] == 0
    assert points.starts.tolist() == [0, 1, 2]
    found, ids, points = found_in(mask, min_body=6)
    assert found.count == len(points.trace) == ids.any() == 0


@pytest.mark.parametrize("value", [0, 1])
def test_no_salt_and_nothing_else(value):
    found, ids, points = found_in(np.full((4, 3, 5), value, bool))
    assert found.count == value
    assert (ids == value).all()
    assert len(points.trace) == 12 * value


def test_memory_does_not_grow_with_the_volume(monkeypatch):
    monkeypatch.setattr(bodies, "BLOCK", 2**14)
    peaks = []
    for inlines in (64, 1024):
        mask = np.zeros((inlines, 16, 64), bool)
        mask[:, 4:9, 20:40] = True
        mask[::4, 12, 3] = True
        ids = np.zeros(mask.shape, np.int32)
        salt = mask.view(np.uint8)
        masks = npy.ArrayTraces(lambda a=salt: a, "mask")
        sink = npy.ArrayTraces(lambda a=ids: a, "ids")
        tracemalloc.start()
        found = bodies.find(masks, masks, 0)
        bodies.write(masks, sink, found)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.count == inlines // 4 + 1
    assert peaks[1] < 1.5 * peaks[0] + 100 * 16 * 1024
