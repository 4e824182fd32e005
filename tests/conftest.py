"""Fixtures: four virtual devices, a small directory of tiles, the challenge's tiles, and a run."""

import collections
import os
import pathlib
import shutil
import signal
import tempfile

import program
import pytest
import quick
from tile_files import write_tiles

# Tests compile the same small programs again and again, here and in the processes they start.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="saltjax_test_cache_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
    _sections = tempfile.TemporaryDirectory(prefix="saltjax_test_sections_")
    os.environ[quick.SECTIONS] = _sections.name
    # XLA's default, 3, compiles longer by more than such small programs are faster for it.
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # as `commandline.silence_libraries` does

import jax

jax.config.update("jax_num_cpu_devices", 4)
save_figure = quick.prepare()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests go first, so that no worker begins one when the others end.

    Of as many slow ones, those with the most tests.
    """
    count = collections.Counter(item.path for item in items)
    slow = collections.Counter(
        item.path for item in items if item.get_closest_marker("slow")
    )
    items.sort(key=lambda item: (-slow[item.path], -count[item.path]))


@pytest.fixture
def fine_figures(monkeypatch):
    """Figures are drawn as for users."""
    monkeypatch.setattr("saltjax.reporting.figures.save", save_figure)


@pytest.fixture
def tile_folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory of 30 tiles, see `write_tiles`."""
    return write_tiles(tmp_path / "tiles", 30)


@pytest.fixture
def hangup():
    """SIGHUP has its default effect here and in processes that are started, also under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session")
def tgs() -> str:
    """The challenge's tiles: the directory with `images` and `masks` that SALTJAX_TGS names."""
    folder = os.environ.get("SALTJAX_TGS", "")
    if not folder:
        pytest.skip("SALTJAX_TGS names no directory of the challenge's tiles")
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A directory of runs with one in it, called `plain`, and what was printed meanwhile."""
    folder = tmp_path_factory.mktemp("runs")
    done = program.launch(
        "--config=configs/quickstart.py", f"--workdir={folder}/plain", *program.TINY
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="session")
def plain(runs):
    """The directory of the run called `plain`, which tests must not change."""
    return runs[0] / "plain"


@pytest.fixture
def run(plain, tmp_path):
    """A copy of the run `plain`."""
    return shutil.copytree(plain, tmp_path / "run")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A complete run of three epochs, which tests must not change."""
    from tiny import tiny_config

    from saltjax import train

    workdir = tmp_path_factory.mktemp("finished")
    train.train(tiny_config(), workdir, overwrite=False)
    return workdir


@pytest.fixture(scope="module")
def scheduler():
    """Returns the address of a scheduler with two workers, threads of this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address="127.0.0.1:0",
    ) as found:
        assert len(found.workers) == 2
        yield found.scheduler_address
