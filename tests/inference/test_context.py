"""Networks whose channels are the sections around a section, applied to volumes.

A network whose weights look at one channel only gives what a network of tiles gives for a volume that
is shifted by as many lines.
"""

import jax
import numpy as np
import pytest
import segy_writer
from variables import draw_variables

from saltjax.inference import volumes, windows
from saltjax.inference.windows import SectionModel
from saltjax.networks.fcn import FCN
from saltjax.networks.network import Network
from saltjax.seismic import npy
from saltjax.seismic.segy import SegyTraces

MODEL = FCN(features=(4,))
# Of amplitudes in [0, 1], so that the range of the amplitudes does not depend on the lines.
VOLUME = np.random.default_rng(0).uniform(0.01, 1, (6, 14, 12)).astype(np.float32)


def make_model(context, channel=None):
    """Returns a network of that context; with `channel`, one that looks at this channel only."""
    network, variables = Network(MODEL, 16, "nearest", context), draw_variables(MODEL)
    rng = np.random.default_rng(1)
    if channel is None:
        kernel = rng.normal(0, 0.2, (3, 3, network.channels, 4))
    else:
        kernel = np.zeros((3, 3, network.channels, 4))
        kernel[:, :, channel] = rng.normal(0, 0.4, (3, 3, 4))
    variables["params"]["block0"]["conv1"]["kernel"] = kernel.astype(np.float32)
    return SectionModel(network, variables, (10, 10), 8, tta=False)


# Of tiles, whose three channels are equal.
PLAIN = make_model(0, channel=0)


def segment(array, *models, direction="inline"):
    prob = np.full(array.shape, 9, np.float32)
    source, sink = (npy.ArrayTraces(lambda x=x: x, "") for x in (array, prob))
    volumes.segment(source, sink, models, "none", direction)
    return prob


def shifted(axis, distance):
    """Returns the volume with the line so far away in the place of each, the last for those beyond."""
    count = VOLUME.shape[axis]
    places = np.clip(np.arange(count) + distance, 0, count - 1)
    return VOLUME.take(places, axis)


@pytest.mark.parametrize(("context", "channel"), [(1, 0), (1, 1), (2, 4)])
def test_a_channel_is_the_volume_shifted_by_its_distance(context, channel):
    model, distance = make_model(context, channel), channel - context
    inline = segment(shifted(0, distance), PLAIN)
    np.testing.assert_allclose(segment(VOLUME, model), inline, atol=1e-6)
    crossline = segment(shifted(1, distance), PLAIN, direction="crossline")
    for direction, expected in (
        ("crossline", crossline),
        ("both", (inline + crossline) / 2),
    ):
        found = segment(VOLUME, model, direction=direction)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(inline - segment(shifted(0, -1 - distance), PLAIN)).max() > 1e-2


@pytest.mark.parametrize("array", [VOLUME[:1], VOLUME[:, :1], VOLUME[0].T])
def test_a_single_line_is_all_channels(array):
    expected = segment(array, PLAIN)
    for channel in (0, 3):
        model = make_model(2, channel)
        np.testing.assert_allclose(segment(array, model), expected, atol=1e-6)


def test_networks_of_different_contexts_are_averaged():
    models = [make_model(2), make_model(0), make_model(1)]
    expected = np.mean([segment(VOLUME, model) for model in models], axis=0)
    np.testing.assert_allclose(segment(VOLUME, *models), expected, atol=1e-6)


def test_pieces_of_long_lines_give_the_probabilities_of_the_whole(monkeypatch):
    rng, model = np.random.default_rng(3), make_model(1)
    volume = rng.uniform(0.01, 1, (3, 200, 9)).astype(np.float32)
    volume[rng.random((3, 200)) < 0.1] = 0
    whole = segment(volume, model)
    monkeypatch.setattr(volumes, "PIECE", 50)
    assert len(volumes.pieces(200, [model])) > 2
    np.testing.assert_allclose(segment(volume, model), whole, atol=1e-6)


def test_few_lines_are_in_memory_and_each_is_read_once():
    volume = np.random.default_rng(3).uniform(0.01, 1, (40, 30, 30)).astype(np.float32)
    source, reads = npy.ArrayTraces(lambda: volume, ""), []
    sink = npy.ArrayTraces(lambda: np.zeros_like(volume), "")
    read, write, ahead = source.read, sink.write, []

    def count_read(numbers):
        reads.append(numbers[0] // 30)
        return read(numbers)

    def count_write(numbers, prob):
        write(numbers, prob)
        ahead.append(reads[-1] - numbers[0] // 30)

    source.read, sink.write = count_read, count_write
    volumes.segment(source, sink, [make_model(2)], "none", "inline")
    # After the search for NaN and the sample for the range.
    assert reads[2:] == list(range(40))
    # Lines beside the last one, lines read ahead, two batches of one window a device, and waiting.
    assert max(ahead) <= 2 + 2 * (volumes.READ_AHEAD + 1) + 2 * jax.device_count() + 2


def test_a_missing_trace_of_segy_takes_that_of_the_line_itself(tmp_path):
    """As if the volume had it there, in the channels of the line beside it."""
    inline, crossline = (x.ravel() for x in np.indices(VOLUME.shape[:2]))
    there = (inline != 2) | (crossline != 6)
    path = segy_writer.write(
        tmp_path / "a.sgy",
        VOLUME[inline, crossline][there],
        inline=inline[there],
        crossline=crossline[there],
    )
    source, prob = SegyTraces(path), np.zeros((there.sum(), 12), np.float32)
    sink = npy.ArrayTraces(lambda: prob.T, "")
    volumes.segment(source, sink, [make_model(1, channel=2)], "none", "inline")
    found = np.zeros(VOLUME.shape, np.float32)
    found[inline[there], crossline[there]] = prob
    volume = shifted(0, 1)
    volume[1, 6] = VOLUME[1, 6]
    expected = segment(volume, PLAIN)
    expected[2, 6] = 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_colours_are_grey_for_a_network_whose_channels_are_lines():
    image = np.random.default_rng(0).integers(0, 256, (14, 12, 3), np.uint8)
    grey = image.mean(axis=2, keepdims=True) / 255
    (expected,) = windows.predict_sections([grey.astype(np.float32)], PLAIN)
    for model in (make_model(1, 2), make_model(2, 0)):
        found = windows.predict_image(image, [model])
        np.testing.assert_allclose(found, expected, atol=1e-6)
