"""Images segmented by --mode=predict."""

import errno
import logging
import os

import numpy as np
import pytest
from PIL import Image
from prediction import random_traces, run_predict

from saltjax.data import image_file
from saltjax.inference import inputs
from saltjax.system.errors import InputError


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
            inputs.find(str(tmp_path))


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


def test_images_of_fewer_than_sixteen_bits_are_refused(plain, tmp_path):
    (tmp_path / "in").mkdir()
    for i, largest in enumerate((1020, 7)):
        grey = np.full((9, 9), largest, np.uint16)
        Image.fromarray(grey).save(tmp_path / f"in/{i}.png")
    with pytest.raises(InputError, match="value of the 16-bit images is 1020"):
        run_predict(plain, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out/probs").exists()


@pytest.mark.parametrize(
    ("threshold", "where"), [(0.0, "everywhere"), (1.0, "nowhere")]
)
def test_salt_nowhere_or_everywhere_is_said(plain, tmp_path, caplog, threshold, where):
    caplog.set_level(logging.INFO, "saltjax")
    (tmp_path / "in").mkdir()
    for i in range(2):
        grey = np.random.default_rng(i).integers(0, 256, (40, 50), np.uint8)
        Image.fromarray(grey).save(tmp_path / f"in/{i}.png")
    np.save(tmp_path / "line.npy", random_traces(12, 10))
    for source in ("in", "line.npy"):
        caplog.clear()
        run_predict(plain, tmp_path / source, tmp_path / "out", threshold)
        assert f"salt is predicted {where}; if" in caplog.text
    caplog.clear()
    prob = np.asarray(Image.open(tmp_path / "out/probs/0.png")) / 65535
    between = float(np.median(prob))
    run_predict(plain, tmp_path / "in/0.png", tmp_path / "out", between)
    share = np.mean(np.asarray(Image.open(tmp_path / "out/masks/0.png")) > 0)
    assert 0.3 < share < 0.7
    line = f"Salt       in {share:.1%} of all pixels and in 1 of 1 image, at threshold"
    assert line in caplog.text
    assert "salt is predicted" not in caplog.text


def test_the_earlier_submission_stays_until_there_is_a_new_one(
    plain, tmp_path, monkeypatch
):
    """The disk fills up within the second prediction."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        Image.new("L", (9, 9), 200).save(tmp_path / f"in/{name}.png")
    out = tmp_path / "out"
    run_predict(plain, tmp_path / "in", out)
    before = (out / "submission.csv").read_bytes()
    with monkeypatch.context() as full:

        def write(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        full.setattr(image_file, "write", write)
        with pytest.raises(InputError, match="No space left"):
            run_predict(plain, tmp_path / "in", out, threshold=0.0)
    assert (out / "submission.csv").read_bytes() == before
    run_predict(plain, tmp_path / "in", out, threshold=0.0)
    assert (out / "submission.csv").read_text() == "id,rle_mask\na,1 81\nb,1 81\n"
