"""Predictions of Zarr volumes: in tasks, of which a restarted command does those that are missing."""

import json
import logging
import shutil

import numpy as np
import other_networks
import pytest
import segy_writer
import zarr_files
from prediction import random_traces

import saltjax
from saltjax import predict
from saltjax.inference import chunks
from saltjax.inference.survey import Survey
from saltjax.seismic import array_files, zarr, zarr_output, zarr_store
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system import output_directory
from saltjax.system.errors import InputError

SHAPE = (7, 9, 40)
THRESHOLD = 0.5
NAMES = ("inline", "crossline", "time")


@pytest.fixture
def volume(tmp_path):
    """Returns a volume with a dead trace, and a Zarr group of it in which another trace is missing."""
    values, mask = random_traces(*SHAPE), np.ones(SHAPE[:2], bool)
    values[5, 3] = 0
    mask[2, 4] = False
    return values, zarr_files.write_volume(tmp_path / "in.zarr", values, mask=mask)


def run(network, path, out, **flags):
    flags = {"threshold": THRESHOLD} | flags
    predict.predict([network], str(path), str(out), predict.Flags(**flags))


def read(path, name="probability"):
    """Returns an array as it is stored."""
    found = zarr_store.Array(path / name)
    return found.read(*found.store.shape)


@pytest.fixture
def done(monkeypatch):
    """Returns a list that the tasks are added to which are done."""
    tasks = []
    for name in ("segment", "average", "write_mask"):
        stage = getattr(Survey, name)

        def do(self, task, name=name, stage=stage):
            stage(self, task)
            tasks.append((name, task.start))

        monkeypatch.setattr(Survey, name, do)
    return tasks


@pytest.mark.parametrize("direction", ["inline", "crossline", "both"])
def test_probabilities_and_mask(plain, volume, tmp_path, direction):
    values, path = volume
    values[2, 4] = 0
    expected = saltjax.load(plain).predict(values, direction=direction)
    expected[2, 4] = np.nan
    run(plain, path, tmp_path / "out", direction=direction)
    prob = read(tmp_path / "out/in_prob.zarr")
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert not prob[5, 3].any()
    mask = read(tmp_path / "out/in_mask.zarr", "mask")
    np.testing.assert_array_equal(mask, prob >= THRESHOLD)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {output_directory.RECORD, "in_prob.zarr", "in_mask.zarr"}


def test_groups_have_the_dimensions_and_coordinates_of_the_input(
    plain, tmp_path, volume
):
    values, path = volume
    zarr_output.write(path / "cdp_x", np.arange(63.0).reshape(7, 9), NAMES[:2])
    headers = path / "headers"  # of a type that only MDIO reads
    headers.mkdir()
    found = {"node_type": "array", "shape": [7, 9], "data_type": {"name": "struct"}}
    (headers / "zarr.json").write_text(json.dumps(found))
    zarr_output.write(path / "labels", values, NAMES)  # another volume
    run(plain, path, tmp_path / "out")
    for name, array in (("prob", "probability"), ("mask", "mask")):
        group = tmp_path / f"out/in_{name}.zarr"
        members = {p.name for p in group.iterdir()}
        assert members == {*NAMES, "trace_mask", "cdp_x", "headers", "zarr.json", array}
        for kept in (*NAMES, "cdp_x"):
            before, after = (zarr_store.Array(p / kept) for p in (path, group))
            assert before.dimensions == after.dimensions
            shape = before.store.shape
            np.testing.assert_array_equal(before.read(*shape), after.read(*shape))
        found = json.loads((group / array / "zarr.json").read_text())
        assert tuple(found["dimension_names"]) == NAMES
        assert found["codecs"][-1]["name"] == "crc32c"
        metadata = json.loads((group / "zarr.json").read_text())
        assert metadata["attributes"]["attributes"]["defaultVariableName"] == array
        assert metadata["consolidated_metadata"]["metadata"][array] == found


def test_a_restart_does_nothing_again(plain, volume, tmp_path, done):
    for _ in range(2):
        run(plain, volume[1], tmp_path / "out")
    assert done == [(name, i) for name in ("segment", "write_mask") for i in range(7)]


def test_the_missing_chunk_alone_is_computed(plain, volume, tmp_path, done):
    run(plain, volume[1], tmp_path / "out")
    array, before = tmp_path / "out/in_prob.zarr/probability", done[:]
    expected = read(array.parent)
    (array / "c/3/0/0").unlink()
    run(plain, volume[1], tmp_path / "out")
    assert done == [*before, ("segment", 3)]
    np.testing.assert_array_equal(read(array.parent), expected)


@pytest.mark.parametrize("direction", ["inline", "both"])
def test_an_interrupted_command_goes_on(
    plain, volume, tmp_path, done, monkeypatch, direction
):
    run(plain, volume[1], tmp_path / "whole", direction=direction)
    expected, done[:] = done[:], []
    stages = [Survey.segment, Survey.average, Survey.write_mask]
    for name, stage in zip(("segment", "average", "write_mask"), stages):

        def interrupt(self, task, stage=stage):
            stage(self, task)
            if task.start == 4:
                raise KeyboardInterrupt

        monkeypatch.setattr(Survey, name, interrupt)
    for _ in range(3 if direction == "both" else 2):
        with pytest.raises(KeyboardInterrupt):
            run(plain, volume[1], tmp_path / "out", direction=direction)
    run(plain, volume[1], tmp_path / "out", direction=direction)
    assert done == expected
    for name in ("in_prob.zarr/probability", "in_mask.zarr/mask"):
        one, other = (read(tmp_path / d / name, "") for d in ("whole", "out"))
        np.testing.assert_array_equal(one, other)


def test_dead_traces_alone_count_as_done(plain, tmp_path, done):
    path = zarr_files.write_volume(tmp_path / "in.zarr", np.zeros(SHAPE, np.float32))
    for _ in range(2):
        run(plain, path, tmp_path / "out")
    assert len(done) == 14
    assert not read(tmp_path / "out/in_prob.zarr").any()


def test_lines_without_traces_count_as_done(plain, tmp_path, done):
    mask = np.ones(SHAPE[:2], bool)
    mask[[0, 3]] = mask[:, 8] = False
    path = zarr_files.write_volume(
        tmp_path / "in.zarr", random_traces(*SHAPE), mask=mask
    )
    for _ in range(2):
        run(plain, path, tmp_path / "out", direction="both")
    assert len(done) == 7 + 9 + 7
    prob = read(tmp_path / "out/in_prob.zarr")
    np.testing.assert_array_equal(np.isnan(prob).all(2), ~mask)
    assert np.isfinite(prob[mask]).all()


def test_traces_of_nan_are_missing_where_no_mask_tells(plain, tmp_path):
    values = random_traces(*SHAPE)
    values[1, 2] = np.nan
    path = zarr_files.write_volume(tmp_path / "in.zarr", values)
    run(plain, path, tmp_path / "out")
    missing = np.isnan(read(tmp_path / "out/in_prob.zarr"))
    assert missing[1, 2].all()
    assert missing.sum() == SHAPE[2]


@pytest.mark.parametrize(
    ("flags", "message"),
    [({"tta": True}, "another engine"), ({"direction": "both"}, "directions .* there, .* now")],
)  # fmt: skip
def test_probabilities_of_other_settings_are_refused(
    plain, volume, tmp_path, flags, message
):
    run(plain, volume[1], tmp_path / "out")
    with pytest.raises(InputError, match=f"another prediction .*{message}"):
        run(plain, volume[1], tmp_path / "out", **flags)


def test_probabilities_of_another_input_or_network_are_refused(plain, volume, tmp_path):
    values, path = volume
    run(plain, path, tmp_path / "out")
    with pytest.raises(InputError, match="networks"):
        run(other_networks.write_run(tmp_path / "run"), path, tmp_path / "out")
    shutil.rmtree(path)
    zarr_files.write_volume(path, values + 1)
    with pytest.raises(InputError, match="input"):
        run(plain, path, tmp_path / "out")


def test_masks_of_another_threshold_are_replaced(plain, volume, tmp_path, done):
    run(plain, volume[1], tmp_path / "out", bodies=True)
    run(plain, volume[1], tmp_path / "out", threshold=0.45)
    assert [name for name, _ in done] == 7 * ["segment"] + 14 * ["write_mask"]
    mask = read(tmp_path / "out/in_mask.zarr", "mask")
    prob = read(tmp_path / "out/in_prob.zarr")
    np.testing.assert_array_equal(mask, prob >= np.float32(0.45))
    assert not list((tmp_path / "out").glob("*bodies*"))  # those of the other mask


def test_a_mask_that_was_corrected_is_not_replaced(plain, volume, tmp_path):
    run(plain, volume[1], tmp_path / "out")
    mask = zarr_store.Array(tmp_path / "out/in_mask.zarr/mask").store
    mask[3, 2:5].write(1 - mask[3, 2:5].read().result()).result()
    corrected = read(tmp_path / "out/in_mask.zarr", "mask")
    with pytest.raises(InputError, match="the mask was changed after it was written"):
        run(plain, volume[1], tmp_path / "out", threshold=0.4)
    np.testing.assert_array_equal(
        read(tmp_path / "out/in_mask.zarr", "mask"), corrected
    )


def test_probabilities_of_which_no_chunk_is_there_are_replaced(plain, volume, tmp_path):
    run(plain, volume[1], tmp_path / "out")
    shutil.rmtree(tmp_path / "out/in_prob.zarr/probability/c")
    run(plain, volume[1], tmp_path / "out", tta=True)
    run(plain, volume[1], tmp_path / "new", tta=True)
    found, expected = (read(tmp_path / f"{d}/in_prob.zarr") for d in ("out", "new"))
    np.testing.assert_array_equal(found, expected)


def test_a_group_that_others_changed_is_not_replaced(plain, volume, tmp_path):
    run(plain, volume[1], tmp_path / "out")
    (tmp_path / "out/in_mask.zarr/mine").mkdir()
    with pytest.raises(InputError, match="not written by this program"):
        run(plain, volume[1], tmp_path / "out", threshold=0.4)


def test_damage_between_the_sampled_traces_is_told_again_by_a_restart(
    plain, tmp_path, monkeypatch
):
    monkeypatch.setattr("saltjax.seismic.amplitudes.MAX_SAMPLES", 80)  # two traces
    values = random_traces(*SHAPE)
    values[3, 2, 7] = np.inf
    path = zarr_files.write_volume(tmp_path / "in.zarr", values)
    for _ in range(2):
        with pytest.raises(InputError, match=r"inline 16, crossline 502\) has samples"):
            run(plain, path, tmp_path / "out")
    prob = read(tmp_path / "out/in_prob.zarr")
    assert not prob[3, 2].any()
    assert np.isfinite(prob).all()
    assert prob[3, 3].any()


def flip(path, byte, bit):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def test_flipped_bits_are_refused(plain, volume, tmp_path):
    _, path = volume
    out, rng = tmp_path / "out", np.random.default_rng(0)
    chunk = path / "amplitude/c/0/0/0"
    whole = chunk.read_bytes()
    for byte in rng.integers(0, len(whole), 60):
        chunk.write_bytes(whole)
        flip(chunk, byte, rng.integers(8))
        with pytest.raises(InputError, match="amplitude/c/0/0/0: a damaged chunk"):
            run(plain, path, out)
    chunk.write_bytes(whole)
    run(plain, path, out)
    flip(out / "in_prob.zarr/probability/c/2/0/0", 40, 3)
    with pytest.raises(InputError, match="probability/c/2/0/0: a damaged chunk"):
        run(plain, path, out, threshold=0.4)


def test_some_lines(plain, volume, tmp_path):
    values, path = volume
    zarr_output.write(path / "cdp_x", np.arange(63.0).reshape(7, 9), NAMES[:2])
    run(plain, path, tmp_path / "out", lines="12:20:4")
    group = tmp_path / "out/in_prob.zarr"
    values[2, 4] = 0
    expected = saltjax.load(plain).predict(values)[[1, 3, 5]]
    np.testing.assert_allclose(np.nan_to_num(read(group)), expected, atol=1e-6)
    inlines = zarr_store.Array(group / "inline").read(3)
    np.testing.assert_array_equal(inlines, [12, 16, 20])
    np.testing.assert_array_equal(
        zarr_store.Array(group / "cdp_x").read(3, 9),
        np.arange(63.0).reshape(7, 9)[[1, 3, 5]],
    )
    assert zarr_store.Array(group / "time").store.shape == (40,)


@pytest.mark.parametrize("shape", [(1, 9, 40), (9, 1, 40)])
def test_a_volume_of_one_line(plain, tmp_path, shape):
    values = random_traces(*shape)
    path = zarr_files.write_volume(tmp_path / "in.mdio", values)
    for direction in ("inline", "crossline", "both"):
        out = tmp_path / direction
        run(plain, path, out, direction=direction)
        expected = saltjax.load(plain).predict(values)
        np.testing.assert_allclose(read(out / "in_prob.zarr"), expected, atol=1e-6)


def test_an_array_without_a_group(plain, tmp_path):
    values = random_traces(*SHAPE)
    zarr_output.write(tmp_path / "in.zarr", values, [""] * 3)
    run(plain, tmp_path / "in.zarr", tmp_path / "out")
    group = tmp_path / "out/in_prob.zarr"
    expected = saltjax.load(plain).predict(values)
    np.testing.assert_allclose(read(group), expected, atol=1e-6)
    np.testing.assert_array_equal(zarr_store.Array(group / "inline").read(7), range(7))
    assert not (group / "sample").exists()


def test_bodies_and_horizons_are_those_of_segy(plain, tmp_path):
    values, (inline, crossline) = random_traces(*SHAPE), np.indices(SHAPE[:2])
    inlines = np.array([10, 12, 14, 20, 22, 24, 26])  # a gap, which parts bodies
    x, y = 1000 + 25 * crossline, 2000 + 50 * (inlines[inline] - 10) // 2
    segy_writer.write(
        tmp_path / "a.sgy",
        values.reshape(-1, SHAPE[2]),
        5,
        inline=inlines[inline].ravel(),
        crossline=500 + crossline.ravel(),
        fields={181: x.ravel(), 185: y.ravel()},
        shorts={71: [1] * 63, 109: [0] * 63, 117: [4000] * 63},
    )
    path = tmp_path / "b.zarr"
    numbers = inlines, 500 + np.arange(9)
    zarr_output.write_volume(path, values, *numbers, SampleAxis("ms", 0.0, 4.0))
    for name, array in (("cdp_x", x), ("cdp_y", y)):
        zarr_output.write(path / name, array.astype(float), NAMES[:2])
    for name in ("a.sgy", "b.zarr"):
        run(plain, tmp_path / name, tmp_path / "out", bodies=True, min_body=2)
    for end in ("_top_salt.txt", "_base_salt.txt"):
        a, b = (np.loadtxt(tmp_path / f"out/{name}{end}") for name in "ab")
        np.testing.assert_allclose(a, b)
        assert len(a) > 20
    ids = array_files.read(tmp_path / "out/b_bodies.zarr")
    found = ids.read(np.arange(63)).reshape(-1)
    _, _, expected = segy_writer.read_parts(tmp_path / "out/a_bodies.sgy", 40, 5)
    np.testing.assert_array_equal(found, expected.ravel())
    tables = [(tmp_path / f"out/{n}_bodies.csv").read_text() for n in "ab"]
    a, b = ([line.split(",")[:7] for line in t.splitlines()] for t in tables)
    assert a == b


def test_the_page_of_a_zarr_volume(plain, volume, tmp_path):
    run(plain, volume[1], tmp_path / "out", report=True, direction="crossline")
    page = (tmp_path / "out/in_report.html").read_text()
    assert "a volume of 9 crosslines × 7 inlines × 40 samples" in page


def test_volumes_in_a_directory_are_inputs_and_results_are_not(
    plain, volume, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "saltjax")
    run(plain, volume[1], tmp_path)
    run(plain, tmp_path, tmp_path)
    assert "Input" not in caplog.text  # one alone
    assert len(list(tmp_path.glob("*.zarr"))) == 3


def test_a_chunk_of_the_input_is_decoded_once_a_task(plain, tmp_path, monkeypatch):
    values = random_traces(64, 9, 40)
    path = zarr_files.write_volume(
        tmp_path / "in.zarr", values
    )  # in chunks of 64 lines
    reads, original = [], zarr.ZarrGrid.read

    def count(grid, inline, crossline):
        reads.append(set(inline.tolist()))
        return original(grid, inline, crossline)

    monkeypatch.setattr(zarr.ZarrGrid, "read", count)
    run(plain, path, tmp_path / "out")
    of_tasks = [lines for lines in reads if len(lines) == 2]
    assert of_tasks == [{i, i + 1} for i in range(0, 64, 2)]
    monkeypatch.undo()
    expected = saltjax.load(plain).predict(values)
    np.testing.assert_allclose(read(tmp_path / "out/in_prob.zarr"), expected, atol=1e-6)


def test_the_layout_of_tasks():
    shape = (1000, 800, 500)
    inline = chunks.layout(shape, ["inline"], "inline")
    assert inline.lines[0] * 800 * 500 * 4 <= chunks.TASK_BYTES
    assert not inline.crossed
    assert chunks.layout((40, 50, 20), ["inline"], "inline").lines == (1, 1)
    # One line has more than a task should.
    assert chunks.layout((9, 99999, 9999), ["inline"], "inline").lines[0] == 1


def test_a_disk_without_room(plain, volume, tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr_output, "open_array", full)
    with pytest.raises(InputError, match=r"cannot write .*No space left"):
        run(plain, volume[1], tmp_path / "out")
    assert not (tmp_path / "out").exists()
