"""Salt segmented in files by the program, and in arrays by the library."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time

import forked
import jax
import numpy as np
import pytest
import segy_writer
from prediction import random_traces, run_predict, set_threshold
from program import ROOT, assert_refused
from scipy import ndimage

import saltjax
from saltjax import __main__, export, predict
from saltjax.runs import checkpoint, trained
from saltjax.system import output_directory
from saltjax.system.errors import InputError


@pytest.mark.parametrize(
    "value",
    ["9", "9,9", "189,191", "0,21", "9,238", "9,21,37", "a,b", "9,-1", "", "9.5,21"],
)
def test_header_bytes_that_are_none_are_refused(plain, tmp_path, value):
    path = segy_writer.write(tmp_path / "a.sgy", random_traces(6, 30))
    done = forked.launch(
        "--mode=predict",
        f"--workdir={plain}",
        f"--input={path}",
        f"--output={tmp_path}/out",
        f"--header_bytes={value}",
    )
    assert_refused(done, f"--header_bytes={value}", "1 to 237, such as 189,193")


def test_header_bytes_are_of_segy_files(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(20, 20))
    with pytest.raises(InputError, match=r"--header_bytes=9,21 is of SEG-Y files"):
        predict.predict(
            [plain],
            f"{tmp_path}/a.npy",
            str(tmp_path),
            predict.Flags(header_bytes=["9", "21"]),
        )


def write_other_run(plain, workdir):
    """Writes a run of another resolution with half the weights of a run."""
    shutil.copytree(plain, workdir)
    config = json.loads((plain / "config.json").read_text())
    config["data"] |= {"resize": "bilinear", "image_size": 24}
    (workdir / "config.json").write_text(json.dumps(config))
    network = saltjax.load(plain)
    halves = jax.tree.map(lambda x: x / np.float32(2), network.variables)
    best = {"epoch": network.result.best_epoch, "val_loss": 0.5}
    checkpoint.save(workdir / "checkpoints/best", halves, best)


def test_several_runs_are_averaged(plain, tmp_path):
    workdirs = [tmp_path / "first", tmp_path / "other"]
    shutil.copytree(plain, workdirs[0])
    write_other_run(plain, workdirs[1])
    section = random_traces(30, 50)
    np.save(tmp_path / "s.npy", section)
    probs = [saltjax.load(workdir).predict(section) for workdir in workdirs]
    assert not np.allclose(*probs, atol=0.01)
    median = np.median(np.mean(probs, axis=0))
    for workdir, threshold in zip(workdirs, (median - 0.1, median + 0.1)):
        set_threshold(workdir, threshold)
    predict.predict(workdirs, str(tmp_path / "s.npy"), str(tmp_path))
    prob, mask = (np.load(tmp_path / f"s_{n}.npy") for n in ("prob", "mask"))
    np.testing.assert_allclose(prob, np.mean(probs, axis=0), atol=1e-6)
    np.testing.assert_array_equal(mask, prob >= np.float32(median))
    assert 0.4 < mask.mean() < 0.6


@pytest.mark.parametrize(("given", "least"), [(60, 60), (0, 0), (None, 235)])
def test_a_minimum_size_is_given_or_that_of_the_run(run, tmp_path, given, least):
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"min_area": 235}))
    section = random_traces(60, 70)
    np.save(tmp_path / "s.npy", section)
    source, threshold = (
        str(tmp_path / "s.npy"),
        float(np.quantile(saltjax.load(run).predict(section), 0.7)),
    )
    predict.predict(
        [run], source, str(tmp_path), predict.Flags(threshold=threshold, min_area=given)
    )
    prob, mask = (np.load(tmp_path / f"s_{n}.npy") for n in ("prob", "mask"))
    components, count = ndimage.label(prob >= np.float32(threshold), np.ones((3, 3)))
    areas = ndimage.sum_labels(components > 0, components, range(1, count + 1))
    assert areas.min() < 60 < 235 < areas.max()
    kept = [number for number, area in enumerate(areas, 1) if area >= least]
    assert np.array_equal(mask, np.isin(components, kept))


@pytest.mark.slow
def test_runs_files_and_packaged_networks_are_averaged(
    plain, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "saltjax")
    monkeypatch.chdir(tmp_path)
    write_other_run(plain, tmp_path / "other")
    (tmp_path / "package").mkdir()
    export.export(plain, "net.safetensors")
    export.export(tmp_path / "other", "package/tgs.safetensors")
    monkeypatch.setattr(trained, "PACKAGED", tmp_path / "package")
    section = random_traces(30, 50)
    np.save("s.npy", section)
    one, two = (saltjax.load(path).predict(section) for path in (plain, "other"))
    for given, path in (("net.safetensors", plain), ("tgs", "other")):
        network, run = saltjax.load(given), saltjax.load(path)
        np.testing.assert_array_equal(network.predict(section), run.predict(section))
        assert network.postprocessing == run.postprocessing
    given = __main__.workdirs(f"{plain},net.safetensors,tgs")
    predict.predict(given, "s.npy", "out")
    found = np.load("out/s_prob.npy")
    np.testing.assert_allclose(found, (2 * one + two) / 3, atol=1e-6)
    assert "Network    tgs, of the package" in caplog.text


def test_an_interrupted_prediction_leaves_no_incomplete_file(plain, tmp_path):
    # 216 MB of which only the header is written: the rest is a hole in the file.
    np.lib.format.open_memmap(
        tmp_path / "big.npy", mode="w+", dtype="float32", shape=(600, 300, 300)
    )
    command = [sys.executable, "launch.py", "--mode=predict", f"--workdir={plain}"]
    options = [f"--input={tmp_path}/big.npy", f"--output={tmp_path}/out"]
    process = subprocess.Popen(
        command + options, cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    out = tmp_path / "out"
    while not any(out.glob("*.part")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "the same command starts again" in errors
    assert "Traceback" not in errors
    assert not out.exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nowhere", "nowhere: no such file or directory"),
        (
            lambda p: p / "empty",
            "no images, .npy, .sgy, .segy, .zgy, .zarr or .mdio in",
        ),
        (lambda p: p / "a.txt", "expected an image .*, or a .npy, .sgy"),
        (
            lambda p: p / "volume.npy",
            "no images, .npy, .sgy, .segy, .zgy, .zarr or .mdio in",
        ),
        (
            lambda p: p / "a.zarr",
            "no zarr.json in it; expected a Zarr array or group",
        ),
        (lambda p: p / "a.png", "1 bad file"),
        (lambda p: p / "a.npy", "cannot read it as .npy"),
        (lambda p: p / "a.sgy", "7 bytes; a SEG-Y file starts with 3600"),
    ],
)
def test_an_input_of_another_kind_is_refused(plain, tmp_path, make, message):
    for name in ("empty", "volume.npy", "a.zarr"):
        (tmp_path / name).mkdir()
    for name in ("a.txt", "a.npy", "a.sgy"):
        (tmp_path / name).write_bytes(b"garbage")
    source = make(tmp_path)
    if source.suffix == ".png":
        source.write_bytes(b"garbage")
    with pytest.raises(InputError, match=message):
        run_predict(plain, source, tmp_path / "out")


@pytest.mark.slow
def test_a_second_prediction_into_one_directory_is_refused(plain, tmp_path):
    # The first stops in the middle, until the second has ended.
    np.save(tmp_path / "one.npy", random_traces(30, 40))
    os.mkfifo(tmp_path / "go")
    code = (
        "import pathlib, sys; from saltjax import predict\n"
        "from saltjax.seismic import amplitudes\n"
        "scaling = amplitudes.scaling\n"
        "def wait(*args):\n"
        "    print('waiting', flush=True); open(sys.argv[4]).read()\n"
        "    return scaling(*args)\n"
        "amplitudes.scaling = wait\n"
        "predict.predict([pathlib.Path(sys.argv[1])], *sys.argv[2:4])\n"
    )
    args = [plain, tmp_path / "one.npy", tmp_path / "out", tmp_path / "go"]
    first = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout.readline() == "waiting\n"
    done = forked.launch(
        "--mode=predict",
        f"--workdir={plain}",
        f"--input={tmp_path}/one.npy",
        f"--output={tmp_path}/out",
    )
    assert_refused(done, "another process is writing there")
    (tmp_path / "go").write_text("")
    first.communicate(timeout=60)
    assert first.returncode == 0
    section = np.load(tmp_path / "one.npy")
    expected = saltjax.load(plain).predict(section)
    np.testing.assert_allclose(
        np.load(tmp_path / "out/one_prob.npy"), expected, atol=1e-6
    )
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "one_prob.npy",
        "one_mask.npy",
        output_directory.RECORD,
    }


def test_an_output_that_is_a_file_is_refused(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(20, 20))
    done = forked.launch(
        "--mode=predict",
        f"--workdir={plain}",
        f"--input={tmp_path}/a.npy",
        f"--output={tmp_path}/a.npy",
    )
    assert_refused(done, "cannot write", "a.npy")
