import dataclasses
import logging

import jax
import numpy as np
import pytest
from variables import draw_variables

from saltjax.inference import axes, scaling, volumes, windows
from saltjax.inference.windows import SectionModel
from saltjax.networks.network import Network
from saltjax.networks.unet import UNet
from saltjax.seismic import amplitudes, npy
from saltjax.system.errors import InputError

UNET = UNet(features=(4, 8))


def make_model(seed=1, method="nearest", size=16, tile=(10, 10), unet=UNET):
    network, variables = Network(unet, size, method), draw_variables(unet, seed=seed)
    return SectionModel(network, variables, tile, 8, tta=False)


def traces(array):
    return npy.ArrayTraces(lambda: array, "the array")


def segment(array, *models, normalize="clip", direction="inline"):
    """Returns the probabilities of an array, which overwrite those of 9 that were there."""
    prob = np.full(array.shape, 9, np.float32)
    models = models or [make_model()]
    volumes.segment(traces(array), traces(prob), models, normalize, direction)
    return prob


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 50, shape).astype(np.float32)


def by_hand(section, limit):
    """Returns the probabilities of one section whose range is -limit to limit."""
    image = np.clip(section / limit / 2 + 0.5, 0, 1).astype(np.float32)[:, :, None]
    return next(windows.predict_sections([image], make_model()))


def test_volume_is_segmented_along_either_direction():
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
        found = segment(volume, direction=direction)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(inline - crossline).max() > 1e-3


def test_several_networks_are_averaged():
    section = noise(20, 30)
    one, two = make_model(1), make_model(2, "pad", 24)
    expected = (segment(section, one) + segment(section, two)) / 2
    np.testing.assert_allclose(segment(section, one, two), expected, atol=1e-6)


def test_dead_traces_are_zero_and_not_part_of_the_range():
    section = noise(40, 50)
    section[:, 10:35] = 0
    found = segment(section)
    assert not found[:, 10:35].any()
    assert found[:, :10].all()
    assert found[:, 35:].all()
    limit = np.percentile(np.abs(section[:, section.any(axis=0)]), 99)
    expected = by_hand(section, limit)
    np.testing.assert_allclose(found[:, 35:], expected[:, 35:], atol=1e-6)
    assert not segment(np.zeros((8, 9), np.float32)).any()


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "pad"])
@pytest.mark.parametrize("size", [16, 15])
def test_pieces_of_a_long_line_give_the_probabilities_of_the_whole(
    monkeypatch, method, size, norm
):
    unet = UNet(features=(4, 8), norm=norm)
    model = make_model(method=method, size=size, tile=(10, 13), unet=unet)
    section = noise(12, 460)
    whole = segment(section, model)
    for piece in (50, 64):
        monkeypatch.setattr(volumes, "PIECE", piece)
        assert len(volumes.pieces(460, [model])) > 3
        np.testing.assert_allclose(segment(section, model), whole, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("factor", ["0.5", "0.75", "1.25", "2"])
@pytest.mark.parametrize("method", ["nearest", "pad"])
def test_pieces_are_exact_at_another_scale(monkeypatch, method, factor):
    model = make_model(method=method, tile=(10, 13))
    model = dataclasses.replace(model, scale=scaling.parse(f"1.5,{factor}"))
    section = noise(12, 900)
    whole = segment(section, model)
    monkeypatch.setattr(volumes, "PIECE", 120)
    assert len(volumes.pieces(900, [model])) > 2
    np.testing.assert_allclose(segment(section, model), whole, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("levels", [3, 4])
def test_pieces_are_exact_where_windows_are_not(monkeypatch, levels):
    """Of group norm with deep networks, and of receptive radii above the largest margin."""
    monkeypatch.setattr(volumes, "PIECE", 70)
    monkeypatch.setattr(axes, "WINDOW", 48)
    monkeypatch.setattr(axes, "RAMP", 8)
    monkeypatch.setattr(axes, "MAX_MARGIN", 6)
    section = noise(40, 500)
    for norm in ("none", "group"):
        unet = UNet(features=(4,) * levels, downsample="strided", norm=norm)
        model = make_model(size=24, tile=(17, 19), unet=unet)
        assert len(volumes.pieces(500, [model])) > 3
        found = segment(section, model)
        with monkeypatch.context() as whole:
            whole.setattr(volumes, "PIECE", 500)
            np.testing.assert_allclose(segment(section, model), found, atol=1e-6)


def test_pieces_keep_every_trace_once(monkeypatch):
    monkeypatch.setattr(volumes, "PIECE", 40)
    found = volumes.pieces(1000, [make_model(), make_model(2)])
    kept = np.concatenate([np.arange(1000)[part][keep] for part, keep in found])
    np.testing.assert_array_equal(kept, np.arange(1000))


def test_pieces_are_as_long_as_the_network_sees_them(monkeypatch):
    monkeypatch.setattr(volumes, "PIECE", 400)
    model = make_model()
    stretched = dataclasses.replace(model, scale=scaling.parse("1,2"))
    assert volumes.longest([model]) == 400
    assert volumes.longest([model, stretched]) == 200
    assert len(volumes.pieces(300, [model])) == 1
    assert len(volumes.pieces(300, [model, stretched])) > 1


@pytest.mark.parametrize("dtype", ["float16", "float64", "int16", ">f4", "uint16"])
def test_amplitudes_of_any_dtype_are_accepted(dtype):
    section = np.abs(noise(20, 30)).astype(dtype)
    expected = segment(section.astype(np.float32))
    np.testing.assert_allclose(segment(section), expected, atol=1e-5)


def test_array_of_bytes_is_an_image():
    section = np.random.default_rng(0).integers(1, 256, (20, 30)).astype(np.uint8)
    image = np.float32(section)[:, :, None] / 255
    expected = next(windows.predict_sections([image], make_model()))
    np.testing.assert_allclose(segment(section), expected, atol=1e-6)
    np.testing.assert_allclose(segment(section, normalize="none"), expected, atol=1e-6)


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
def test_invalid_amplitudes_are_refused_naming_the_trace(value, normalize, message):
    section = np.random.default_rng(0).random((20, 30), np.float32)
    section[7, 2] = value
    with pytest.raises(InputError, match=message):
        segment(section, normalize=normalize)


def test_traces_that_are_not_part_of_the_sample_are_checked(monkeypatch):
    """Before anything is computed."""
    monkeypatch.setattr(amplitudes, "MAX_SAMPLES", 40)
    monkeypatch.setattr(volumes, "SCAN_BLOCK", 100)
    monkeypatch.setattr(volumes, "predict_lines", None)
    section = noise(20, 30)
    section[7, 2] = section[:, 11] = np.nan
    section[3, 17] = np.inf
    message = "trace 3 has samples that are not finite, such as nan, and 1 other trace"
    with pytest.raises(InputError, match=f"{message}.*Nothing was computed"):
        segment(section)


@pytest.mark.parametrize("direction", ["inline", "both"])
def test_damaged_traces_of_a_large_file_cost_only_themselves(
    monkeypatch, caplog, direction
):
    caplog.set_level(logging.INFO, "saltjax")
    monkeypatch.setattr(amplitudes, "MAX_SAMPLES", 40)
    volume = noise(3, 14, 20)
    volume[1, 5] = volume[2, 9] = 0  # as if they were dead
    expected = segment(volume, direction=direction)
    volume[1, 5, 4], volume[2, 9, 0] = np.nan, -np.inf
    volume[2, 9, 1:] = np.nan
    prob = np.full(volume.shape, 9, np.float32)
    monkeypatch.setattr(volumes, "SCAN_BYTES", volume.nbytes - 1)
    options = [make_model()], "clip", direction
    damaged = volumes.segment(traces(volume), traces(prob), *options)
    assert list(damaged) == [19, 37]
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert "trace 20 (inline 1, crossline 5) has samples" in caplog.text
    message = r"trace 20 .* and 1 other trace\(s\); .* Everything else"
    with pytest.raises(InputError, match=message):
        volumes.refuse(damaged, "Everything else")
    volumes.refuse({}, "")


def test_traces_of_nan_are_dead():
    section = noise(20, 30)
    section[:, 7:12] = 0
    expected = segment(section)
    section[:, 7:12] = np.nan
    found = segment(section)
    np.testing.assert_array_equal(found, expected)
    assert not found[:, 7:12].any()
    assert not segment(np.full((4, 5), np.nan)).any()


@pytest.mark.parametrize("normalize", ["clip", "minmax"])
@pytest.mark.parametrize("value", [1e20, 1.7e308, 1e-310])
def test_amplitudes_of_any_size_give_probabilities(normalize, value):
    for section in (
        np.full((20, 30), value),
        value * np.sign(noise(20, 30)).astype(np.float64),
    ):
        found = segment(section, normalize=normalize)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (1, 1, 9), (2, 2, 2)])
def test_smallest_sections_are_segmented(shape):
    for method in ("nearest", "bilinear"):
        for model in (
            make_model(method=method),
            make_model(method=method, tile=(101, 101)),
        ):
            found = segment(noise(*shape), model)
            assert found.shape == shape
            assert ((found > 0) & (found < 1)).all()


def test_few_lines_are_in_memory_at_a_time():
    """Lines are read, segmented and written one by one, whatever their number."""
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
    volumes.segment(source, sink, [make_model()], "clip", "inline")
    # Besides the sample for the range and the search for NaN: lines read ahead, in two batches of
    # one window a device, and waiting to be written.
    assert held == 2
    assert most <= 1 + 2 * (volumes.READ_AHEAD + 1) + 2 * jax.device_count() + 2
