"""Sections of another scale: --scale."""

import json
import logging
import shutil
from fractions import Fraction

import numpy as np
import pytest
from prediction import random_traces

import saltjax
from saltjax import predict
from saltjax.inference import scaling
from saltjax.inference.scaling import Scale
from saltjax.system.errors import InputError


def scale(samples, traces):
    return scaling.of((samples, traces))


def positions(count, factor):
    """Returns where the pixels of a stretched axis lie on the axis itself."""
    return (np.arange(count) + 0.5) / factor - 0.5


@pytest.mark.parametrize("factors", [(2, 1), (1, 2.5), (3, 0.5), (0.4, 0.7), (0.37, 1.9)])  # fmt: skip
def test_pixels_lie_where_they_should(factors):
    """A linear section stays linear but at its edges, where it is repeated.

    Pillow's cubic filter at a factor below 1 may shift it by a few hundredths of a pixel.
    """
    rows, columns = np.indices((61, 53))
    section = (0.3 + rows / 200 + columns / 150).astype(np.float32)[:, :, None]
    by = scale(*factors)
    factors = float(by.samples), float(by.traces)
    found = by.stretch(section)
    assert found.shape == (*(int(np.ceil(n * f)) for n, f in zip((61, 53), factors)), 1)
    i, j = (positions(n, f) for n, f in zip(found.shape, factors))
    expected = 0.3 + i[:, None] / 200 + j / 150
    inner = tuple(slice(int(np.ceil(8 * f)), int(-8 * f)) for f in factors)
    np.testing.assert_allclose(found[inner][:, :, 0], expected[inner], atol=3e-4)


@pytest.mark.parametrize("factors", [(2, 1.9), (0.37, 2.3)])
def test_probabilities_come_back_to_where_they_were(factors):
    """Of a linear section, whose lengths are no whole multiples."""
    rows, columns = np.indices((61, 53))
    prob = (0.3 + rows / 200 + columns / 150).astype(np.float32)
    by = scale(*factors)
    back = by.restore(by.stretch(prob[:, :, None])[:, :, 0], prob.shape)
    np.testing.assert_allclose(back[9:-9, 9:-9], prob[9:-9, 9:-9], atol=3e-4)


@pytest.mark.parametrize("factor", [0.1, 0.37, 0.5, 1.05, 3, 10])
def test_what_is_farther_away_than_the_context_does_not_matter(factor):
    by, section = scale(1, factor), np.full((1, 300, 1), 0.5, np.float32)
    changed = section.copy()
    changed[0, 150] = 1
    before, after = (
        by.restore(by.stretch(s)[:, :, 0], (1, 300)) for s in (section, changed)
    )
    where = np.flatnonzero(before[0] != after[0])
    assert 0 < np.abs(where - 150).max() <= by.context()


def test_band_limited_amplitudes_are_interpolated():
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(200) / 8)
    section = np.repeat(wave[:, None, None], 3, axis=1).astype(np.float32)
    found = scale(2, 1).stretch(section)[8:-8, 1, 0]
    i = positions(400, 2)[8:-8]
    np.testing.assert_allclose(found, 0.5 + 0.4 * np.sin(2 * np.pi * i / 8), atol=0.02)


def test_what_is_finer_than_the_pixels_is_averaged():
    section = np.tile(np.array([0.0, 1.0], np.float32), 50)[:, None, None]
    found = scale(0.25, 1).stretch(np.repeat(section, 4, axis=1))
    np.testing.assert_allclose(found[3:-3], 0.5, atol=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (33, 64)])
@pytest.mark.parametrize("factors", [(1, 1), (0.1, 0.1), (10, 10), (2.03, 0.77)])
def test_probabilities_have_the_shape_of_the_section(shape, factors):
    section = np.full((*shape, 3), 0.25, np.float32)
    stretched = scale(*factors).stretch(section)
    assert stretched.shape[2] == 3
    np.testing.assert_allclose(stretched, 0.25, atol=1e-6)
    prob = scale(*factors).restore(stretched[:, :, 0], shape)
    assert prob.shape == shape
    np.testing.assert_allclose(prob, 0.25, atol=1e-6)


def test_smooth_probabilities_come_back():
    i, j = np.indices((80, 90))
    smooth = (0.5 + 0.4 * np.sin(i / 12) * np.cos(j / 15)).astype(np.float32)
    for factors in ((2, 1), (1.7, 3), (0.5, 0.8)):
        there = scale(*factors).stretch(smooth[:, :, None])[:, :, 0]
        back = scale(*factors).restore(there, smooth.shape)
        np.testing.assert_allclose(back, smooth, atol=0.02)


def test_a_network_sees_the_stretched_section(plain):
    """What it gives for it is what it gives for a section that was stretched before."""
    network = saltjax.load(plain)
    unit = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    by = scale(2, 1.5)
    stretched = by.stretch(unit[:, :, None])[:, :, 0]
    expected = by.restore(network.predict(stretched, normalize="none"), unit.shape)
    found = network.predict(unit, normalize="none", scale=(2, 1.5))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    mask = network.mask(unit, normalize="none", scale=(2, 1.5))
    if not network.postprocessing.min_area:
        np.testing.assert_array_equal(mask, found >= network.threshold)


@pytest.mark.parametrize("shape", [(20, 1), (1, 20), (3, 1, 20), (1, 1)])
def test_lines_of_one_trace_or_sample(plain, shape):
    found = saltjax.load(plain).predict(1 + random_traces(*shape), scale=(2, 1.5))
    assert found.shape == shape


def test_command(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(40, 60))
    predict.predict(
        [plain],
        str(tmp_path / "a.npy"),
        str(tmp_path / "out"),
        predict.Flags(scale="2,1.5", report=True),
    )
    expected = saltjax.load(plain).predict(random_traces(40, 60), scale=(2, 1.5))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a_prob.npy"), expected)
    page = (tmp_path / "out" / "a_report.html").read_text()
    assert "--scale=2,1.5" in page
    assert "without mirror image, stretched by 2,1.5" in page


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "2,1,1",
        "0,1",
        "-1,2",
        "11,1",
        "1,0.05",
        "a,b",
        "nan,1",
        "1/0,1",
        "1e99999999,1",
    ],
)
def test_what_is_no_scale_is_refused(text):
    with pytest.raises(InputError, match=r"--scale=.*; expected two factors"):
        scaling.parse(text)


@pytest.mark.parametrize("factors", [2, (2,), "2,1", (2, "a"), (0, 1), (1, np.inf), {}])
def test_what_is_no_scale_in_python_is_refused(plain, factors):
    with pytest.raises(InputError, match=r"^scale=.*; expected two factors"):
        saltjax.load(plain).predict(np.ones((9, 9)), scale=factors)


def test_factors_are_fractions_of_small_numbers():
    assert scaling.parse("2.5,0.333") == Scale(Fraction(5, 2), Fraction(1, 3))
    assert scaling.parse("1.03, 1.004") == Scale(Fraction(21, 20), Fraction(1))
    assert str(scaling.parse("2.5,1")) == "2.5,1"


def waves(length):
    phases = np.linspace(0, 6, 60)
    return np.sin(2 * np.pi * np.arange(400)[:, None] / length + phases)


@pytest.mark.parametrize(
    ("length", "given", "warns"),
    [(30, None, False), (9, None, True), (70, None, True), (9, "2,1", False), (30, "4,1", True)],
)  # fmt: skip
def test_another_period_than_that_of_training_is_announced(
    plain, tmp_path, caplog, length, given, warns
):
    caplog.set_level(logging.INFO)
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    facts = json.loads((run / "data.json").read_text())
    assert facts["dominant_period"] > 2
    (run / "data.json").write_text(json.dumps(facts | {"dominant_period": 20.0}))
    np.save(tmp_path / "a.npy", waves(length))
    predict.predict(
        [run],
        str(tmp_path / "a.npy"),
        str(tmp_path / "out"),
        predict.Flags(scale=given),
    )
    lines = [line for line in caplog.messages if "dominant period" in line]
    assert bool(lines) == warns
    if length == 9 and warns:
        assert (
            f"is 9.0 samples, and that of the training data of {run} 20.0" in lines[0]
        )
        assert "try --scale=2.2,1 and --scale=2.2,2.2" in lines[0]


@pytest.mark.parametrize("given", [0, -3, 5e-324, 1e308, float("nan"), "16"])
def test_a_damaged_period_is_refused(plain, tmp_path, given):
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(facts | {"dominant_period": given}))
    with pytest.raises(InputError, match=r"data\.json.*dominant_period"):
        saltjax.load(run)


def test_runs_of_earlier_versions_have_no_period(plain, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    facts = json.loads((run / "data.json").read_text())
    del facts["dominant_period"]
    (run / "data.json").write_text(json.dumps(facts))
    np.save(tmp_path / "a.npy", waves(70))
    predict.predict([run], str(tmp_path / "a.npy"), str(tmp_path / "out"))
    assert saltjax.load(run).period is None
