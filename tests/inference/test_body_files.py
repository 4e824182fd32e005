"""The files of --bodies: table, body of each sample, and top and base of salt."""

import csv
import dataclasses
import logging
from contextlib import nullcontext

import forked
import numpy as np
import pytest
import segy_writer
from PIL import Image
from prediction import random_traces
from program import assert_refused
from scipy import ndimage

import saltjax
from saltjax import predict
from saltjax.data import horizons
from saltjax.inference import body_files
from saltjax.seismic import grid, npy, segy
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system import output_directory
from saltjax.system.errors import InputError

INLINES, CROSSLINES, SAMPLES = np.arange(100, 124, 2), np.arange(301, 310), 40


def dome():
    """Returns a mask of a known dome and a small body beside it, [inline, crossline, sample]."""
    i, x, s = np.indices((len(INLINES), len(CROSSLINES), SAMPLES))
    away = np.hypot(i - 5, x - 4)
    mask = (away < 4) & (s >= 10 + np.rint(away)) & (s < 30)
    mask[11, 0, 35:37] = True
    return mask


def write_segy(path, volume, code=5, order=None, **halves):
    """Writes a volume with bins of 25 by 12.5 m; `order` that of the traces in the file."""
    i, x = (a.ravel() for a in np.indices(volume.shape[:2]))
    order = np.arange(len(i)) if order is None else order
    i, x = i[order], x[order]
    segy_writer.write(
        path,
        volume[i, x],
        code,
        inline=INLINES[i],
        crossline=CROSSLINES[x],
        fields={181: 6_000_000 + 250 * i, 185: 60_000_000 + 125 * x},
        shorts={71: [-10] * len(i), 89: [1] * len(i)},
    )
    content = bytearray(path.read_bytes())
    content[3254:3256] = halves.get("measure", 1).to_bytes(2, "big")
    path.write_bytes(content)
    return segy.SegyTraces(path)


def survey_of(masks, axis):
    """Returns what the headers tell, with another vertical axis."""
    return dataclasses.replace(body_files.survey_of("cube.sgy", masks), axis=axis)


def write(folder, masks, probs, survey, min_body=0):
    """Writes the files of a mask; returns the plan, the ids and what was found."""
    path = folder / survey.name
    plan = body_files.plan(folder, path.stem, path.suffix, survey, min_body)

    def create(part):
        if isinstance(masks, segy.SegyTraces):
            return segy.create(part, masks, 5)
        return npy.create(part, masks.shape, "int32")

    with output_directory.claim(folder, "--output", folder / survey.name) as claimed:
        found = body_files.write(
            plan, claimed, masks, probs, lambda part: nullcontext(create(part))
        )
    ids = segy.reopen(plan.ids, masks)
    return plan, ids, found


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_known_shape(tmp_path, caplog, shuffled):
    caplog.set_level(logging.INFO, "saltjax")
    mask = dome()
    order = np.random.default_rng(0).permutation(108) if shuffled else None
    masks = write_segy(tmp_path / "m.sgy", mask.astype(int), 3, order)
    probs = write_segy(tmp_path / "p.sgy", np.where(mask, 0.75, 0.1), 5, order)
    survey = survey_of(masks, SampleAxis("ms", 100, 4))
    plan, ids, found = write(tmp_path, masks, probs, survey)
    large, small = rows_of(plan.table)
    traces, samples = int(mask[:11].any(2).sum()), int(mask[:11].sum())
    assert large == {
        "id": "1",
        "samples": str(samples),
        "traces": str(traces),
        "inline_min": "104",
        "inline_max": "116",
        "crossline_min": "302",
        "crossline_max": "308",
        "z_min": "140",
        "z_max": "216",
        "z_unit": "ms",
        "area": f"{traces * 312.5:g}",
        "area_unit": "m2",
        "volume": f"{samples * 1250}",
        "volume_unit": "m2 ms",
        "mean_probability": "0.7500",
    }
    assert (small["samples"], small["traces"], small["z_min"]) == ("2", "1", "240")
    assert found.largest[1].row == {
        k: type(found.largest[1].row[k])(v) for k, v in small.items()
    }
    assert (
        found.largest[0].inline,
        found.largest[0].crossline,
        found.largest[0].sample,
    ) == (110, 305, 19)
    assert "2 salt bodies, the largest of" in caplog.text
    # The samples of each, in the trace order of the file.
    i, x = np.indices(mask.shape[:2]).reshape(2, -1)[
        :, order if shuffled else slice(None)
    ]
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(ids.read(np.arange(108)), labels[i, x])


def test_horizons_become_the_labels_they_were_made_from(tmp_path):
    mask = dome()
    mask[11] = False
    masks = write_segy(tmp_path / "m.sgy", mask.astype(int))
    volume = grid.open_grid(tmp_path / "m.sgy", (189, 193), "--config.data.volume")
    survey = survey_of(masks, volume.axis)
    plan, _, _ = write(tmp_path, masks, masks, survey)
    labels = horizons.open_horizons(plan.points[0], plan.points[1], volume)
    i, x = (a.ravel() for a in np.indices(mask.shape[:2]))
    found = labels.read(i, x).reshape(mask.shape)
    picked = mask.any(axis=2)
    np.testing.assert_array_equal(found[picked], mask[picked])
    assert (found[~picked] > 1).all()


def test_points_have_coordinates_and_a_header(tmp_path):
    masks = write_segy(tmp_path / "m.sgy", dome().astype(int))
    survey = survey_of(masks, SampleAxis("m", 50, 2.5))
    plan, _, _ = write(tmp_path, masks, masks, survey)
    title, names = plan.points[0].read_text().splitlines()[:2]
    assert title.startswith("# Top of salt in cube.sgy: ")
    assert names == "# inline, crossline, x (m), y (m), depth (m)"
    top, base = np.loadtxt(plan.points[0]), np.loadtxt(plan.points[1])
    np.testing.assert_array_equal(top[:, :4], base[:, :4])
    np.testing.assert_allclose(top[:, 2], 600_000 + 12.5 * (top[:, 0] - 100))
    np.testing.assert_allclose(top[:, 3], 6_000_000 + 12.5 * (top[:, 1] - 301))
    # Body 2, of one trace, comes last.
    assert top[-1].tolist() == [122, 301, 600_275, 6_000_000, 50 + 2.5 * 35]
    assert base[-1, 4] == 50 + 2.5 * 36
    crest = top[(top[:, 0] == 110) & (top[:, 1] == 305)]
    assert crest[0, 4] == 50 + 2.5 * 10


def test_volume_in_depth_has_cubic_units_and_unknown_ones_are_left_out(tmp_path):
    masks = write_segy(tmp_path / "m.sgy", dome().astype(int))
    for axis, known, units in (
        (SampleAxis("m", 0, 2), True, ("m2", "m3")),
        (SampleAxis("ft", 0, 2), True, ("m2", "m2 ft")),
        (SampleAxis(), True, ("m2", "")),
        (SampleAxis("ms", 0, 4), False, ("", "")),
    ):
        survey = survey_of(masks, axis)
        if not known:
            survey = dataclasses.replace(survey, coordinates=None, bins=None)
        plan, _, _ = write(tmp_path, masks, masks, survey)
        row = rows_of(plan.table)[0]
        assert (row["area_unit"], row["volume_unit"]) == units
        assert bool(row["area"]) == bool(known)
        assert bool(row["volume"]) == bool(units[1])
    masks = write_segy(tmp_path / "m.sgy", dome().astype(int), measure=0)
    survey = survey_of(masks, SampleAxis("ms", 0, 4))
    plan, _, _ = write(tmp_path, masks, masks, survey)
    row = rows_of(plan.table)[0]
    assert row["area"]
    assert row["area_unit"] == row["volume_unit"] == ""


def test_gaps_between_lines_part_bodies(tmp_path):
    mask = np.ones((4, 3, 5), int)
    i, x = (a.ravel() for a in np.indices((4, 3)))
    inline = np.array([10, 12, 14, 20])[i]  # 16 and 18 are missing
    path = segy_writer.write(
        tmp_path / "m.sgy", mask.reshape(12, 5), inline=inline, crossline=x + 1
    )
    masks = segy.SegyTraces(path)
    survey = survey_of(masks, SampleAxis())
    plan, _, _ = write(tmp_path, masks, masks, survey)
    found = [(row["inline_min"], row["inline_max"]) for row in rows_of(plan.table)]
    assert found == [("10", "14"), ("20", "20")]


def test_two_d_lines_have_bodies_of_their_own_and_areas_in_the_section(tmp_path):
    n = 30
    salt = np.zeros((2 * n, 12), int)
    salt[5:9, 3:6] = salt[n + 5 : n + 9, 3:8] = 1
    place = np.arange(2 * n) % n
    path = segy_writer.write(
        tmp_path / "l.sgy",
        salt,
        inline=np.repeat([7, 8], n),
        fields={181: 25 * place, 185: np.repeat([0, 99_999], n)},
        shorts={71: [1] * 2 * n, 89: [1] * 2 * n},
    )
    content = bytearray(path.read_bytes())
    content[3254:3256] = b"\0\1"
    path.write_bytes(content)
    masks = segy.SegyTraces(path)
    survey = survey_of(masks, SampleAxis("ms", 0, 4))
    plan, _, found = write(tmp_path, masks, masks, survey)
    rows = rows_of(plan.table)
    assert [row["samples"] for row in rows] == ["20", "12"]
    assert [row["inline_min"] for row in rows] == ["8", "7"]
    assert [(row["area"], row["area_unit"], row["volume"]) for row in rows] == [
        ("2000", "m ms", ""),
        ("1200", "m ms", ""),
    ]
    assert [body.section for body in found.largest] == [1, 0]


def test_more_bodies_than_a_file_can_number(tmp_path, monkeypatch):
    monkeypatch.setattr(body_files, "MAX_BODIES", 1)
    masks = write_segy(tmp_path / "m.sgy", dome().astype(int))
    survey = survey_of(masks, SampleAxis())
    with pytest.raises(
        InputError, match=r"cube\.sgy: 2 salt bodies; at most 1 .*--min_body"
    ):
        write(tmp_path, masks, masks, survey)
    _, _, found = write(tmp_path, masks, masks, survey, min_body=3)
    assert found.count == 1


@pytest.mark.parametrize("shape", [(7, 9, 30), (40, 50)])
def test_of_a_prediction_of_an_array(plain, tmp_path, shape):
    np.save(tmp_path / "a.npy", random_traces(*shape))
    out = tmp_path / "out"
    first = tmp_path / "first"
    predict.predict(
        [plain], str(tmp_path / "a.npy"), str(first), predict.Flags(threshold=0.5)
    )
    threshold = float(np.quantile(np.load(first / "a_prob.npy"), 0.8))
    predict.predict(
        [plain],
        str(tmp_path / "a.npy"),
        str(out),
        predict.Flags(threshold=threshold, bodies=True, min_body=3),
    )
    mask, ids = np.load(out / "a_mask.npy"), np.load(out / "a_bodies.npy")
    assert ids.dtype == np.int32
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = ndimage.sum(mask, labels, range(1, count + 1))
    rows = rows_of(out / "a_bodies.csv")
    assert [int(row["samples"]) for row in rows] == sorted(sizes[sizes >= 3])[::-1]
    np.testing.assert_array_equal(
        ids > 0, np.isin(labels, 1 + np.flatnonzero(sizes >= 3))
    )
    points = np.loadtxt(out / "a_top_salt.txt", ndmin=2)
    assert points.shape == (sum(int(row["traces"]) for row in rows), 3)
    assert (out / "a_base_salt.txt").read_text().splitlines()[1] == (
        "# inline, crossline, sample"
    )


@pytest.mark.parametrize("code", [3, 5])
def test_of_a_prediction_of_segy(plain, tmp_path, code):
    values = np.trunc(random_traces(12, 9, 40) / 30)
    values[3, 4] = 0  # dead
    order = np.random.default_rng(2).permutation(108)
    path = tmp_path / "in.sgy"
    write_segy(path, values, code, order)
    prob = saltjax.load(plain).predict(values.astype(np.float32))
    threshold = float(np.quantile(prob, 0.8))
    out = tmp_path / "out"
    predict.predict(
        [plain],
        str(path),
        str(out),
        predict.Flags(threshold=threshold, bodies=True, report=True),
    )
    mask = (prob >= np.float32(threshold)) & (prob > 0)
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = ndimage.sum(mask, labels, range(1, count + 1))
    found = rows_of(out / "in_bodies.csv")
    assert [int(row["samples"]) for row in found] == sorted(sizes)[::-1]
    assert {row["area_unit"] for row in found} == {"m2"}
    i, x = (a.ravel()[order] for a in np.indices((12, 9)))
    _, headers, ids = segy_writer.read_parts(out / "in_bodies.sgy", 40, 5)
    _, expected, _ = segy_writer.read_parts(path, 40, code)
    np.testing.assert_array_equal(headers, expected)
    np.testing.assert_array_equal(ids > 0, mask[i, x])
    pairs = np.unique(np.stack([ids.ravel(), labels[i, x].ravel()]), axis=1)
    assert pairs.shape[1] == count + 1
    page = (out / "in_report.html").read_text(encoding="utf-8")
    assert page.count("data-body=") == min(count, body_files.MAX_LISTED)
    # Another mask leaves none of the bodies of this one.
    predict.predict([plain], str(path), str(out), predict.Flags(threshold=0.9))
    left = {p.name for p in out.iterdir() if not p.name.startswith(".")}
    assert left == {"in_prob.sgy", "in_mask.sgy"}


def test_a_failure_keeps_probabilities_and_mask(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(body_files, "MAX_BODIES", 0)
    np.save(tmp_path / "a.npy", random_traces(40, 50))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="Probabilities and mask are written"):
        predict.predict(
            [plain],
            str(tmp_path / "a.npy"),
            str(out),
            predict.Flags(threshold=0.0, bodies=True),
        )
    left = {p.name for p in out.iterdir() if not p.name.startswith(".")}
    assert left == {"a_prob.npy", "a_mask.npy"}


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_all_salt_and_none(plain, tmp_path, threshold):
    np.save(tmp_path / "a.npy", random_traces(6, 7, 20))
    out = tmp_path / "out"
    source = str(tmp_path / "a.npy")
    predict.predict(
        [plain],
        source,
        str(out),
        predict.Flags(threshold=threshold, bodies=True, report=True),
    )
    rows = rows_of(out / "a_bodies.csv")
    lines = (out / "a_top_salt.txt").read_text().splitlines()
    page = (out / "a_report.html").read_text(encoding="utf-8")
    if threshold:
        assert rows == []
        assert len(lines) == 2
        assert "None." in page
    else:
        assert [int(row["samples"]) for row in rows] == [6 * 7 * 20]
        assert len(lines) == 2 + 6 * 7


def test_mistakes(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(40, 50))
    Image.new("L", (9, 9)).save(tmp_path / "i.png")
    base = ["--mode=predict", f"--workdir={plain}", f"--output={tmp_path}/out"]
    line = [*base, f"--input={tmp_path}/a.npy"]
    for words, message in (
        ([*line, "--min_body=3"], "--min_body=3 is of --bodies, which is not given"),
        ([*line, "--bodies", "--min_body=-1"], "--min_body=-1; expected a number of"),
        (
            [*base, f"--input={tmp_path}/i.png", "--bodies"],
            "--bodies is of sections and volumes",
        ),
    ):
        assert_refused(forked.launch(*words), message)


@pytest.mark.parametrize("oblique", [False, True])
def test_surfaces_of_a_volume(tmp_path, caplog, oblique):
    surfio = pytest.importorskip("surfio")
    caplog.set_level(logging.INFO, "saltjax")
    masks = write_segy(tmp_path / "m.sgy", dome().astype(int))
    survey = survey_of(masks, SampleAxis("ms", 0, 4))
    if oblique:
        skewed = survey.bins.vectors + np.array([[0, 0], [3, 0]])
        bins = dataclasses.replace(survey.bins, vectors=skewed)
        survey = dataclasses.replace(survey, bins=bins)
    plan, _, _ = write(tmp_path, masks, masks, survey)
    assert ("not perpendicular" in caplog.text) == oblique
    assert len(plan.surfaces) == 2 - 2 * oblique
    for path, points in zip(plan.surfaces, (plan.points[0], plan.points[1])):
        found = surfio.IrapSurface.from_binary_file(path).values
        assert sorted(found[np.isfinite(found)]) == sorted(np.loadtxt(points)[:, 4])
