import numpy as np
import pytest
import segy_writer
import segyio

from saltjax.seismic import ibm, segy


@pytest.mark.parametrize(
    ("bits", "value"),
    [
        (0x41100000, 1.0),
        (0xC276A000, -118.625),  # -(7·16 + 6 + 10/16)
        (0x40800000, 0.5),
        (0x40199999, 0x199999 / 2**24),  # 0.1, rounded towards 0
        (0, 0.0),
    ],
)
def test_values_by_hand(bits, value):
    bits, value = np.array([bits], np.uint32), np.array([value], np.float32)
    assert ibm.to_ieee(bits) == value
    assert ibm.from_ieee(value) == bits


def test_every_exponent_and_sign_is_converted():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, np.uint32)
    expected = segy_writer.from_ibm(bits)
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32)  # infinite beyond its range
    np.testing.assert_array_equal(ibm.to_ieee(bits), expected)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    normal = np.abs(values) >= np.finfo(np.float32).tiny
    found = ibm.from_ieee(values)
    np.testing.assert_array_equal(found[normal], segy_writer.to_ibm(values[normal]))
    assert not found[~normal].any()


def test_segyio_reads_and_writes_the_same(tmp_path):
    rng = np.random.default_rng(1)
    values = (rng.normal(size=(40, 50)) * 10.0 ** rng.integers(-6, 7, (40, 1))).astype(
        "f"
    )
    path = segy_writer.write(tmp_path / "a.sgy", np.zeros((40, 50)), 1)
    traces = segy.SegyTraces(path)
    traces.write(np.arange(40), values)
    ours = path.read_bytes()
    with segyio.open(path, "r+", ignore_geometry=True) as file:
        np.testing.assert_array_equal(traces.read(np.arange(40)), file.trace.raw[:])
        file.trace = values
    assert path.read_bytes() == ours
