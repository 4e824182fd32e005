"""--mode=check: data described, without training."""

import forked
from program import assert_refused


def test_check_describes_a_directory_and_trains_nothing(tile_folder, tmp_path):
    options = (f"--config.data.dir={tile_folder}", "--config.train.batch_size=8")
    done = forked.launch(
        "--config=configs/unet.py", "--mode=check", f"--workdir={tmp_path}/r", *options
    )
    assert done.returncode == 0, done.stderr
    assert "30 tiles of 10×12 pixels" in done.stdout
    assert "8 without salt (26.7%)" in done.stdout
    assert "21 train" in done.stdout
    assert "Warning" not in done.stdout
    assert "Next" in done.stdout
    assert {path.name for path in (tmp_path / "r").rglob("*")} == {
        "check",
        "examples.png",
        "coverage.png",
    }


def test_check_describes_tiles_that_are_too_few_for_a_batch(tile_folder, tmp_path):
    words = ("--config=configs/unet.py", f"--config.data.dir={tile_folder}")
    done = forked.launch(*words, "--mode=check", f"--workdir={tmp_path}/r")
    assert done.returncode == 0, done.stderr
    assert "30 tiles of 10×12 pixels" in done.stdout
    assert "No bad files." in done.stdout
    assert "expected at least one batch (32)" in done.stdout
    assert "Next" not in done.stdout  # not that training
    done = forked.launch(*words, f"--workdir={tmp_path}/r")
    assert_refused(done, "expected at least one batch (32)")
