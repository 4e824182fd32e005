import csv
import subprocess
import sys

import pytest

from saltjax.system import files
from saltjax.runs import workdir as run
from saltjax.system.errors import InputError


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "runs/unet_strided"),
        ({"model.skip": False}, "runs/unet_strided-model.skip=False"),
        (
            {"data.dir": "/data/competition_data/train"},
            "runs/unet_strided-data.dir=train",
        ),
        (
            {"optim.learning_rate": 1e-4, "model.features": (4, 8)},
            "runs/unet_strided-model.features=4,8-optim.learning_rate=0.0001",
        ),
    ],
)
def test_default_workdir_tells_the_overrides(overrides, expected):
    assert run.default_workdir("configs/unet_strided.py", overrides) == expected
    # The order in which the overrides stand makes no other folder.
    backwards = dict(reversed(overrides.items()))
    assert run.default_workdir("configs/unet_strided.py", backwards) == expected


def test_a_folder_belongs_to_one_config(tmp_path):
    config = {"seed": 0, "model": {"skip": True, "features": (4, 8)}}
    run.check_config(tmp_path, config)
    files.write_json(tmp_path / "config.json", config)
    run.check_config(tmp_path, config)
    other = {"seed": 0, "model": {"skip": False, "features": (4, 8)}}
    with pytest.raises(
        InputError, match=r"model\.skip: True there, False now"
    ) as caught:
        run.check_config(tmp_path, other)
    assert "seed" not in str(caught.value)
    assert "model.features" not in str(caught.value)


def test_settings_of_a_newer_version_are_told(tmp_path):
    files.write_json(
        tmp_path / "config.json", {"seed": 0, "model": {"attention": True}}
    )
    with pytest.raises(
        InputError, match=r"does not know: model\.attention; a newer version"
    ):
        run.check_config(tmp_path, {"seed": 0, "model": {}})


def test_another_device_count_is_said(tmp_path, capsys):
    run.tell_device_change(tmp_path, {"devices": ["a", "b"]})
    files.write_json(tmp_path / "env.json", {"devices": ["a", "b"]})
    run.tell_device_change(tmp_path, {"devices": ["a", "b"]})
    assert capsys.readouterr().out == ""
    run.tell_device_change(tmp_path, {"devices": ["a"]})
    assert "2 until now, 1 from here" in capsys.readouterr().out


def test_delete_takes_the_run_and_nothing_else(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    files.write_json(tmp_path / "config.json", {"model": {}, "optim": {}, "train": {}})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/weights").write_text("kept")
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "plots").mkdir()
    run.delete(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "elsewhere"}
    assert (tmp_path / "elsewhere/weights").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"model": {"na'])
def test_delete_takes_a_run_whose_config_is_damaged(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    run.write_metrics(tmp_path, [])
    run.delete(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_leaves_no_empty_folder(tmp_path):
    with pytest.raises(ZeroDivisionError), run.lock(tmp_path / "made"):
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with run.lock(tmp_path / "there"):
        pass
    assert (tmp_path / "there").exists()


def test_delete_refuses_what_is_no_run(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "data.json").write_text("somebody's")
    with pytest.raises(
        InputError, match=r"holds plots, data\.json but no config\.json"
    ):
        run.delete(tmp_path)
    files.write_json(tmp_path / "config.json", {"of": "another program"})
    with pytest.raises(InputError, match="of a run"):
        run.delete(tmp_path)
    assert (tmp_path / "data.json").exists()
    assert (tmp_path / "plots").exists()


def test_long_names_are_cut_and_stay_apart():
    overrides = {f"section.setting{i}": "x" * 20 for i in range(20)}
    name = run.default_workdir("configs/unet.py", overrides)
    other = run.default_workdir(
        "configs/unet.py", overrides | {"section.setting9": "y"}
    )
    assert len(name.removeprefix("runs/")) < 255
    assert name != other
    assert name.startswith("runs/unet-section.setting0=")


def test_settings_that_change_nothing_may_change(tmp_path):
    config = {"seed": 0, "train": {"compile_cache": "", "cpu_devices": 0}}
    files.write_json(tmp_path / "config.json", config)
    other = {"compile_cache": "/cache", "cpu_devices": 2}
    run.check_config(tmp_path, config | {"train": other})
    with pytest.raises(InputError, match="seed: 0 there, 1 now") as caught:
        run.check_config(tmp_path, config | {"train": other, "seed": 1})
    assert "cpu_devices" not in str(caught.value)


def test_changed_data_are_refused(tmp_path):
    splits = {"train": ["a"], "val": ["b"], "test": ["c"]}
    facts = {"tiles": 30, "content_sha256": "aaa", "splits": splits}
    run.check_data(tmp_path, facts)
    files.write_json(tmp_path / "data.json", facts)
    run.check_data(tmp_path, facts)
    with pytest.raises(
        InputError, match="30 tiles, hash aaa then, 29 tiles, hash bbb now"
    ):
        run.check_data(tmp_path, {"tiles": 29, "content_sha256": "bbb"})
    other = facts | {"splits": splits | {"val": ["c"], "test": ["b"]}}
    with pytest.raises(InputError, match="tiles are split otherwise"):
        run.check_data(tmp_path, other)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"seed": '])
def test_damaged_config_is_told(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        run.check_config(tmp_path, {"seed": 0})


HOLD = """
import pathlib, sys
from saltjax.runs import workdir as run
with run.lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_process_is_refused_and_the_lock_dies_with_the_first(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match="another run is at work"), run.lock(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with run.lock(tmp_path):
        pass


def test_workdir_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot write there"), run.lock(path):
            pass


def test_an_error_of_the_run_is_not_taken_for_the_lock(tmp_path):
    with pytest.raises(BlockingIOError), run.lock(tmp_path):
        raise BlockingIOError


def test_metrics_csv_has_a_row_an_epoch(tmp_path):
    row = dict.fromkeys(run.METRICS, 0.5) | {"epoch": 1, "learning_rate": 1e-3}
    run.write_metrics(tmp_path, [row, row | {"epoch": 2}])
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    header = (
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,learning_rate,seconds"
    )
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == header
    assert [r["epoch"] for r in rows] == ["1", "2"]
    assert float(rows[0]["learning_rate"]) == 1e-3
