"""--mode=predict --report: the page beside the results, complete or not there."""

import html
import json
import subprocess
import sys

import numpy as np
import pytest
import segy_writer
from PIL import Image
from prediction import random_traces
from program import ROOT

from saltjax import predict
from saltjax.reporting import section_report
from saltjax.system import signals
from saltjax.system.errors import InputError


def run(workdir, source, output, report=True, **given):
    predict.predict(
        [workdir],
        str(source),
        str(output),
        predict.Flags(threshold=given.pop("threshold", None), report=report, **given),
    )


def data_of(page):
    """Returns the data that the page's script reads."""
    _, _, rest = page.partition('<script type="application/json" id="section-data">')
    return json.loads(rest.partition("</script>")[0])


def names(folder):
    return sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))


def test_a_page_of_an_array(plain, tmp_path):
    np.save(tmp_path / "line.npy", random_traces(40, 60))
    out = tmp_path / "out"
    run(plain, tmp_path / "line.npy", out, threshold=0.25, min_area=9)
    assert names(out) == ["line_mask.npy", "line_prob.npy", "line_report.html"]
    page = (out / "line_report.html").read_text(encoding="utf-8")
    data = data_of(page)
    share = float(np.load(out / "line_mask.npy").mean())
    assert data["chosen"] == {"threshold": 0.25, "minArea": 9, "share": share}
    for flag in ("--mode=predict", f"--workdir={plain}", f"--output={out}", "--report"):
        assert flag in data["command"]
    # The script appends the two that it changes.
    assert "--threshold" not in data["command"]
    assert "--min_area" not in data["command"]
    # The same command again replaces its own page.
    run(plain, tmp_path / "line.npy", out, threshold=0.5)
    again = data_of((out / "line_report.html").read_text(encoding="utf-8"))
    assert again["chosen"]["threshold"] == 0.5


def test_a_page_of_a_segy_file(plain, tmp_path):
    inline, crossline = np.meshgrid(np.arange(4), np.arange(5), indexing="ij")
    path = segy_writer.write(
        tmp_path / "cube.sgy",
        random_traces(20, 33),
        5,
        "little",
        inline.ravel(),
        crossline.ravel(),
    )
    run(plain, path, tmp_path / "out")
    data = data_of((tmp_path / "out/cube_report.html").read_text(encoding="utf-8"))
    assert data["kind"] == "volume"
    assert [section["name"] for section in data["sections"]] == list("0123")


def test_a_page_of_images(plain, tmp_path):
    folder = tmp_path / "tiles"
    folder.mkdir()
    hostile = "<script>alert(1)<∕script>"
    for name in ("a", hostile):
        pixels = np.random.default_rng(1).integers(0, 256, (20, 30), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    run(plain, folder, tmp_path / "out")
    assert names(tmp_path / "out") == [
        "masks",
        "probs",
        "submission.csv",
        "tiles_report.html",
    ]
    run(plain, folder / f"{hostile}.png", tmp_path / "one")
    page = (tmp_path / f"one/{hostile}_report.html").read_text(encoding="utf-8")
    assert hostile not in page
    assert html.escape(hostile) in page
    assert data_of(page)["sections"][0]["name"] == hostile


def test_a_page_of_a_colour_array(plain, tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    np.save(tmp_path / "photo.npy", pixels)
    run(plain, tmp_path / "photo.npy", tmp_path / "out")
    data = data_of((tmp_path / "out/photo_report.html").read_text(encoding="utf-8"))
    assert data["kind"] == "images"
    assert (data["sections"][0]["height"], data["sections"][0]["width"]) == (20, 30)


@pytest.mark.parametrize("failure", [InputError("no"), signals.Stopped(15)])
def test_a_page_that_fails_leaves_the_results_and_no_part(
    plain, tmp_path, monkeypatch, failure
):
    np.save(tmp_path / "line.npy", random_traces(40, 60))
    run(plain, tmp_path / "line.npy", tmp_path / "out")

    def fail(*_):
        raise failure

    monkeypatch.setattr(section_report, "render", fail)
    with pytest.raises(type(failure)):
        run(plain, tmp_path / "line.npy", tmp_path / "out")
    # The earlier page showed what has been replaced.
    assert names(tmp_path / "out") == ["line_mask.npy", "line_prob.npy"]
    assert not list((tmp_path / "out").glob(".*.part"))


def test_a_page_that_saltjax_did_not_write_is_not_replaced(plain, tmp_path):
    np.save(tmp_path / "line.npy", random_traces(40, 60))
    page = tmp_path / "out/line_report.html"
    page.parent.mkdir()
    page.write_text("mine")
    with pytest.raises(InputError, match=r"line_report\.html: not written by this"):
        run(plain, tmp_path / "line.npy", tmp_path / "out")
    assert names(tmp_path / "out") == ["line_report.html"]
    run(plain, tmp_path / "line.npy", tmp_path / "out", report=False)
    assert page.read_text() == "mine"


def test_a_prediction_without_a_page_deletes_that_of_an_earlier_one(plain, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "line.npy", random_traces(40, 60))
    cube = segy_writer.write(tmp_path / "line.sgy", random_traces(5, 33))
    out, page = tmp_path / "out", tmp_path / "out/line_report.html"
    run(plain, tmp_path / "a/line.npy", out)
    run(plain, tmp_path / "a/line.npy", out, report=False)
    assert names(out) == ["line_mask.npy", "line_prob.npy"]
    run(plain, tmp_path / "a/line.npy", out)
    run(plain, tmp_path / "b/line.npy", out, report=False)
    assert not page.exists()
    # That of another input, whose results remain, is kept.
    run(plain, cube, out)
    run(plain, tmp_path / "a/line.npy", out, report=False)
    assert page.exists()
    page.write_text("mine")
    run(plain, cube, out, report=False)
    assert page.read_text() == "mine"


def test_a_refused_prediction_keeps_the_page_of_an_earlier_one(plain, tmp_path):
    np.save(tmp_path / "line.npy", random_traces(40, 60))
    out = tmp_path / "out"
    run(plain, tmp_path / "line.npy", out)
    (out / "line_mask.npy").write_text("mine")
    with pytest.raises(InputError, match="Nothing was replaced"):
        run(plain, tmp_path / "line.npy", out, report=False)
    assert (out / "line_report.html").exists()


@pytest.mark.slow
def test_without_the_flag_there_is_no_page_and_no_template_library(plain, tmp_path):
    np.save(tmp_path / "line.npy", random_traces(40, 60))
    code = (
        "import sys, pathlib; from saltjax import predict\n"
        "predict.predict([pathlib.Path(sys.argv[1])], *sys.argv[2:4])\n"
        "print('jinja2' in sys.modules, 'saltjax.reporting' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, plain, tmp_path / "line.npy", tmp_path / "out"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False False"
    assert names(tmp_path / "out") == ["line_mask.npy", "line_prob.npy"]


def test_a_damaged_trace_is_told_after_the_page_is_written(
    plain, tmp_path, monkeypatch
):
    from saltjax.inference import volumes

    volume = random_traces(3, 40, 30)
    volume[2, 7, 5] = np.nan
    np.save(tmp_path / "cube.npy", volume)
    monkeypatch.setattr(volumes, "SCAN_BYTES", 0)
    monkeypatch.setattr(volumes.amplitudes, "MAX_SAMPLES", 60)
    with pytest.raises(InputError, match="trace 88 "):
        run(plain, tmp_path / "cube.npy", tmp_path / "out")
    assert "cube_report.html" in names(tmp_path / "out")
