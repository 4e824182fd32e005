"""What --input names: one file, several, directories and patterns."""

import logging
import shutil

import forked
import numpy as np
import pytest
import segy_writer
from PIL import Image
from prediction import random_traces
from program import assert_refused

import saltjax
from saltjax import predict
from saltjax.inference import inputs, windows
from saltjax.system.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A directory with two arrays, a SEG-Y file and a note."""
    directory = tmp_path / "in"
    directory.mkdir()
    for i, name in enumerate(("b.npy", "a.npy")):
        np.save(directory / name, random_traces(20, 30 + i))
    segy_writer.write(directory / "c.SGY", random_traces(12, 20))
    (directory / "notes.txt").write_text("x")
    return directory


def names(found):
    return [one.path.name for one in found]


def test_files_directories_and_patterns(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert names(inputs.find("in/a.npy")) == ["a.npy"]
    assert names(inputs.find("in/b.npy,in/a.npy")) == ["b.npy", "a.npy"]
    assert names(inputs.find("in")) == ["a.npy", "b.npy", "c.SGY"]
    assert names(inputs.find("in/*.npy")) == ["a.npy", "b.npy"]
    assert names(inputs.find("in/?.SGY,in/a.npy")) == ["c.SGY", "a.npy"]
    assert not any(one.images for one in inputs.find("in"))
    # A name with such characters is that of the file.
    for name in ("x,y.npy", "z[1].npy"):
        shutil.copy("in/a.npy", name)
        assert names(inputs.find(name)) == [name]


def test_images_are_one_input(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("q.png", "p.jpg", "r.TIF"):
        Image.new("L", (9, 9)).save(folder / name)
    (one,) = inputs.find("in")
    assert (one.path.name, one.name) == ("in", "in")
    assert [p.name for p in one.images] == ["p.jpg", "q.png", "r.TIF"]
    (one,) = inputs.find("in/q.png")
    assert (one.path.name, one.name) == ("q.png", "q")
    traces, images = inputs.find("in/a.npy,in/r.TIF,in/q.png")
    assert (traces.path.name, traces.images) == ("a.npy", ())
    assert (images.path.name, [p.name for p in images.images]) == (
        "in",
        ["q.png", "r.TIF"],
    )
    given = [str((tmp_path / "in" / name).resolve()) for name in ("q.png", "r.TIF")]
    assert images.flag == f"--input={','.join(given)}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("in/*.segy", "no file matches it"),
        ("in/a.npy,", "an empty name"),
        ("in/a.npy,nowhere.npy", "nowhere.npy: no such file"),
        ("in/a.npy,other/a.npy", "have the same name"),
        ("in/a.npy,other/a.sgy", "have the same name"),
        ("tiles,more", "several directories of images"),
        ("tiles/t.png,more/t.png", "two images with the id t"),
    ],
)
def test_mistakes(folder, tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    for name in ("other", "tiles", "more"):
        (tmp_path / name).mkdir()
    shutil.copy("in/a.npy", "other/a.npy")
    shutil.copy("in/c.SGY", "other/a.sgy")
    for name in ("tiles", "more"):
        Image.new("L", (9, 9)).save(tmp_path / f"{name}/t.png")
    with pytest.raises(InputError, match=message):
        inputs.find(source)


def test_all_of_a_directory_are_segmented_with_one_network(
    plain, folder, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.INFO, "saltjax")
    loaded = []
    on_devices = windows.SectionModel.on_devices

    def count(model, n):
        loaded.append(id(model.placed))
        return on_devices(model, n)

    monkeypatch.setattr(windows.SectionModel, "on_devices", count)
    out = tmp_path / "out"
    predict.predict([plain], str(folder), str(out), predict.Flags(report=True))
    network = saltjax.load(plain)
    for name in "ab":
        expected = network.predict(np.load(folder / f"{name}.npy"))
        found = np.load(out / f"{name}_prob.npy")
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (out / "c_prob.SGY").exists()
    for name in "abc":
        page = (out / f"{name}_report.html").read_text(encoding="utf-8")
        assert f"--input={folder / name}." in page
    assert len(set(loaded[: len(loaded) // 2])) == 1  # the weights are loaded once
    assert f"Input      2 of 3: {folder / 'b.npy'}" in caplog.text
    assert "1 file in" in caplog.text
    assert "also holds" not in caplog.text  # results of this command


def test_results_are_no_inputs_of_the_next_command(plain, folder):
    (folder / "c.SGY").unlink()
    for source in (folder, folder, f"{folder}/*.npy"):
        predict.predict([plain], str(source), str(folder))
        found = {path.name for path in folder.glob("*.npy")}
        names = {f"{n}{end}.npy" for n in "ab" for end in ("", "_prob", "_mask")}
        assert found == names
    # Named, they are; but then they are not replaced.
    both = f"{folder}/a.npy,{folder}/a_prob.npy"
    before = (folder / "a_prob.npy").read_bytes()
    with pytest.raises(InputError, match="1 of 2 inputs failed"):
        predict.predict([plain], both, str(folder))
    assert (folder / "a_prob.npy").read_bytes() == before


def test_long_lists_are_taken_apart(folder):
    many = ",".join([str(folder / "a.npy")] * 400)
    with pytest.raises(InputError, match="is given twice"):
        inputs.find(many)


def test_one_that_fails_does_not_keep_the_others_from_it(plain, folder, tmp_path):
    values = random_traces(20, 30)
    values[3, 4] = np.inf
    np.save(folder / "b.npy", values)
    (folder / "d.sgy").write_bytes(b"garbage")
    done = forked.launch(
        "--mode=predict",
        f"--workdir={plain}",
        f"--input={folder}",
        f"--output={tmp_path}/out",
    )
    assert_refused(done, "2 of 4 inputs failed", "b.npy", "d.sgy")
    assert "Error      " in done.stdout
    assert "not finite, such as inf" in done.stdout
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a_prob.npy", "a_mask.npy", "c_prob.SGY", "c_mask.SGY"} <= written
    assert not {"b_prob.npy", "d_prob.sgy"} & written


def test_the_flags_are_checked_before_anything_is_segmented(plain, folder, tmp_path):
    base = ["--mode=predict", f"--workdir={plain}", f"--output={tmp_path}/out"]
    Image.new("L", (9, 9)).save(tmp_path / "i.png")
    source = f"--input={folder}/a.npy,{tmp_path}/i.png"
    done = forked.launch(*base, source, "--bodies")
    assert_refused(done, "--bodies is of sections and volumes", "i.png")
    done = forked.launch(*base, source, "--header_bytes=9,21")
    assert_refused(done, "--header_bytes=9,21 is of SEG-Y files")
    done = forked.launch(*base, f"--input={tmp_path}/i.png", "--direction=both")
    assert_refused(done, "--direction=both is of sections and volumes")
    assert not (tmp_path / "out").exists()
    done = forked.launch(*base, f"--input={folder}", "--header_bytes=9,21")
    assert done.returncode == 0, done.stderr
