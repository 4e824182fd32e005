import logging
import os

import network_files
import pytest

from saltjax.runs import trained
from saltjax.system.errors import InputError


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that is read only."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    network_files.write_run(folder)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, caplog):
    """The current directory, beside a package that holds a network called `tgs`."""
    caplog.set_level(logging.INFO, "saltjax")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "pretrained").mkdir()
    monkeypatch.setattr(trained, "PACKAGED", tmp_path / "pretrained")
    return tmp_path / "here"


@pytest.fixture
def packaged(here, run):
    path = here.parent / "pretrained/tgs.safetensors"
    path.write_bytes(network_files.encode(run))
    return path


def test_a_run_is_found_by_its_directory(here, run, caplog):
    found = trained.locate(run)
    assert (found.path, found.is_run) == (run, True)
    assert found.config.model.features == (2, 4)
    assert trained.read(found).result.test.f1 == 0.746
    assert trained.read_starts(found) == network_files.STARTS
    assert caplog.text == ""


def test_a_network_file_is_found_by_its_path(here, run, caplog):
    for name in ("a.safetensors", "b"):
        (here / name).write_bytes(network_files.encode(run))
        found = trained.locate(name)
        assert not found.is_run
        assert found.config.model.features == (2, 4)
        assert trained.read(found).result.test.f1 == 0.746
        assert "command" not in trained.read_starts(found)[0]
    assert caplog.text == ""


def test_a_home_directory_is_expanded(here, run, monkeypatch):
    monkeypatch.setenv("HOME", str(run.parent))
    assert trained.locate("~/run").path == run


def test_a_packaged_network_is_found_by_its_name(packaged, caplog):
    assert trained.locate("tgs").path == packaged
    assert "Network    tgs, of the package" in caplog.text


def test_a_directory_precedes_the_packaged_network(here, packaged, caplog):
    network_files.write_run(here / "tgs")
    found = trained.locate("tgs")
    assert found.path.absolute() == here / "tgs"
    assert "of the run in the directory tgs, not the packaged tgs" in caplog.text
    # By its path it is no name.
    caplog.clear()
    assert trained.locate(here / "tgs").is_run
    assert caplog.text == ""


def test_a_directory_without_a_run_does_not(here, packaged, caplog):
    (here / "tgs/images").mkdir(parents=True)
    assert trained.locate("tgs").path == packaged
    assert "tgs, of the package; the directory tgs holds no run" in caplog.text
    with pytest.raises(InputError, match=r"tgs/config.json: cannot read it"):
        trained.locate(here / "tgs")


def test_a_file_of_that_name_does_not(here, packaged):
    (here / "tgs").write_text("notes")
    assert trained.locate("tgs").path == packaged
    with pytest.raises(InputError, match="tgs is no safetensors file"):
        trained.locate(os.path.join(".", "..", "here", "tgs"))


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("name", ["tsg", "runs/a", "a.safetensors"])
def test_an_unknown_name_lists_the_packaged_networks(name):
    with pytest.raises(InputError, match=r"no such run .*packaged networks: tgs$"):
        trained.locate(name)


def test_without_packaged_networks_the_message_says_so(here):
    with pytest.raises(InputError, match="this installation has none"):
        trained.locate("tgs")


@pytest.mark.usefixtures("here")
def test_a_name_that_the_file_system_refuses_is_reported():
    with pytest.raises(InputError, match=r"cannot read xxx.*File name too long"):
        trained.locate("x" * 300)
