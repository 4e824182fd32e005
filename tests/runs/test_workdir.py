import csv
import json

import pytest
import written_run

from configs import default
from saltjax.runs import saved_config
from saltjax.runs import workdir as run_directory
from saltjax.runs.workdir import Status
from saltjax.system import files
from saltjax.system.errors import InputError


def complete(overrides=None):
    """Returns a complete config as a dict."""
    config = default.get_config()
    config.update_from_flattened_dict(overrides or {})
    return config.to_dict()


def write_config(workdir, config):
    (workdir / "config.json").write_text(json.dumps(config))


def test_directory_without_a_run_is_new(tmp_path):
    for workdir in (tmp_path, tmp_path / "missing"):
        assert run_directory.status(workdir) is Status.NEW
        assert run_directory.status(workdir, complete()) is Status.NEW
    assert not (tmp_path / "missing").exists()


def test_status_of_a_run_of_the_same_config(tmp_path):
    # Tuples are lists in the file.
    config = complete({"model.features": (4, 8)})
    write_config(tmp_path, config)
    assert run_directory.status(tmp_path) is Status.RESUME
    assert run_directory.status(tmp_path, config) is Status.RESUME
    (tmp_path / "result.json").write_text("")
    assert run_directory.status(tmp_path) is Status.FINISHED
    assert run_directory.status(tmp_path, config) is Status.FINISHED


@pytest.mark.parametrize(
    "other",
    [{"eval.min_area": 9}, {"eval.tta": True}, {"eval.threshold_metric": "iou"}],
)
def test_finished_run_under_other_settings_of_the_test_is_tested_again(tmp_path, other):
    write_config(tmp_path, complete())
    # Before its result there is nothing to test again.
    assert run_directory.status(tmp_path, complete(other)) is Status.RESUME
    (tmp_path / "result.json").write_text("")
    assert run_directory.status(tmp_path, complete(other)) is Status.OUTDATED
    assert run_directory.status(tmp_path) is Status.FINISHED


def test_settings_that_change_no_weights_are_free(tmp_path):
    write_config(tmp_path, complete())
    free = {
        "train.compile_cache": "/cache",
        "train.cpu_devices": 2,
        "checkpoint.every_minutes": 1.0,
        "predict.normalize": "minmax",
        "predict.direction": "both",
    }
    assert run_directory.status(tmp_path, complete(free)) is Status.RESUME
    (tmp_path / "result.json").write_text("")
    assert run_directory.status(tmp_path, complete(free)) is Status.FINISHED
    with pytest.raises(InputError, match="seed: 0 there, 1 now") as caught:
        run_directory.status(tmp_path, complete(free | {"seed": 1}))
    assert "cpu_devices" not in str(caught.value)


def test_scaling_of_a_volume_changes_weights(tmp_path):
    paths = {"data.volume": "a.npy", "data.labels": "b.npy"}
    write_config(tmp_path, complete(paths))
    other = complete(
        paths | {"predict.normalize": "minmax", "predict.direction": "both"}
    )
    with pytest.raises(
        InputError, match=r"normalize: 'clip' there, 'minmax'"
    ) as caught:
        run_directory.status(tmp_path, other)
    assert "direction" not in str(caught.value)


@pytest.mark.parametrize("finished", [False, True])
def test_run_of_another_config_is_refused_naming_what_differs(tmp_path, finished):
    write_config(tmp_path, complete({"model.features": (4, 8), "eval.min_area": 3}))
    if finished:
        (tmp_path / "result.json").write_text("")
    other = complete({"model.skip": False, "model.features": (4, 8), "seed": 5})
    with pytest.raises(InputError) as caught:
        run_directory.status(tmp_path, other)
    message = str(caught.value)
    assert f"--workdir={tmp_path} holds a run of another config" in message
    assert [line for line in message.splitlines() if line.startswith("  ")] == [
        "  model.skip: True there, False now",
        "  seed: 0 there, 5 now",
    ]
    assert "--overwrite" in message
    # Without a config, whatever run is there is meant.
    expected = Status.FINISHED if finished else Status.RESUME
    assert run_directory.status(tmp_path) is expected


def finish(workdir, epochs, stopped_early, test=None):
    """Writes the result of a run of so many epochs, tested under settings "eval."."""
    tree = written_run.RESULT | {"epochs": epochs, "stopped_early": stopped_early}
    tested = complete()["eval"] | (test or {})
    (workdir / "result.json").write_text(json.dumps(tree | {"eval": tested}))


@pytest.mark.parametrize(
    ("stopped_early", "epochs", "expected"),
    [
        (False, 20, Status.FINISHED),
        (False, 21, Status.OUTDATED),
        (False, 19, None),
        (True, 20, Status.FINISHED),
        (True, 21, Status.FINISHED),
        (True, 500, Status.FINISHED),
        (True, 19, None),
    ],
)
def test_more_epochs_of_a_finished_run(
    tmp_path, caplog, stopped_early, epochs, expected
):
    caplog.set_level("INFO", "saltjax")
    before = 100 if stopped_early else 20
    write_config(tmp_path, complete({"train.epochs": before}))
    finish(tmp_path, 20, stopped_early)
    now = complete({"train.epochs": epochs})
    if expected is None:
        with pytest.raises(InputError, match="holds a run of 20 epochs; expected at"):
            run_directory.status(tmp_path, now)
    else:
        assert run_directory.status(tmp_path, now) is expected
    said = f"stopped early after epoch 20: train.epochs={epochs} changes nothing"
    assert (said in caplog.text) == (stopped_early and epochs >= 20)


def test_number_of_epochs_of_an_unfinished_run_is_free(tmp_path):
    """What has been done stands in its checkpoint: see `progress.check_epochs`."""
    write_config(tmp_path, complete({"train.epochs": 20}))
    for epochs in (1, 20, 500):
        now = complete({"train.epochs": epochs})
        assert run_directory.status(tmp_path, now) is Status.RESUME


@pytest.mark.parametrize("finished", [False, True])
def test_number_of_epochs_of_a_run_with_a_cosine_is_its_own(tmp_path, finished):
    cosine = {"optim.schedule": "cosine", "train.epochs": 20}
    write_config(tmp_path, complete(cosine))
    expected = Status.RESUME
    if finished:
        finish(tmp_path, 20, False)
        expected = Status.FINISHED
    assert run_directory.status(tmp_path, complete(cosine)) is expected
    for epochs in (19, 21):
        with pytest.raises(InputError) as caught:
            run_directory.status(tmp_path, complete(cosine | {"train.epochs": epochs}))
        _, line, advice = str(caught.value).splitlines()
        assert line == (
            f"  train.epochs: 20 there, {epochs} now, on which the rates of "
            "optim.schedule=cosine depend"
        )
        assert advice == "choose another --workdir, or start again with --overwrite"
    with pytest.raises(InputError, match=r"optim\.schedule: 'cosine' there, 'plateau'"):
        run_directory.status(tmp_path, complete({"train.epochs": 20}))


def test_result_says_under_which_settings_it_was_tested(tmp_path):
    """As after a kill between the replacements of result.json and of config.json."""
    write_config(tmp_path, complete())
    finish(tmp_path, 20, False, {"min_area": 9})
    assert saved_config.read(tmp_path).eval.min_area == 9
    same, other = complete({"eval.min_area": 9}), complete()
    assert run_directory.status(tmp_path, same) is Status.FINISHED
    assert run_directory.status(tmp_path, other) is Status.OUTDATED


@pytest.mark.parametrize("split_by", ["random", "coverage", "group"])
def test_groups_given_later_are_only_tested_with_unless_they_divide(tmp_path, split_by):
    write_config(tmp_path, complete({"data.split_by": split_by}))
    finish(tmp_path, 100, False)
    now = complete({"data.split_by": split_by, "data.groups": "g.csv"})
    if split_by == "group":
        with pytest.raises(InputError, match=r"data\.groups: '' there, 'g\.csv' now"):
            run_directory.status(tmp_path, now)
    else:
        assert run_directory.status(tmp_path, now) is Status.OUTDATED
        (tmp_path / "result.json").unlink()
        assert run_directory.status(tmp_path, now) is Status.RESUME


PLACES = {"data.dir": "/data/tiles", "data.split_by": "group", "data.groups": "g.csv"}


def test_paths_may_differ_where_their_content_is_known(tmp_path):
    write_config(tmp_path, complete(PLACES))
    now = complete(PLACES | {"data.dir": "/mnt/tiles", "data.groups": "/mnt/g.csv"})
    with pytest.raises(InputError, match=r"data\.dir: '/data/tiles' there, '/mnt/t"):
        run_directory.status(tmp_path, now)
    (tmp_path / "data.json").write_text("{}")
    assert run_directory.status(tmp_path, now) is Status.RESUME
    before = saved_config.read_json(tmp_path)
    assert run_directory.moved(before, now) == [
        ("data.dir", "/data/tiles", "/mnt/tiles"),
        ("data.groups", "g.csv", "/mnt/g.csv"),
    ]
    # Built-in sections are not tiles of a directory.
    with pytest.raises(InputError, match=r"data\.dir: '/data/tiles' there, '' now"):
        run_directory.status(tmp_path, complete(PLACES | {"data.dir": ""}))


def test_another_spelling_is_the_same_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "tiles")
    before = complete({"data.dir": str(tmp_path / "tiles")})
    for same in ("tiles", "tiles/", "./tiles", "~/tiles", "link", "x/../tiles"):
        assert not run_directory.elsewhere(before, complete({"data.dir": same}))
    for other in ("tiles2", "/tiles", "~/x/tiles"):
        assert run_directory.elsewhere(before, complete({"data.dir": other}))
    assert not run_directory.elsewhere(before, before)
    both = complete({"data.labels": f"{tmp_path}/top.txt,{tmp_path}/base.txt"})
    now = complete({"data.labels": "~/link/../top.txt, base.txt"})
    assert not run_directory.elsewhere(both, now)


def test_setting_that_an_older_version_lacked_is_a_difference(tmp_path):
    config = complete()
    del config["model"]["norm"]
    write_config(tmp_path, config)
    with pytest.raises(InputError, match=r"model\.norm: None there, 'none' now"):
        run_directory.status(tmp_path, complete())


def test_settings_of_a_newer_version_are_named(tmp_path):
    config = complete()
    config["model"]["attention"] = True
    config["loss"]["focal"] = 0.5
    write_config(tmp_path, config)
    message = r"does not know: loss\.focal, model\.attention; use the newer version"
    with pytest.raises(InputError, match=message):
        run_directory.status(tmp_path, complete())


def test_result_without_a_config_is_refused(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    for config in (None, complete()):
        with pytest.raises(InputError, match=r"result\.json but no config\.json"):
            run_directory.status(tmp_path, config)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"seed": ', "[" * 9999])
def test_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    for config in (None, complete()):
        with pytest.raises(InputError, match=r"config\.json: damaged"):
            run_directory.status(tmp_path, config)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("16", 16), ("auto", -1)])
def test_run_of_an_older_version_is_accepted(tmp_path, text, number):
    """The minimum component size was a string."""
    config = complete()
    config["eval"]["min_area"] = text
    write_config(tmp_path, config)
    (tmp_path / "result.json").write_text("")
    same, other = (complete({"eval.min_area": area}) for area in (number, number + 1))
    assert run_directory.status(tmp_path, same) is Status.FINISHED
    assert run_directory.status(tmp_path, other) is Status.OUTDATED
    assert run_directory.status(tmp_path) is Status.FINISHED


def test_delete_removes_the_run_and_nothing_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    files.write_json(tmp_path / "config.json", {"model": {}, "optim": {}, "train": {}})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/weights").write_text("kept")
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "plots").mkdir()
    run_directory.delete(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "elsewhere"}
    assert (tmp_path / "elsewhere/weights").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"model": {"na'])
def test_delete_removes_a_run_whose_config_is_damaged(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    run_directory.write_metrics(tmp_path, [])
    run_directory.delete(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_delete_knows_a_run_by_metrics_with_more_columns(tmp_path):
    row = dict.fromkeys((*run_directory.METRICS, "train_lovasz", "val_kaggle_map"), 1)
    run_directory.write_metrics(tmp_path, [row])
    run_directory.delete(tmp_path)
    assert list(tmp_path.iterdir()) == []
    for header in ("epoch,train_loss", "more," + ",".join(run_directory.METRICS)):
        (tmp_path / "metrics.csv").write_text(header + "\n")
        with pytest.raises(InputError, match="of a run"):
            run_directory.delete(tmp_path)


def test_delete_refuses_what_is_no_run(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "data.json").write_text("somebody's")
    with pytest.raises(
        InputError, match=r"holds plots, data\.json but no config\.json"
    ):
        run_directory.delete(tmp_path)
    files.write_json(tmp_path / "config.json", {"of": "another program"})
    with pytest.raises(InputError, match="of a run"):
        run_directory.delete(tmp_path)
    assert (tmp_path / "data.json").exists()
    assert (tmp_path / "plots").exists()


def test_metrics_csv_has_a_row_for_each_epoch(tmp_path):
    row = dict.fromkeys(run_directory.METRICS, 0.5) | {
        "epoch": 1,
        "learning_rate": 1e-3,
    }
    run_directory.write_metrics(tmp_path, [row, row | {"epoch": 2}])
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    header = (
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds"
    )
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == header
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert float(rows[0]["learning_rate"]) == 1e-3
    more = {"train_lovasz": 0.75, "val_kaggle_map": 0.25}
    run_directory.write_metrics(tmp_path, [row | more])
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines[0] == header + ",train_lovasz,val_kaggle_map"
    assert lines[1].endswith(",0.5,0.75,0.25")
