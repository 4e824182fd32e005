import itertools
import shlex

import pytest

from saltjax.runs import names
from saltjax.system import files

CONFIG = "configs/unet_strided.py"


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
            {"optim.learning_rate": 1e-5, "model.features": (4, 8, 16)},
            "runs/unet_strided-model.features=4x8x16-optim.learning_rate=1e-05",
        ),
        ({"model.features": (4,)}, "runs/unet_strided-model.features=4"),
        (
            {"data.labels": "/f3/top.txt, /f3/base.txt"},
            "runs/unet_strided-data.labels=top.txt_base.txt-90c77c83",
        ),
        (
            {"data.split": (0.7, 0.15, 0.15), "eval.min_area": 9},
            "runs/unet_strided-data.split=0.7x0.15x0.15",
        ),
        (
            {
                "eval.tta": True,
                "predict.direction": "both",
                "train.compile_cache": "/cache",
                "train.cpu_devices": 2,
                "checkpoint.every_minutes": 1.0,
            },
            "runs/unet_strided",
        ),
    ],
)
def test_default_workdir_names_the_overrides(overrides, expected):
    assert names.default_workdir(CONFIG, overrides) == expected
    # It does not depend on the order of the overrides.
    backwards = dict(reversed(overrides.items()))
    assert names.default_workdir(CONFIG, backwards) == expected


def test_the_scaling_of_amplitudes_counts_on_a_volume():
    scaled = {"predict.normalize": "minmax", "eval.tta": True}
    assert names.default_workdir(CONFIG, scaled) == "runs/unet_strided"
    found = names.default_workdir(CONFIG, scaled, on_volume=True)
    assert found == "runs/unet_strided-predict.normalize=minmax"


def test_names_are_safe_and_distinct():
    directories = ("a,b", "a b", "a;b", "a$b", "a'b", "a_b", "a*b", "a\nb", "~a", "a:b")
    found = [
        names.default_workdir(CONFIG, {"data.dir": f"/data/{d}"}) for d in directories
    ]
    found.append(names.default_workdir("configs/my,own.py", {}))
    found.append(names.default_workdir("configs/my_own.py", {}))
    for a, b in itertools.combinations(found, 2):
        assert a != b
    for name in found:
        assert shlex.quote(name) == name
        assert not set(name) & set(",:~ ")
    assert found[5] == "runs/unet_strided-data.dir=a_b"
    assert names.default_workdir("é.py", {"data.dir": "ü"}) == "runs/é-data.dir=ü"


def test_long_names_are_truncated_and_stay_distinct():
    overrides = {f"section.setting{i}": "x" * 20 for i in range(20)}
    name = names.default_workdir("configs/unet.py", overrides)
    other = names.default_workdir(
        "configs/unet.py", overrides | {"section.setting9": "y"}
    )
    assert len(name.removeprefix("runs/")) < 255
    assert name != other
    assert name.startswith("runs/unet-section.setting0=")


OVERRIDES = {"model.features": (4, 8), "eval.tta": True}
NEW = "runs/unet_strided-model.features=4x8"


@pytest.mark.parametrize(
    "earlier",
    [
        "runs/unet_strided-eval.tta=True-model.features=4,8",
        "runs/unet_strided-model.features=4,8",
    ],
)
def test_a_run_is_found_by_its_earlier_name(tmp_path, monkeypatch, caplog, earlier):
    caplog.set_level("INFO", "saltjax")
    monkeypatch.chdir(tmp_path)
    assert str(names.find_workdir(CONFIG, OVERRIDES)) == NEW
    # A directory that holds no run.
    (tmp_path / earlier).mkdir(parents=True)
    assert str(names.find_workdir(CONFIG, OVERRIDES)) == NEW
    assert not caplog.records
    files.write_json(tmp_path / earlier / "config.json", {})
    assert str(names.find_workdir(CONFIG, OVERRIDES)) == earlier
    assert f"{earlier} is used, by its earlier name" in caplog.text
    caplog.clear()
    files.write_json(tmp_path / NEW / "config.json", {})
    assert str(names.find_workdir(CONFIG, OVERRIDES)) == NEW
    assert not caplog.records
