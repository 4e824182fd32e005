import numpy as np
import pytest
import scipy.ndimage
import sklearn.metrics

from saltjax.data import statistics, synthetic


@pytest.fixture(scope="module")
def tiles():
    return synthetic.make_tiles(500, seed=0)


def test_tiles_have_shape_and_coverage_of_the_challenges(tiles):
    assert tiles.images.shape == (500, 101, 101, 3)
    assert tiles.labels.shape == (500, 101, 101, 1)
    assert tiles.images.dtype == tiles.labels.dtype == np.uint8
    assert tiles.source == "synthetic"
    stats = statistics.compute(tiles)
    # 39 % without salt and a quarter of pixels salt, up to four standard errors of 500 tiles.
    assert stats.empty_masks / 500 == pytest.approx(0.39, abs=0.09)
    assert stats.salt_coverage == pytest.approx(0.25, abs=0.055)
    assert stats.constant_images == 0


def test_first_tiles_depend_on_the_seed_alone(monkeypatch):
    monkeypatch.setattr(synthetic, "CHUNK", 20)
    few, more = (synthetic.make_tiles(count, seed=0) for count in (3, 25))
    assert (len(few), len(more)) == (3, 25)
    np.testing.assert_array_equal(few.images, more.images[:3])
    np.testing.assert_array_equal(few.labels, more.labels[:3])
    assert not np.array_equal(more.images[20:23], few.images)  # another chunk
    assert not np.array_equal(synthetic.make_tiles(3, seed=1).images, few.images)


def test_no_threshold_on_brightness_or_local_variance_finds_the_salt(tiles):
    grey = tiles.images[..., 0].astype(np.float64)
    mean = scipy.ndimage.uniform_filter(grey, (0, 9, 9))
    variance = scipy.ndimage.uniform_filter(grey**2, (0, 9, 9)) - mean**2
    label = tiles.labels[:, ::4, ::4, 0].ravel()
    for feature in (grey, mean, variance):
        auc = sklearn.metrics.roc_auc_score(label, feature[:, ::4, ::4].ravel())
        assert max(auc, 1 - auc) < 0.8


def test_wavelet_is_rickers():
    # The inverse transform of the spectrum is (1 - 2a) exp(-a), a = (π f t)², up to its scale.
    n, peak = 512, 0.08
    spectrum = synthetic._ricker(np.fft.rfftfreq(n), peak)
    wavelet = np.fft.irfft(spectrum, n)
    a = (np.pi * peak * np.arange(20)) ** 2
    np.testing.assert_allclose(
        wavelet[:20] / wavelet[0], (1 - 2 * a) * np.exp(-a), atol=1e-6
    )


def test_salt_has_a_strong_top(tiles):
    # Where salt begins below an almost horizontal top, the section is brighter than average.
    top = np.diff(tiles.labels[..., 0].astype(int), axis=1, prepend=0) == 1
    top[:, :3] = False
    grey = tiles.images[..., 0].astype(float)
    strength = (grey - grey.mean((1, 2), keepdims=True)) / grey.std(
        (1, 2), keepdims=True
    )
    assert strength[top].mean() > 0.7
