"""Sections and volumes segmented by --mode=predict: .npy and SEG-Y."""

import errno
import json
import logging
import os
import pathlib
import shutil

import forked
import numpy as np
import pytest
import segy_writer
from PIL import Image
from prediction import random_traces, run_predict
from program import assert_refused

import saltjax
from saltjax.inference import masks, trace_files, volumes
from saltjax.seismic import amplitudes, segy
from saltjax.system import output_directory
from saltjax.system.errors import InputError


def test_a_section_keeps_its_shape_and_the_threshold_can_be_given(plain, tmp_path):
    section = random_traces(40, 70)
    np.save(tmp_path / "line.npy", section)
    threshold = float(np.quantile(saltjax.load(plain).predict(section), 0.7))
    run_predict(plain, tmp_path / "line.npy", tmp_path, threshold)
    prob, mask = (np.load(tmp_path / f"line_{n}.npy") for n in ("prob", "mask"))
    assert prob.shape == mask.shape == (40, 70)
    np.testing.assert_array_equal(mask, prob >= np.float32(threshold))
    assert 0.2 < mask.mean() < 0.4


@pytest.mark.parametrize("code", [1, 3, 8])
def test_segy_is_written_as_segy(plain, tmp_path, caplog, code):
    caplog.set_level(logging.INFO, "saltjax")
    inline, crossline = np.divmod(np.arange(60), 20)
    # Whole numbers, which all formats hold.
    values = np.trunc(random_traces(60, 30) / 30)
    values[7] = 0  # a dead trace
    path = segy_writer.write(
        tmp_path / "cube.segy", values, code, inline=inline, crossline=crossline
    )
    network = saltjax.load(plain)
    expected = network.predict(values.reshape(3, 20, 30)).reshape(60, 30)
    threshold = float(np.median(expected))
    run_predict(plain, path, tmp_path / "out", threshold)
    head, headers, _ = segy_writer.read_parts(path, 30, code)
    prob_code = 5 if code > 1 else 1
    _, kept, prob = segy_writer.read_parts(
        tmp_path / "out/cube_prob.segy", 30, prob_code
    )
    np.testing.assert_array_equal(kept, headers)
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert not prob[7].any()
    found = segy_writer.read_parts(tmp_path / "out/cube_mask.segy", 30, code)
    assert found[0] == head
    np.testing.assert_array_equal(found[1], headers)
    np.testing.assert_array_equal(found[2], prob >= np.float32(threshold))
    share = found[2].sum() / (59 * 30)
    assert 0.4 < share < 0.6
    assert f"{share:.1%} of the samples of live traces" in caplog.text
    assert "60 traces of 30 samples in 3 line(s)" in caplog.text
    assert "2-D" not in caplog.text
    assert ("format 5 in bytes 3225-3226" in caplog.text) == (code > 1)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {output_directory.RECORD, "cube_prob.segy", "cube_mask.segy"}


def test_line_numbers_in_other_bytes(plain, tmp_path):
    inline, crossline = np.divmod(np.arange(60), 20)
    values = random_traces(60, 30)
    path = segy_writer.write(
        tmp_path / "cube.sgy", values, fields={9: inline + 5, 21: crossline}
    )
    options = ("--mode=predict", f"--workdir={plain}", f"--input={path}")
    done = forked.launch(*options, f"--output={tmp_path}/line")
    assert done.returncode == 0, done.stderr
    assert "Warning    taken as one 2-D line of 60 traces" in done.stdout
    assert "bytes 9 and 21 look like 3 inlines of 20 crosslines" in done.stdout
    done = forked.launch(*options, f"--output={tmp_path}/volume", "--header_bytes=9,21")
    assert done.returncode == 0, done.stderr
    assert "2-D" not in done.stdout
    # As a setting of the run.
    shutil.copytree(plain, tmp_path / "run")
    config = json.loads((plain / "config.json").read_text())
    config["data"]["header_bytes"] = [9, 21]
    (tmp_path / "run/config.json").write_text(json.dumps(config))
    run_predict(tmp_path / "run", path, tmp_path / "set")
    network = saltjax.load(plain)
    for folder, expected in (
        ("line", network.predict(values.T).T),
        ("volume", network.predict(values.reshape(3, 20, 30)).reshape(60, 30)),
        ("set", network.predict(values.reshape(3, 20, 30)).reshape(60, 30)),
    ):
        path = tmp_path / folder / "cube_prob.sgy"
        _, _, prob = segy_writer.read_parts(path, 30, 5)
        np.testing.assert_allclose(prob, expected, atol=1e-6)


def test_dog_leg_is_segmented_as_one_section(plain, tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    inline = [100] * 40 + list(range(101, 131))
    crossline = list(range(40)) + [40 + i // 3 for i in range(30)]
    values = random_traces(70, 30)
    path = segy_writer.write(
        tmp_path / "line.sgy", values, inline=inline, crossline=crossline
    )
    run_predict(plain, path, tmp_path / "out")
    _, _, prob = segy_writer.read_parts(tmp_path / "out/line_prob.sgy", 30, 5)
    expected = saltjax.load(plain).predict(values.T).T
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert "taken as one 2-D line of 70 traces" in caplog.text
    assert "in 1 line(s)" in caplog.text


def test_gathers_are_refused_before_anything_is_written(plain, tmp_path):
    inline, crossline = np.divmod(np.arange(60) // 3, 5)
    path = segy_writer.write(
        tmp_path / "a.sgy",
        random_traces(60, 30),
        inline=inline,
        crossline=crossline,
        fields={37: np.arange(60) % 3 * 250 + 100},
    )
    done = forked.launch(
        "--mode=predict",
        f"--workdir={plain}",
        f"--input={path}",
        f"--output={tmp_path}/out",
    )
    assert_refused(done, "up to 3 traces at one position", "offsets 100 to 600")
    assert list((tmp_path / "out").glob("a_*")) == []


@pytest.mark.parametrize("name", ["a.npy", "a.sgy"])
def test_an_error_half_way_leaves_no_incomplete_file(
    plain, tmp_path, monkeypatch, name
):
    values = random_traces(40, 30)
    values[33, 5] = np.nan  # beyond the sample of which the range is estimated
    monkeypatch.setattr(amplitudes, "MAX_SAMPLES", 60)
    if name.endswith("npy"):
        np.save(tmp_path / name, values.T)
    else:
        segy_writer.write(tmp_path / name, values)
    with pytest.raises(InputError, match=r"trace 34 .*has samples that are not finite"):
        run_predict(plain, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "fault", "reason"),
    [
        ("a.npy", pathlib.Path.unlink, "No such file or directory"),
        ("a.npy", lambda path: os.truncate(path, 4000), "it was changed while it was"),
        ("a.sgy", lambda path: os.truncate(path, 4000), "it was changed while it was"),
    ],
)
def test_an_input_that_can_no_longer_be_read_is_named(
    plain, tmp_path, monkeypatch, name, fault, reason
):
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, random_traces(30, 40))
    else:
        segy_writer.write(path, random_traces(40, 30))
    scaling = amplitudes.scaling

    def scaling_after_the_fault(*args):
        fault(path)
        return scaling(*args)

    monkeypatch.setattr(amplitudes, "scaling", scaling_after_the_fault)
    with pytest.raises(InputError, match=f"^cannot read {path}: {reason}"):
        run_predict(plain, path, tmp_path)
    assert not list(tmp_path.glob("*_prob*"))


@pytest.mark.parametrize("name", ["x.npy", "x.sgy"])
def test_a_mask_drawn_by_hand_is_never_replaced(plain, tmp_path, name):
    """The input x is beside x_mask, drawn by hand, and x_prob, which is an input itself."""
    path, mask = tmp_path / name, tmp_path / name.replace("x", "x_mask")
    prob = tmp_path / name.replace("x", "x_prob")
    for p in (path, prob):
        if name.endswith("npy"):
            np.save(p, random_traces(30, 40))
        else:
            segy_writer.write(p, random_traces(40, 30))
    before = prob.read_bytes()
    with pytest.raises(InputError, match=f"{prob}: not written by this program"):
        run_predict(plain, path, tmp_path)
    assert prob.read_bytes() == before
    prob.unlink()
    if name.endswith("npy"):
        np.save(mask, np.ones((30, 40), np.uint8))
        before = mask.read_bytes()
        with pytest.raises(InputError, match=f"{mask}: not written by this program"):
            run_predict(plain, path, tmp_path)
        assert mask.read_bytes() == before
        assert not prob.exists()
        mask.unlink()
    run_predict(plain, path, tmp_path)
    run_predict(plain, path, tmp_path)
    if name.endswith("npy"):
        # Corrected by hand, with the same size.
        np.save(mask, np.ones((30, 40), np.uint8))
        with pytest.raises(InputError, match=f"{mask}: not written by this program"):
            run_predict(plain, path, tmp_path)
        assert np.load(mask).all()


def test_a_colour_image_as_npy_gives_what_its_png_gives(plain, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    np.save(tmp_path / "a.npy", image)
    Image.fromarray(image).save(tmp_path / "a.png")
    for suffix in ("npy", "png"):
        run_predict(plain, tmp_path / f"a.{suffix}", tmp_path / suffix, 0.5)
    prob, mask = (np.load(tmp_path / f"npy/a_{name}.npy") for name in ("prob", "mask"))
    assert prob.shape == mask.shape == (40, 30)
    assert (prob.dtype, mask.dtype) == (np.float32, np.uint8)
    written = np.asarray(Image.open(tmp_path / "png/probs/a.png"))
    np.testing.assert_allclose(prob, written / 65535, atol=1e-5)
    np.testing.assert_array_equal(mask, prob >= 0.5)


@pytest.mark.parametrize("name", ["a.npy", "a.sgy"])
def test_a_damaged_trace_of_a_large_file_costs_only_itself(
    plain, tmp_path, monkeypatch, name
):
    """It ends with an error, but with complete files."""
    monkeypatch.setattr(amplitudes, "MAX_SAMPLES", 60)
    values = random_traces(40, 30)
    values[33, 5] = np.nan  # beyond the sample of which the range is estimated
    repaired = values.copy()
    repaired[33] = 0
    expected = saltjax.load(plain).predict(repaired.T)
    if name.endswith("npy"):
        np.save(tmp_path / name, values.T)
    else:
        segy_writer.write(tmp_path / name, values)
    with monkeypatch.context() as large:
        large.setattr(volumes, "SCAN_BYTES", 0)
        message = "trace 34 .*All other traces are complete in the files"
        with pytest.raises(InputError, match=message):
            run_predict(plain, tmp_path / name, tmp_path / "out")
    if name.endswith("npy"):
        prob = np.load(tmp_path / "out/a_prob.npy")
    else:
        prob = segy_writer.read_parts(tmp_path / "out/a_prob.sgy", 30, 5)[2].T
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert not prob[:, 33].any()
    mask = f"a_mask.{name[2:]}"
    assert (tmp_path / "out" / mask).exists()


@pytest.mark.parametrize("name", ["a.npy", "a.sgy"])
@pytest.mark.parametrize("full", ["prob", "mask"])
def test_the_file_that_cannot_be_written_is_named(
    plain, tmp_path, monkeypatch, name, full
):
    if name.endswith("npy"):
        np.save(tmp_path / name, random_traces(30, 40))
    else:
        segy_writer.write(tmp_path / name, random_traces(40, 30))

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    module, function = (volumes, "segment") if full == "prob" else (masks, "write")
    with monkeypatch.context() as disk:
        disk.setattr(module, function, fail)
        message = rf"^cannot write {tmp_path}/out/a_{full}\{name[1:]}: No space left"
        with pytest.raises(InputError, match=message):
            run_predict(plain, tmp_path / name, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*a_*"))


def test_positions_without_a_trace_are_counted(tmp_path, caplog):
    places = [(1, 1), (1, 3), (2, 1), (2, 2), (2, 3)]
    inline, crossline = zip(*places)
    path = segy_writer.write(
        tmp_path / "a.sgy", np.ones((5, 4)), inline=inline, crossline=crossline
    )
    caplog.set_level(logging.INFO, "saltjax")
    trace_files.say_lines(segy.SegyTraces(path), "inline")
    assert "Positions without a trace: 1 of 6; they count as dead" in caplog.text


def test_direction_and_normalize_can_be_given(plain, tmp_path):
    volume = random_traces(7, 9, 30)
    np.save(tmp_path / "a.npy", volume)
    base = ("--mode=predict", f"--workdir={plain}", f"--input={tmp_path}/a.npy")
    words = ("--direction=crossline", "--normalize=minmax")
    done = forked.launch(*base, *words, "--report", f"--output={tmp_path}/out")
    assert done.returncode == 0, done.stderr
    expected = saltjax.load(plain).predict(
        volume, direction="crossline", normalize="minmax"
    )
    found = np.load(tmp_path / "out/a_prob.npy")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    mask = saltjax.load(plain).mask(volume, direction="crossline", normalize="minmax")
    np.testing.assert_array_equal(np.load(tmp_path / "out/a_mask.npy"), mask)
    page = (tmp_path / "out/a_report.html").read_text(encoding="utf-8")
    for word in words:
        assert word in page
    done = forked.launch(*base, "--direction=time", f"--output={tmp_path}/out")
    assert_refused(done, "--direction=time")
