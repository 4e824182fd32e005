"""Finished runs that the command which trained them tests again."""

import forked
import pytest
from program import TINY
from run_files import in_json, read


def train_command(workdir):
    """The command that trained the run."""
    return "--config=configs/quickstart.py", f"--workdir={workdir}", *TINY


def training_files(run):
    """Returns what training wrote, by relative path: weights and metrics.csv."""
    paths = [run / "metrics.csv", *(run / "checkpoints").rglob("*")]
    return {p.relative_to(run): p.read_bytes() for p in paths if p.is_file()}


@pytest.mark.slow
def test_a_finished_run_is_tested_again_under_other_settings(run):
    before, trained = read(run / "result.json"), training_files(run)
    other = ("--config.eval.threshold_metric=iou", "--config.eval.min_area=30")
    done = forked.launch(*train_command(run), *other)
    assert done.returncode == 0, done.stderr
    after = read(run / "result.json")
    assert (before["threshold"]["metric"], before["min_area"]) == ("f1", 0)
    assert (after["threshold"]["metric"], after["min_area"]) == ("iou", 30)
    assert after["test_native"] != before["test_native"]
    assert after["test"]["loss"] == before["test"]["loss"]
    assert training_files(run) == trained
    assert read(run / "config.json")["eval"]["min_area"] == 30


@pytest.mark.slow
def test_overwrite_deletes_the_evaluation_of_the_run_before(run):
    (run / "evaluation.json").write_text("{}")
    (run / "evaluation").mkdir()
    done = forked.launch(*train_command(run), "--overwrite", "--config.train.epochs=1")
    assert done.returncode == 0, done.stderr
    assert read(run / "result.json")["epochs"] == 1
    assert not (run / "evaluation.json").exists()
    assert not (run / "evaluation").exists()


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_shown_and_tested_again(run):
    """In config.json of version 0.1, eval.min_area was a string."""
    earlier = in_json(lambda config: config["eval"].update(min_area="0"))
    before = read(run / "result.json")
    # Nor did result.json hold the settings of the test.
    in_json(lambda result: result.pop("eval"))(run / "result.json")
    earlier(run / "config.json")
    done = forked.launch(*train_command(run))
    assert done.returncode == 0, done.stderr
    assert "is complete" in done.stdout
    assert f"loss {before['test']['loss']:.4f}" in done.stdout
    assert "Compiling" not in done.stdout
    assert read(run / "config.json")["eval"]["min_area"] == 0
    earlier(run / "config.json")
    (run / "result.json").unlink()
    done = forked.launch(*train_command(run))
    assert done.returncode == 0, done.stderr
    assert "Resuming after epoch 2" in done.stdout
    assert read(run / "result.json") == before
    assert read(run / "config.json")["eval"]["min_area"] == 0
