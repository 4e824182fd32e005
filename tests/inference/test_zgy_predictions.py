"""Predictions of ZGY files: those of the same volume as SEG-Y, in files that OpenZGY reads."""

import csv
import errno
import json

import numpy as np
import pytest
import segy_writer
import zgy_files
from openzgy import api
from prediction import random_traces

import saltjax
from saltjax import predict
from saltjax.system.errors import InputError

SHAPE = (67, 9, 40)
THRESHOLD = 0.5


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    """Returns a volume, in.zgy and in.sgy, both with the same lines and coordinates."""
    folder, values = tmp_path_factory.mktemp("volume"), random_traces(*SHAPE)
    values[5, 3] = 0  # a dead trace
    zgy = zgy_files.write(folder / "in.zgy", values)
    i, x = (a.ravel() for a in np.indices(SHAPE[:2]))
    segy_writer.write(
        folder / "in.sgy",
        values.reshape(-1, SHAPE[2]),
        5,
        inline=111 + 2 * i,
        crossline=875 + x,
    )
    return values, zgy, folder / "in.sgy"


@pytest.mark.parametrize("direction", ["inline", "crossline", "both"])
def test_probabilities_and_mask(plain, volume, tmp_path, direction):
    values, path, _ = volume
    expected = saltjax.load(plain).predict(values, direction=direction)
    predict.predict([plain], str(path), str(tmp_path), predict.Flags(threshold=THRESHOLD, direction=direction))  # fmt: skip
    prob, header = zgy_files.read(tmp_path / "in_prob.zgy")
    np.testing.assert_array_equal(prob, expected)
    assert (header["annotstart"], header["annotinc"]) == ((111, 875), (2, 1))
    np.testing.assert_allclose(header["corners"], zgy_files.corners(SHAPE), rtol=1e-6)
    mask, _ = zgy_files.read(tmp_path / "in_mask.zgy")
    np.testing.assert_array_equal(mask, expected >= THRESHOLD)
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".part"]


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_integers_with_dead_traces_on_lines_numbered_downwards(
    plain, volume, tmp_path, kind
):
    path = tmp_path / "in.zgy"
    zgy_files.write(path, volume[0], kind, annotinc=(-2, 1))
    stored, _ = zgy_files.read(path)
    stored[np.abs(stored) == np.abs(stored).min()] = 0
    assert not stored[5, 3].any()
    predict.predict([plain], str(path), str(tmp_path / "out"))
    prob, header = zgy_files.read(tmp_path / "out/in_prob.zgy")
    np.testing.assert_array_equal(prob, saltjax.load(plain).predict(stored))
    assert header["annotinc"] == (-2, 1)


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_the_page_of_one_line_of_a_volume_names_it(plain, tmp_path, direction):
    values, out = random_traces(6, 7, 40), tmp_path / "out"
    zgy_files.write(tmp_path / "a.zgy", values)
    np.save(tmp_path / "b.npy", values)
    for name, number in (
        ("a.zgy", 115 if direction == "inline" else 877),
        ("b.npy", 2),
    ):
        flags = predict.Flags(
            lines=f"{number}:{number}", direction=direction, report=True
        )
        predict.predict([plain], str(tmp_path / name), str(out), flags)
    names, columns = [], []
    for name in "ab":
        _, _, rest = (out / f"{name}_report.html").read_text().partition('id="section-data">')  # fmt: skip
        (section,) = json.JSONDecoder().raw_decode(rest)[0]["sections"]
        names.append(section["name"])
        columns.append(section["columns"])
    if direction == "inline":
        assert names == ["115", "2"]
        assert columns == [{"first": 875, "step": 1}, {"first": 0, "step": 1}]
    else:
        assert names == ["877", "2"]
        assert columns == [{"first": 111, "step": 2}, {"first": 0, "step": 1}]


def test_some_lines_with_bodies_and_page(plain, volume, tmp_path):
    _, *paths = volume
    for path in paths:
        out = tmp_path / path.suffix[1:]
        predict.predict(
            [plain],
            str(path),
            str(out),
            predict.Flags(
                threshold=THRESHOLD, lines="121:141:5", bodies=True, report=True
            ),
        )
    zgy = tmp_path / "zgy"
    tables = [tmp_path / kind / "in_bodies.csv" for kind in ("zgy", "sgy")]
    of_zgy, of_segy = (
        list(csv.DictReader(table.read_text().splitlines())) for table in tables
    )
    for key in ("samples", "inline_min", "crossline_max", "mean_probability"):
        assert [row[key] for row in of_zgy] == [row[key] for row in of_segy]
    assert of_zgy[0]["area"] == f"{int(of_zgy[0]['traces']) * 507.5:.6g}"
    prob, header = zgy_files.read(zgy / "in_prob.zgy")
    assert (header["annotstart"], header["annotinc"]) == ((121, 875), (10, 1))
    assert prob.shape == (3, 9, 40)
    ids, _ = zgy_files.read(zgy / "in_bodies.zgy")
    mask, _ = zgy_files.read(zgy / "in_mask.zgy")
    np.testing.assert_array_equal(ids > 0, mask > 0)
    points = np.loadtxt(zgy / "in_top_salt.txt")
    place = (points[:, :2] - (111, 875)) / (2, 1)
    np.testing.assert_allclose(
        points[:, 2:4],
        zgy_files.ORIGIN
        + place @ np.stack([zgy_files.TO_INLINE, zgy_files.TO_CROSSLINE]),
    )
    assert set((points[:, 4] - 8) % 4) == {0}
    text = (zgy / "in_report.html").read_text()
    _, _, rest = text.partition('id="section-data">')
    page, _ = json.JSONDecoder().raw_decode(rest)
    assert [section["name"] for section in page["sections"]] == ["121", "131", "141"]
    assert page["sections"][0]["columns"] == {"first": 875, "step": 1}
    assert page["rows"] == {"unit": "ms", "first": 8.0, "step": 4.0}


def test_damaged_file(plain, volume, tmp_path):
    _, path, _ = volume
    damaged = tmp_path / "a.zgy"
    damaged.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match="OpenZGY cannot read it"):
        predict.predict(
            [plain],
            str(damaged),
            str(tmp_path / "out"),
            predict.Flags(threshold=THRESHOLD),
        )
    assert not list((tmp_path / "out").glob("*.zgy"))


def test_results_of_another_input_of_that_name_stay(plain, volume, tmp_path):
    np.save(tmp_path / "in.npy", volume[0])
    out, flags = tmp_path / "out", predict.Flags(threshold=THRESHOLD, bodies=True)
    predict.predict([plain], str(tmp_path / "in.npy"), str(out), flags)
    predict.predict([plain], str(volume[1]), str(out))
    assert (out / "in_bodies.csv").exists()
    assert (out / "in_bodies.npy").exists()
    assert (out / "in_top_salt.txt").exists()


def test_bodies_stay_with_their_mask_if_a_new_one_is_not_packed(
    plain, volume, tmp_path, monkeypatch
):
    flags = predict.Flags(threshold=THRESHOLD, bodies=True)
    predict.predict([plain], str(volume[1]), str(tmp_path), flags)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("in_*")}

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(api.ZgyWriter, "write", fail)
    with pytest.raises(InputError, match=rf"cannot write {tmp_path}/in_prob\.zgy: No sp"):  # fmt: skip
        predict.predict([plain], str(volume[1]), str(tmp_path), flags)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("in_*")} == before
    assert not list(tmp_path.glob(".*.part"))
