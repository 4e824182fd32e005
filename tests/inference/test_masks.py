import numpy as np
import pytest

from saltjax.inference import masks, volumes
from saltjax.scoring.postprocess import Postprocessing, salt_mask
from saltjax.seismic import npy


def traces(array):
    return npy.ArrayTraces(lambda: array, "the array")


@pytest.mark.parametrize("min_area", [0, 2, 5, 9, 40])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_pieces_of_a_line_give_the_mask_of_the_whole(monkeypatch, min_area, piece):
    monkeypatch.setattr(volumes, "PIECE", piece)
    prob = np.random.default_rng(0).random((6, 80), np.float32)
    prob[3] *= 1.1  # components of many sizes, some along the line
    chosen = Postprocessing(0.6, min_area)
    mask = np.full(prob.shape, 7, np.uint8)
    share = masks.write(traces(prob), traces(mask), "inline", chosen)
    expected = salt_mask(prob[None], chosen)[0]
    assert expected.any()
    np.testing.assert_array_equal(mask, expected)
    assert share == expected.mean()


@pytest.mark.parametrize("direction", ["inline", "crossline", "both"])
def test_components_are_those_of_sections_in_the_first_direction(direction):
    prob = np.full((4, 5, 6), 0.1, np.float32)
    prob[1, 1:4, 2] = 0.9  # on one inline, of three crosslines
    mask = np.zeros(prob.shape, np.uint8)
    masks.write(traces(prob), traces(mask), direction, Postprocessing(0.5, 3))
    assert mask.sum() == (0 if direction == "crossline" else 3)


def test_dead_traces_are_no_salt_and_not_counted():
    prob = np.full((6, 4), 0.5, np.float32)
    prob[:, 1] = 0
    prob[:3, 2] = 0.9
    mask = np.ones(prob.shape, np.uint8)
    chosen = Postprocessing(0.8, 0)
    assert masks.write(traces(prob), traces(mask), "inline", chosen) == 3 / 18
    assert masks.write(traces(prob), traces(mask), "inline", Postprocessing(0, 0)) == 1
    assert mask.sum() == 18
    assert masks.write(traces(prob * 0), traces(mask), "inline", chosen) == 0
