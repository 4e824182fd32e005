import numpy as np
import pytest
import scipy.ndimage
import sklearn.metrics

from saltjax.data import synthetic_volume

SHAPE = (60, 80, 64)


def make(shape, seed):
    """Returns amplitudes and labels of all inlines."""
    return [
        np.concatenate(parts) for parts in zip(*synthetic_volume.blocks(shape, seed))
    ]


@pytest.fixture(scope="module")
def volumes():
    """Amplitudes and labels of three volumes."""
    return [make(SHAPE, seed) for seed in range(3)]


@pytest.mark.parametrize("shape", [SHAPE, (8, 8, 8), (10, 60, 20), (40, 12, 40)])
def test_salt_is_one_body_that_every_inline_crosses(shape):
    for seed in range(3 if shape == SHAPE else 10):
        _, labels = make(shape, seed)
        assert labels.shape == shape
        assert labels.dtype == np.uint8
        assert set(np.unique(labels)) == {0, 1}
        assert scipy.ndimage.label(labels)[1] == 1
        assert labels.any(axis=(1, 2)).all()
        assert 0.05 < labels.mean() < 0.3


def test_an_inline_is_the_same_whichever_are_made_with_it(monkeypatch):
    shape = (14, 20, 24)
    amplitudes, labels = synthetic_volume.make_lines(shape, 5, 0, 14)
    monkeypatch.setattr(synthetic_volume, "BLOCK_SAMPLES", 9 * 20 * (24 + 32))
    parts = list(synthetic_volume.blocks(shape, 5))
    assert [len(lines) for lines, _ in parts] == [5, 5, 4]
    for made, found in zip((amplitudes, labels), zip(*parts)):
        np.testing.assert_array_equal(made, np.concatenate(found))
    alone = synthetic_volume.make_lines(shape, 5, 3, 4)
    np.testing.assert_array_equal(alone[0], amplitudes[3:4])
    other = synthetic_volume.make_lines(shape, 6, 0, 14)
    assert not np.array_equal(other[0], amplitudes)
    assert not np.array_equal(other[1], labels)


def test_amplitudes_are_whole_numbers_that_16_bits_hold(volumes):
    for amplitudes, _ in volumes:
        assert amplitudes.dtype == np.float32
        np.testing.assert_array_equal(amplitudes, amplitudes.astype(np.int16))
        assert amplitudes.any(axis=2).all()  # no dead trace
        assert 700 < amplitudes.std() < 2000
        assert abs(amplitudes.mean()) < 100


def test_lines_resemble_their_neighbours(volumes):
    # F3 offshore the Netherlands: 0.53 at a distance of one line, 0.41 at 16.
    def correlation(distance):
        return np.mean(
            [
                np.corrcoef(v[distance:].ravel(), v[:-distance].ravel())[0, 1]
                for v, _ in volumes
            ]
        )

    near, far = correlation(1), correlation(16)
    assert 0.6 < near < 0.9
    assert 0.05 < far < 0.6


def test_no_threshold_on_amplitude_or_local_variance_finds_the_salt(volumes):
    for amplitudes, labels in volumes:
        volume = amplitudes.astype(float)
        mean = scipy.ndimage.uniform_filter(volume, (0, 9, 9))
        variance = scipy.ndimage.uniform_filter(volume**2, (0, 9, 9)) - mean**2
        for feature in (volume, mean, variance):
            auc = sklearn.metrics.roc_auc_score(labels.ravel(), feature.ravel())
            assert max(auc, 1 - auc) < 0.8


def test_salt_has_a_strong_top(volumes):
    for amplitudes, labels in volumes:
        top = np.diff(labels.astype(int), axis=2, prepend=0) == 1
        assert amplitudes[top].mean() > amplitudes.std()


def test_layers_go_on_beside_the_salt_and_not_within_it(volumes):
    # Correlation between traces four crosslines apart, beyond the reach of the boundary's wavelets.
    for amplitudes, labels in volumes:
        pairs = amplitudes[:, 4:], amplitudes[:, :-4]
        correlations = []
        for body in (labels == 1, labels == 0):
            body = scipy.ndimage.minimum_filter(body, (1, 1, 21))
            where = body[:, 4:] & body[:, :-4]
            correlations.append(np.corrcoef(*(part[where] for part in pairs))[0, 1])
        assert correlations[0] < 0.3
        assert correlations[1] > 0.4
