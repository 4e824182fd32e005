import json

import pytest

from configs import default
from saltjax.runs import saved_config, settings, workdir
from saltjax.system import files
from saltjax.system.errors import InputError


def older_config(min_area):
    """Returns what versions wrote as config.json when eval.min_area was a string."""
    tree = default.get_config().to_dict()
    tree["eval"]["min_area"] = min_area
    return json.loads(json.dumps(tree))


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("16", 16), ("auto", -1)])
def test_run_of_an_older_version_is_read(tmp_path, text, number):
    tree = older_config(text)
    assert saved_config.upgrade(tree, 0)["eval"]["min_area"] == number
    assert tree["eval"]["min_area"] == text
    (tmp_path / "config.json").write_text(json.dumps(tree))
    config = saved_config.read(tmp_path)
    assert config.eval.min_area == number
    assert type(config.eval.min_area) is int
    assert config.model.features == (16, 32, 64, 128, 256)
    expected = settings.defaults() | {"eval.min_area": number}
    assert settings.flatten(config.to_dict()) == expected
    assert saved_config.read_json(tmp_path)["eval"]["min_area"] == number


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "²", "٣", "9" * 30])
def test_component_size_that_is_no_number_is_refused(tmp_path, text):
    tree = older_config(text)
    assert saved_config.upgrade(tree, 0) == tree
    (tmp_path / "config.json").write_text(json.dumps(tree))
    with pytest.raises(InputError) as caught:
        saved_config.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}/config.json: damaged")
    assert f"config.eval.min_area={text!r}; expected a whole" in str(caught.value)


def test_settings_that_older_versions_lack_are_as_json_has_them():
    # Else a comparison calls them different from the same settings of a newer run.
    found = saved_config.upgrade({}, 0)
    assert json.loads(json.dumps(found)) == found


def test_configs_of_this_version_are_not_changed_by_upgrade():
    for tree in ({}, {"eval": 3}, {"eval": {}}, {"eval": {"min_area": 7}}):
        assert saved_config.upgrade(tree, saved_config.SCHEMA) == tree


def test_settings_added_later_get_the_value_they_had_before(tmp_path, monkeypatch):
    added = {1: {"data.seed": lambda flat: flat["seed"] + 1}, 2: {"model.new": "a"}}
    monkeypatch.setattr(saved_config, "ADDED", added)
    monkeypatch.setattr(saved_config, "SCHEMA", 2)
    tree = {"seed": 4, "data": {}, "model": {"new": "kept"}}
    assert saved_config.upgrade(tree, 0)["data"] == {"seed": 5}
    assert saved_config.upgrade(tree, 0)["model"] == {"new": "kept"}
    # A setting that version 1 lacks is not invented for it: it is damaged.
    assert saved_config.upgrade(tree, 1)["data"] == {}
    assert tree == {"seed": 4, "data": {}, "model": {"new": "kept"}}
    files.write_json(tmp_path / "config.json", {"schema": 1, "model": {}})
    assert saved_config.read_json(tmp_path) == {"model": {"new": "a"}}


# What the settings of version 2 mean for earlier runs: nothing of them was there.
MEANT = {
    "data.augment": "none",
    "train.ema": 0.0,
    "loss.lovasz": 0.0,
    "optim.schedule": "plateau",
    "optim.warmup_epochs": 0,
    "checkpoint.select": "val_loss",
}


@pytest.mark.parametrize("version", [0, 1])
def test_runs_of_before_the_recipe_go_on_without_it(tmp_path, version):
    tree = older_config(0)
    for key in MEANT:
        section, _, name = key.rpartition(".")
        del tree[section][name]
    del tree["loss"]  # this section held nothing else
    if version:
        tree["schema"] = version
    (tmp_path / "config.json").write_text(json.dumps(tree))
    found = settings.flatten(saved_config.read(tmp_path).to_dict())
    assert MEANT.items() <= found.items()
    config = default.get_config()
    assert workdir.status(tmp_path, config.to_dict()) is workdir.Status.RESUME
    config.train.ema = 0.9
    with pytest.raises(InputError, match=r"train\.ema: 0\.0 there, 0\.9 now"):
        workdir.status(tmp_path, config.to_dict())


def test_runs_of_version_2_have_no_event_files_and_lack_nothing_else(tmp_path):
    tree = {"schema": 2} | older_config(0)
    del tree["train"]["tensorboard"]
    files.write_json(tmp_path / "config.json", tree)
    assert saved_config.read(tmp_path).train.tensorboard is False
    config = default.get_config()
    config.train.tensorboard = True  # it changes no weights
    assert workdir.status(tmp_path, config.to_dict()) is workdir.Status.RESUME
    files.write_json(tmp_path / "config.json", tree | {"schema": saved_config.SCHEMA})
    with pytest.raises(InputError, match=r"missing settings: train\.tensorboard; unk"):
        saved_config.read(tmp_path)
    del tree["train"]["ema"]
    files.write_json(tmp_path / "config.json", tree)
    with pytest.raises(InputError, match=r"missing settings: train\.ema; unknown"):
        saved_config.read(tmp_path)


def test_seed_of_an_older_run_is_also_its_data_seed(tmp_path):
    tree = older_config("0") | {"seed": 3}
    del tree["data"]["seed"]
    (tmp_path / "config.json").write_text(json.dumps(tree))
    found = saved_config.read(tmp_path)
    assert (found.seed, found.data.seed) == (3, 3)


def test_command_of_an_older_run_continues_it(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    tree = older_config("0") | {"seed": 3}
    del tree["data"]["seed"]
    (tmp_path / "config.json").write_text(json.dumps(tree))
    config = default.get_config()
    config.seed = 3
    for _ in range(2):  # also once config.json is of this version
        adopted = saved_config.adopt_added(tmp_path, config)
        assert (adopted.seed, adopted.data.seed, config.data.seed) == (3, 3, 0)
        assert caplog.messages.pop() == "data.seed=3, as in the run that began here"
        assert workdir.status(tmp_path, adopted.to_dict()) is workdir.Status.RESUME
        saved_config.write(tmp_path, adopted)
    # A value that is given is not replaced.
    config.data.seed = 5
    assert saved_config.adopt_added(tmp_path, config).data.seed == 5
    assert saved_config.adopt_added(tmp_path / "new", config) == config


def test_header_bytes_of_an_older_run_are_the_standard_ones(tmp_path):
    tree = older_config("0")
    del tree["data"]["header_bytes"]
    (tmp_path / "config.json").write_text(json.dumps(tree))
    assert saved_config.read(tmp_path).data.header_bytes == (189, 193)
    config = default.get_config()
    for header_bytes in ((189, 193), (9, 21)):  # they change no weights
        config.data.header_bytes = header_bytes
        found = saved_config.adopt_added(tmp_path, config)
        assert found.data.header_bytes == header_bytes
        assert workdir.status(tmp_path, found.to_dict()) is workdir.Status.RESUME


def test_written_config_is_read_again(tmp_path):
    saved_config.write(tmp_path, default.get_config())
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["schema"] == saved_config.SCHEMA
    found = saved_config.read(tmp_path).to_dict()
    assert settings.flatten(found) == settings.defaults()


@pytest.mark.parametrize("version", [saved_config.SCHEMA + 1, "1", None, -1, True])
def test_config_of_a_newer_version_is_refused(tmp_path, version):
    tree = {"schema": version} | default.get_config().to_dict()
    files.write_json(tmp_path / "config.json", tree)
    with pytest.raises(InputError) as caught:
        saved_config.read(tmp_path)
    assert f"{tmp_path}/config.json has version {version!r}; expected" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "{}", '{"seed": 0}', '{"eval": 3}']
)
def test_damaged_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json: damaged"):
        saved_config.read(tmp_path)


def test_missing_config_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.json: cannot read"):
        saved_config.read(tmp_path)
