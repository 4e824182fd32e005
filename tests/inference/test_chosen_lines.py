"""Some lines of a volume, --lines: the probabilities of the whole volume, in files of their own."""

import csv

import forked
import numpy as np
import pytest
import segy_writer
import zarr_files
import zgy_files
from prediction import random_traces
from program import assert_refused

import saltjax
from saltjax import predict
from saltjax.inference import chosen_lines
from saltjax.seismic import npy, segy, zarr_output, zarr_store
from saltjax.system.errors import InputError

INLINES, CROSSLINES = np.arange(100, 124, 2), np.arange(301, 310)


def write_segy(path, values, order, trailer):
    """Writes a volume [12, 9, samples], its traces in that order, with a trailer; returns headers too."""
    i, x = (a.ravel()[order] for a in np.indices((12, 9)))
    segy_writer.write(path, values[i, x], 5, inline=INLINES[i], crossline=CROSSLINES[x])
    _, headers, _ = segy_writer.read_parts(path, values.shape[2], 5)
    content = bytearray(path.read_bytes())
    content[3500], content[3506:3508] = 2, b"\0\0"  # revision 2
    content[3268:3272], content[3520:3528] = bytes(4), bytes(8)
    content[3528:3532] = b"\0\0\0\1"
    path.write_bytes(bytes(content) + trailer)
    return i, x, headers


@pytest.mark.parametrize(
    ("direction", "text", "chosen"),
    [
        ("inline", "104:115:4", [2, 4, 6]),
        ("inline", "104:104", [2]),
        ("inline", "0:1000:2", list(range(12))),
        ("crossline", "303:309:3", [2, 5, 8]),
    ],
)
def test_of_segy(plain, tmp_path, direction, text, chosen):
    values = random_traces(12, 9, 40)
    values[:3] *= 20  # another range than that of the chosen lines
    order = np.random.default_rng(2).permutation(108)
    trailer = bytes(range(256)) * 12 + bytes(128)
    path, out = tmp_path / "in.sgy", tmp_path / "out"
    i, x, headers = write_segy(path, values, order, trailer)
    expected = saltjax.load(plain).predict(values, direction=direction)
    predict.predict(
        [plain],
        str(path),
        str(out),
        predict.Flags(
            threshold=0.5, lines=text, direction=direction, report=True, bodies=True
        ),
    )
    kept = np.isin(i if direction == "inline" else x, chosen)
    content = (out / "in_prob.sgy").read_bytes()
    assert content.endswith(trailer)
    (tmp_path / "traces.sgy").write_bytes(content.removesuffix(trailer))
    _, found, prob = segy_writer.read_parts(tmp_path / "traces.sgy", 40, 5)
    np.testing.assert_array_equal(found, headers[kept])
    np.testing.assert_allclose(prob, expected[i, x][kept], atol=1e-6)
    page = (out / "in_report.html").read_text(encoding="utf-8")
    assert f"--lines={chosen_lines.parse(text).start}:" in page


@pytest.mark.parametrize("direction", ["inline", "crossline"])
@pytest.mark.parametrize(
    ("text", "part"),
    [("2:8:3", slice(2, 9, 3)), ("-3:4:2", slice(1, 5, 2)), ("7:7", slice(7, 8))],
)
def test_of_arrays(plain, tmp_path, direction, text, part):
    values = random_traces(12, 9, 40)
    values[:3] *= 20
    np.save(tmp_path / "a.npy", values)
    predict.predict(
        [plain],
        str(tmp_path / "a.npy"),
        str(tmp_path / "out"),
        predict.Flags(lines=text, direction=direction),
    )
    expected = saltjax.load(plain).predict(values, direction=direction)
    expected = expected[part] if direction == "inline" else expected[:, part]
    found = np.load(tmp_path / "out/a_prob.npy")
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "text", ["", "5", "a:b", "1:2:3:4", "9:1", "1:9:0", "1:9:-2", "1.5:2"]
)
def test_what_is_no_range(text):
    with pytest.raises(InputError, match="expected START:STOP"):
        chosen_lines.parse(text)


def test_mistakes(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(5, 4, 20))
    np.save(tmp_path / "line.npy", random_traces(20, 30))
    base = ["--mode=predict", f"--workdir={plain}", f"--output={tmp_path}/out"]
    volume = [*base, f"--input={tmp_path}/a.npy"]
    for words, message in (
        ([*volume, "--lines=9:12"], "none of these inlines; it has 0 to 4"),
        ([*volume, "--lines=1:2", "--direction=both"], "needs all lines"),
        ([*base, f"--input={tmp_path}/line.npy", "--lines=1:2"], "this is a section"),
        ([*volume, "--lines=1-2"], "--lines=1-2; expected START:STOP"),
    ):
        assert_refused(forked.launch(*words), message)


@pytest.mark.parametrize("direction", ["inline", "crossline"])
@pytest.mark.parametrize("kind", ["npy", "sgy", "zgy"])
def test_lines_that_are_not_neighbours_have_no_body_in_common(
    plain, tmp_path, kind, direction
):
    """All is salt: of a whole volume that is one body, of every second line one a line."""
    values = random_traces(6, 7, 40)
    path, out = tmp_path / f"in.{kind}", tmp_path / "out"
    first, step = (0, 1) if kind == "npy" else (111, 2)
    if direction == "crossline" and kind != "npy":
        first, step = 875, 1
    i, x = (a.ravel() for a in np.indices((6, 7)))
    if kind == "npy":
        np.save(path, values)
    elif kind == "zgy":
        zgy_files.write(path, values)
    else:
        segy_writer.write(path, values[i, x], 5, inline=111 + 2 * i, crossline=875 + x)
    flags = {"threshold": 0.0, "min_area": 0, "bodies": True, "direction": direction}
    counts = {}
    for name, text in (
        ("whole", f"{first}:{first + 4 * step}"),
        ("parts", f"{first}:{first + 4 * step}:{2 * step}"),
    ):
        chosen = predict.Flags(lines=text, **flags)
        predict.predict([plain], str(path), str(out / name), chosen)
        with (out / name / "in_bodies.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        counts[name] = [int(row["samples"]) for row in rows]
        spans = {
            row[f"{direction}_min"] + "-" + row[f"{direction}_max"] for row in rows
        }
        if name == "parts":
            lines = (first, first + 2 * step, first + 4 * step)
            assert spans == {f"{line}-{line}" for line in lines}
            points = np.loadtxt(out / name / "in_top_salt.txt")
            column = points[:, 0 if direction == "inline" else 1]
            assert set(column) == set(lines)
    others = 7 if direction == "inline" else 6
    assert counts == {"whole": [5 * others * 40], "parts": [others * 40] * 3}


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_lines_with_gaps_are_as_in_the_whole_volume(plain, tmp_path, direction):
    """Gaps that are filled there are filled here, and traces that are padding are none of its lines."""
    values = random_traces(12, 40, 30)
    i, x = (a.ravel() for a in np.indices((12, 40)))
    gap = (x > 5) & (x < 34) & np.isin(i, (4, 6))
    if direction == "crossline":
        values, i, x = values.swapaxes(0, 1), x, i
    rest = np.flatnonzero(~gap)
    traces = np.concatenate([values[i, x][rest], values[0, :3]])
    numbers = [np.append(n[rest], [0, 0, 0]) for n in (110 + i, 300 + x)]
    if direction == "inline":
        numbers = [np.where(n > 0, n, 0) for n in numbers]
    path = tmp_path / "in.sgy"
    segy_writer.write(path, traces, 5, inline=numbers[0], crossline=numbers[1])
    first = 110 if direction == "inline" else 300
    for name, lines in (("whole", None), ("part", f"{first + 4}:{first + 6}")):
        flags = predict.Flags(direction=direction, lines=lines)
        predict.predict([plain], str(path), str(tmp_path / name), flags)
    whole, part = (
        segy.SegyTraces(tmp_path / name / "in_prob.sgy") for name in ("whole", "part")
    )
    places = {
        place: number
        for number, place in enumerate(zip(*whole.line_numbers(np.arange(whole.count))))
    }
    chosen = [places[place] for place in zip(*part.line_numbers(np.arange(part.count)))]
    assert part.count == 12 + 12 + 40
    # Batches are of other sizes.
    np.testing.assert_allclose(
        part.read(np.arange(part.count)), whole.read(np.array(chosen)), atol=1e-6
    )
    flags = predict.Flags(direction=direction, lines="0:9")
    with pytest.raises(InputError, match=f"it has {first} to {first + 11}"):
        predict.predict([plain], str(path), str(tmp_path / "none"), flags)


@pytest.mark.parametrize(
    "text", ["0:5000:99999999999", "-3000000000:3000000000", f"0:{10**30}"]
)
def test_numbers_of_more_than_32_bits_are_refused(text):
    with pytest.raises(InputError, match="expected START:STOP"):
        chosen_lines.parse(text)


def test_lines_whose_numbers_have_gaps(plain, tmp_path):
    values = random_traces(5, 9, 40)
    path = tmp_path / "in.zarr"
    numbers = np.array([10, 11, 12, 20, 24])
    zarr_output.write_volume(path, values, numbers, np.arange(9), zarr_files.AXIS)
    flags = predict.Flags(threshold=0.5, lines="10:24:2")
    predict.predict([plain], str(path), str(tmp_path / "out"), flags)
    group = tmp_path / "out/in_prob.zarr"
    assert zarr_store.Array(group / "inline").read(4).tolist() == [10, 12, 20, 24]
    expected = saltjax.load(plain).predict(values)[[0, 2, 3, 4]]
    found = zarr_store.Array(group / "probability").read(4, 9, 40)
    np.testing.assert_array_equal(found, expected)


def test_the_largest_numbers_do_not_overflow():
    source = npy.ArrayTraces(lambda: np.zeros((20, 3, 5)), "a")
    wanted = chosen_lines.parse("-2147483647:2147483647:7")
    # -2147483647 is 2 less than a multiple of 7.
    found = chosen_lines.select(source, "inline", wanted)
    assert found.numbers("inline").tolist() == [n for n in range(20) if (n + 2147483647) % 7 == 0]  # fmt: skip
