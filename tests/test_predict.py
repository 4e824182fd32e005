"""Salt segmented in files by the program, and in arrays by the library."""

import json
import logging
import os
import pathlib
import re
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
from PIL import Image
from program import ROOT, assert_refused

import saltjax
from saltjax import predict
from saltjax.inference import volumes
from saltjax.runs import checkpoint
from saltjax.seismic import amplitudes
from saltjax.system import outputs
from saltjax.system.errors import InputError


@pytest.fixture(scope="module")
def plain(runs):
    return runs[0] / "plain"


def run_predict(plain, source, output, threshold=None, tta=None):
    predict.predict([plain], str(source), str(output), threshold, tta)


def random_traces(*shape):
    return np.random.default_rng(0).normal(0, 900, shape).astype(np.float32)


def test_the_library_gives_what_predict_writes(plain, tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    volume = random_traces(3, 20, 30)
    np.save(tmp_path / "cube.npy", volume)
    shutil.copytree(plain, tmp_path / "run")
    plain = tmp_path / "run"
    # With the run's own threshold all samples may be salt, or none.
    set_threshold(plain, np.median(saltjax.load(plain).predict(volume)))
    run_predict(plain, tmp_path / "cube.npy", tmp_path / "out")
    prob = np.load(tmp_path / "out/cube_prob.npy")
    mask = np.load(tmp_path / "out/cube_mask.npy")
    network = saltjax.load(plain)
    expected = network.predict(volume)
    assert prob.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, prob >= np.float32(network.threshold))
    assert network.network.model.features == (4, 8)
    assert 0.4 < mask.mean() < 0.6
    assert f"{mask.mean():.1%} of the samples" in caplog.text
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "cube_prob.npy",
        "cube_mask.npy",
        outputs.RECORD,
    }


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
    assert names == {outputs.RECORD, "cube_prob.segy", "cube_mask.segy"}


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
            [plain], f"{tmp_path}/a.npy", str(tmp_path), None, None, ["9", "21"]
        )


def test_images_of_any_size_keep_their_size(plain, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shapes = {"a b": (101, 101), "é$x$": (40, 333), "wide": (7, 9)}
    for i, (name, shape) in enumerate(shapes.items()):
        grey = np.random.default_rng(i).integers(0, 256, shape, np.uint8)
        Image.fromarray(grey).save(folder / f"{name}.png")
    (folder / ".hidden").write_text("")
    (folder / "notes.txt").write_text("")
    Image.new("L", (9, 9)).save(folder / "UP.PNG")
    run_predict(plain, folder, tmp_path / "out")
    for name, shape in shapes.items():
        for kind, dtype in (("probs", np.uint16), ("masks", np.uint8)):
            found = np.asarray(Image.open(tmp_path / f"out/{kind}/{name}.png"))
            assert found.shape == shape
            assert found.dtype == dtype
    lines = (tmp_path / "out/submission.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "id",
        "UP",
        "a b",
        "wide",
        "é$x$",
    ]
    run_predict(plain, folder / "wide.png", tmp_path / "one")
    one, all_of_them = (
        np.asarray(Image.open(tmp_path / f"{name}/probs/wide.png"), int)
        for name in ("one", "out")
    )
    np.testing.assert_allclose(one, all_of_them, atol=1)


def test_two_images_of_one_name_are_refused(plain, tmp_path):
    for name in ("a.png", "a.PNG"):
        Image.new("L", (9, 9)).save(tmp_path / name)
    if len(list(tmp_path.iterdir())) == 2:  # not where case makes no difference
        with pytest.raises(InputError, match="two images with the id a"):
            predict.find_images(tmp_path)


def set_threshold(workdir, threshold):
    result = json.loads((workdir / "result.json").read_text())
    result["threshold"]["value"] = float(threshold)
    (workdir / "result.json").write_text(json.dumps(result))


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
    predict.predict(workdirs, str(tmp_path / "s.npy"), str(tmp_path), None, None)
    prob, mask = (np.load(tmp_path / f"s_{n}.npy") for n in ("prob", "mask"))
    np.testing.assert_allclose(prob, np.mean(probs, axis=0), atol=1e-6)
    np.testing.assert_array_equal(mask, prob >= np.float32(median))
    assert 0.4 < mask.mean() < 0.6


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
        ("a.sgy", lambda path: os.truncate(path, 4000), "I/O operation failed"),
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
    estimate = volumes.estimate

    def estimate_after_the_fault(*args):
        fault(path)
        return estimate(*args)

    monkeypatch.setattr(volumes, "estimate", estimate_after_the_fault)
    with pytest.raises(InputError, match=f"^cannot read {path}: {reason}"):
        run_predict(plain, path, tmp_path)
    assert not list(tmp_path.glob("*_prob*"))


@pytest.mark.slow
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
        (lambda p: p / "empty", r"no \*\.png in"),
        (lambda p: p / "a.txt", "expected a .png, a directory of them, a .npy"),
        (lambda p: p / "volume.npy", r"no \*\.png in"),
        (lambda p: p / "a.png", "1 bad file"),
        (lambda p: p / "a.npy", "cannot read it as .npy"),
        (lambda p: p / "a.sgy", "7 bytes; a SEG-Y file starts with 3600"),
    ],
)
def test_an_input_of_another_kind_is_refused(plain, tmp_path, make, message):
    for name in ("empty", "volume.npy"):
        (tmp_path / name).mkdir()
    for name in ("a.txt", "a.npy", "a.sgy"):
        (tmp_path / name).write_bytes(b"garbage")
    source = make(tmp_path)
    if source.suffix == ".png":
        source.write_bytes(b"garbage")
    with pytest.raises(InputError, match=message):
        run_predict(plain, source, tmp_path / "out")


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("tiles", "tiles"),
        ("tiles/images", "tiles"),
        ("flat", "tiles"),
        ("tiles/images", "labels"),
        ("flat", "labels"),
    ],
)
def test_masks_of_tiles_are_never_overwritten(plain, tmp_path, source, output):
    for folder in ("tiles/images", "tiles/masks", "flat", "labels/masks"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("L", (9, 9), 255).save(tmp_path / folder / "a.png")
    before = (tmp_path / "tiles/masks/a.png").read_bytes()
    with pytest.raises(InputError, match=r"[Cc]hoose another"):
        run_predict(plain, tmp_path / source, tmp_path / output)
    assert (tmp_path / "tiles/masks/a.png").read_bytes() == before


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


def test_a_corrected_mask_is_kept_and_the_same_command_replaces_its_own(
    plain, tmp_path
):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        Image.new("L", (9, 9), 200).save(tmp_path / f"in/{name}.png")
    out = tmp_path / "out"
    run_predict(plain, tmp_path / "in", out, threshold=0.0)
    run_predict(plain, tmp_path / "in", out, threshold=1.0)
    assert not np.asarray(Image.open(out / "masks/b.png")).any()
    Image.new("L", (9, 9), 255).save(out / "masks/b.png")
    # Neither with it nor beside it.
    for source in ("in", "in/a.png"):
        with pytest.raises(InputError, match=r"masks/b\.png: not written by this prog"):
            run_predict(plain, tmp_path / source, out)
    assert np.asarray(Image.open(out / "masks/b.png")).all()
    assert len((out / "submission.csv").read_text().splitlines()) == 3
    # Probabilities that saltjax wrote are no input for results in their place.
    (out / "masks/b.png").unlink()
    with pytest.raises(InputError, match=r"probs/a\.png is an input"):
        run_predict(plain, out / "probs", out)


def test_a_second_prediction_into_one_directory_is_refused(plain, tmp_path):
    # The first stops in the middle, until the second has ended.
    np.save(tmp_path / "one.npy", random_traces(30, 40))
    os.mkfifo(tmp_path / "go")
    code = (
        "import pathlib, sys; from saltjax import predict\n"
        "from saltjax.inference import volumes\n"
        "estimate = volumes.estimate\n"
        "def wait(*args):\n"
        "    print('waiting', flush=True); open(sys.argv[4]).read()\n"
        "    return estimate(*args)\n"
        "volumes.estimate = wait\n"
        "predict.predict([pathlib.Path(sys.argv[1])], *sys.argv[2:4], None, None)\n"
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
        outputs.RECORD,
    }


WITHOUT_POSIX = """
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in (
    (os, ("fork", "posix_fallocate", "sched_getaffinity", "getuid", "geteuid")),
    (signal, ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import numpy as np
import saltjax
from saltjax import __main__
workdir, source, output = sys.argv[1:]
options = ("--mode=predict", f"--workdir={workdir}", f"--input={source}", f"--output={output}")
sys.argv = ["saltjax", *options]
__main__.main()
np.save("prob.npy", saltjax.load(workdir).predict(np.load(source)))
"""


@pytest.mark.slow
def test_loading_and_predicting_need_nothing_that_windows_lacks(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(20, 20))
    args = [str(path) for path in (plain, tmp_path / "a.npy", tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX, *args],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    message = "cannot be locked (not supported by this operating system)"
    assert done.stdout.count(message) == 1
    expected = saltjax.load(plain).predict(np.load(tmp_path / "a.npy"))
    for name in ("out/a_prob.npy", "prob.npy"):
        np.testing.assert_allclose(np.load(tmp_path / name), expected, atol=1e-6)


def test_an_output_that_is_a_file_is_refused(plain, tmp_path):
    np.save(tmp_path / "a.npy", random_traces(20, 20))
    done = forked.launch(
        "--mode=predict",
        f"--workdir={plain}",
        f"--input={tmp_path}/a.npy",
        f"--output={tmp_path}/a.npy",
    )
    assert_refused(done, "cannot write", "a.npy")


def test_load_refuses_what_is_no_run(tmp_path, plain):
    with pytest.raises(ValueError, match=r"config\.json"):
        saltjax.load(tmp_path)
    shutil.copytree(plain, tmp_path / "run")
    (tmp_path / "run/data.json").write_text("{}")
    with pytest.raises(ValueError, match=r"data\.json: damaged"):
        saltjax.load(tmp_path / "run")


def test_the_library_example_of_the_readme_runs(plain):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {"section": random_traces(20, 30)}
    exec(example.replace("runs/strided", str(plain)), names)
    assert names["prob"].shape == names["mask"].shape == (20, 30)


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


def test_images_of_fewer_than_sixteen_bits_are_refused(plain, tmp_path):
    (tmp_path / "in").mkdir()
    for i, largest in enumerate((1020, 7)):
        grey = np.full((9, 9), largest, np.uint16)
        Image.fromarray(grey).save(tmp_path / f"in/{i}.png")
    with pytest.raises(InputError, match="value of the 16-bit images is 1020"):
        run_predict(plain, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out/probs").exists()


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
