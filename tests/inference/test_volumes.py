import contextlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saltjax.inference import volumes
from saltjax.inference import windows as sections
from saltjax.networks import unet as models
from saltjax.seismic import amplitudes
from saltjax.seismic import npy as arrays
from saltjax.system.errors import InputError
from saltjax.training import steps


def make_predictor(seed=1, method="nearest", size=16, tile=(10, 10)):
    network = steps.Network(models.UNet(features=(4, 8)), size, method)
    shape = jnp.zeros((1, size, size, 3))
    variables = jax.device_get(jax.jit(network.model.init)(jax.random.key(seed), shape))
    return sections.Predictor(network, variables, tile, 8 * size * size, tta=False)


def traces(array):
    return arrays.ArrayTraces(lambda: array, "the array")


def mark(array, *predictors, normalize="clip", direction="inline"):
    prob = np.full(array.shape, 9, np.float32)
    predictors = predictors or [make_predictor()]
    volumes.mark(traces(array), traces(prob), predictors, normalize, direction)
    return prob


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 50, shape).astype(np.float32)


def by_hand(section, limit):
    """The probabilities of one section whose range is -limit to limit."""
    image = np.clip(section / limit / 2 + 0.5, 0, 1).astype(np.float32)[:, :, None]
    return next(sections.predict_sections([image], make_predictor()))


def test_a_volume_is_marked_inline_by_inline_or_crossline_by_crossline():
    volume = noise(3, 14, 12)
    limit = np.percentile(np.abs(volume), 99)
    # A section's rows are its samples.
    inline = np.stack([by_hand(volume[i].T, limit).T for i in range(3)])
    crossline = np.stack([by_hand(volume[:, j].T, limit).T for j in range(14)], axis=1)
    for direction, expected in (
        ("inline", inline),
        ("crossline", crossline),
        ("both", (inline + crossline) / 2),
    ):
        found = mark(volume, direction=direction)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(inline - crossline).max() > 1e-3


def test_several_networks_are_averaged():
    section = noise(20, 30)
    one, two = make_predictor(1), make_predictor(2, "pad", 24)
    expected = (mark(section, one) + mark(section, two)) / 2
    np.testing.assert_allclose(mark(section, one, two), expected, atol=1e-6)


def test_dead_traces_are_zero_and_do_not_count_in_the_range():
    section = noise(40, 50)
    section[:, 10:35] = 0
    found = mark(section)
    assert not found[:, 10:35].any()
    assert found[:, :10].all()
    assert found[:, 35:].all()
    limit = np.percentile(np.abs(section[:, section.any(axis=0)]), 99)
    expected = by_hand(section, limit)
    np.testing.assert_allclose(found[:, 35:], expected[:, 35:], atol=1e-6)
    assert not mark(np.zeros((8, 9), np.float32)).any()


@pytest.mark.parametrize("method", ["nearest", "bilinear", "pad"])
@pytest.mark.parametrize("size", [16, 15])
def test_a_long_line_in_pieces_is_the_line_as_a_whole(monkeypatch, method, size):
    predictor = make_predictor(method=method, size=size, tile=(10, 13))
    section = noise(12, 260)
    whole = mark(section, predictor)
    monkeypatch.setattr(volumes, "PIECE", 50)
    assert len(volumes.pieces(np.arange(260), [predictor])) > 3
    np.testing.assert_allclose(mark(section, predictor), whole, atol=1e-5)


def test_pieces_keep_every_trace_once(monkeypatch):
    monkeypatch.setattr(volumes, "PIECE", 40)
    found = volumes.pieces(np.arange(1000), [make_predictor(), make_predictor(2)])
    kept = np.concatenate([numbers[keep] for numbers, keep in found])
    np.testing.assert_array_equal(kept, np.arange(1000))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int16", ">f4", "uint16"])
def test_amplitudes_of_any_kind_are_read(dtype):
    section = np.abs(noise(20, 30)).astype(dtype)
    expected = mark(section.astype(np.float32))
    np.testing.assert_allclose(mark(section), expected, atol=1e-5)


def test_bytes_are_an_image():
    section = np.random.default_rng(0).integers(1, 256, (20, 30)).astype(np.uint8)
    image = np.float32(section)[:, :, None] / 255
    expected = next(sections.predict_sections([image], make_predictor()))
    np.testing.assert_allclose(mark(section), expected, atol=1e-6)
    np.testing.assert_allclose(mark(section, normalize="none"), expected, atol=1e-6)


def test_ranges_by_hand():
    traces = np.array([[0, 0, 0], [-3, 1, 2], [4, 0, 1]], np.float32)
    found = amplitudes.estimate(traces, "clip")
    assert found.low == -found.high
    # Of 0, 1, 1, 2, 3, 4: 99 % of the way from first to last.
    assert found.high == pytest.approx(3.95)
    assert amplitudes.estimate(traces, "minmax") == amplitudes.Range(-3, 4)
    assert amplitudes.estimate(traces, "none") == amplitudes.Range(0, 1)
    spike = np.zeros((2, 500), np.float32)
    spike[0, 3] = 7
    assert amplitudes.estimate(spike, "clip") == amplitudes.Range(-7, 7)
    unit = amplitudes.to_unit(
        np.float32([[-9, 0, 2, 4]]), amplitudes.Range(-4, 4), "clip"
    )
    np.testing.assert_allclose(unit, [[0, 0.5, 0.75, 1]])


@pytest.mark.parametrize(
    ("value", "normalize", "message"),
    [
        (
            np.nan,
            "clip",
            "the array: trace 3 has samples that are not finite, such as nan",
        ),
        (np.inf, "minmax", "trace 3 .* such as inf"),
        (1.5, "none", "expects them in"),
        (-0.1, "none", "amplitudes from -0.1"),
    ],
)
def test_amplitudes_that_cannot_be_used_are_told(value, normalize, message):
    section = np.random.default_rng(0).random((20, 30), np.float32)
    section[7, 2] = value
    with pytest.raises(InputError, match=message):
        mark(section, normalize=normalize)


def test_what_lies_outside_the_sample_is_checked_too(monkeypatch):
    monkeypatch.setattr(amplitudes, "MAX_SAMPLES", 40)
    section = noise(20, 30)
    section[7, 2] = np.nan
    with pytest.raises(InputError, match="trace 3 has"):
        mark(section)


@pytest.mark.parametrize(
    "array",
    [np.zeros(3), np.zeros((2, 0)), np.zeros((2, 2), complex), np.zeros((1, 2, 3, 4))],
    ids=["line", "empty", "complex", "4-D"],
)
def test_what_is_no_section_is_refused(array):
    with pytest.raises(InputError, match="expected"):
        traces(array)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 6)])
def test_a_file_is_read_and_written_as_an_array_is(tmp_path, order, shape):
    array = noise(*shape)
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))
    new = arrays.create(tmp_path / "b.npy", shape, "float32")
    source, memory = arrays.read(tmp_path / "a.npy"), traces(array)
    for direction in ("inline", "crossline"):
        for line, expected in zip(source.lines(direction), memory.lines(direction)):
            np.testing.assert_array_equal(source.read(line), memory.read(expected))
            new.write(line, source.read(line))
        np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), array)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\x93NUMPY\x01\x00v\x00{'a'", b"PK"]
)
def test_what_is_no_npy_file_is_told(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy"):
        arrays.read(tmp_path / "a.npy")
    np.savez(tmp_path / "b", x=np.zeros(3))
    (tmp_path / "b.npz").rename(tmp_path / "b.npy")
    with pytest.raises(InputError, match="cannot read it as"):
        arrays.read(tmp_path / "b.npy")


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_npy_file_is_read_or_told(tmp_path_factory, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.getbasetemp() / "fuzzed.npy"
    np.save(path, np.zeros((4, 5), np.float32))
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, 128, rng.integers(1, 4)):
        content[place] = rng.integers(256)
    path.write_bytes(content[: rng.choice([len(content), rng.integers(len(content))])])
    with contextlib.suppress(InputError), warnings.catch_warnings(action="ignore"):
        source = arrays.read(path)
        source.read(np.array([0]))


@pytest.mark.parametrize("normalize", ["clip", "minmax"])
@pytest.mark.parametrize("value", [1e20, 1.7e308, 1e-310])
def test_amplitudes_of_any_size_give_probabilities(normalize, value):
    for section in (
        np.full((20, 30), value),
        value * np.sign(noise(20, 30)).astype(np.float64),
    ):
        found = mark(section, normalize=normalize)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (1, 1, 9), (2, 2, 2)])
def test_the_smallest_sections_are_marked(shape):
    for method in ("nearest", "bilinear"):
        for predictor in (
            make_predictor(method=method),
            make_predictor(method=method, tile=(101, 101)),
        ):
            found = mark(noise(*shape), predictor)
            assert found.shape == shape
            assert ((0 < found) & (found < 1)).all()


def test_memory_does_not_hold_the_volume():
    """Reading, marking and writing go line by line, whatever the number of lines."""
    volume = noise(40, 30, 30)
    source, sink = traces(volume), traces(np.zeros(volume.shape, np.float32))
    read, write, held, most = source.read, sink.write, 0, 0

    def count_read(numbers):
        nonlocal held, most
        held += 1
        most = max(most, held)
        return read(numbers)

    def count_write(numbers, prob):
        nonlocal held
        write(numbers, prob)
        held -= 1

    source.read, sink.write = count_read, count_write
    volumes.mark(source, sink, [make_predictor()], "clip", "inline")
    # Besides the sample that gives the range: those read ahead, in the works and to be written.
    assert held == 1
    assert most <= 1 + 2 * (volumes.READ_AHEAD + 1) + 3
