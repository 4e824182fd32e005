"""Schedulers and workers that are wrong, lost or of another version, and what a cluster does not take."""

import os
import re
import sys
import time

import numpy as np
import other_networks
import pytest
import segy_writer
import zarr_files
from cluster_runs import SHAPE, run
from prediction import random_traces

from saltjax.inference import cluster
from saltjax.runs import environment
from saltjax.system.errors import InputError


def test_a_worker_names_itself_and_a_damaged_chunk(
    plain, tmp_path, scheduler, monkeypatch
):
    monkeypatch.setattr("saltjax.seismic.amplitudes.MAX_SAMPLES", 80)  # two traces
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(80, 70, 40))
    # Of traces that the sample for the range is not of.
    chunk = path / "amplitude/c/1/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(
        InputError, match=r"worker tcp://.*: .*amplitude/c/1/0/0: a damaged"
    ):
        run(plain, path, tmp_path / "out", scheduler)


@pytest.mark.parametrize("name", ["line.npy", "line.sgy"])
def test_a_section_is_refused(plain, tmp_path, scheduler, name):
    values = random_traces(40, 20)
    if name.endswith("npy"):
        np.save(tmp_path / name, values)
    else:
        segy_writer.write(tmp_path / name, values.T, 5, crossline=np.arange(20))
    with pytest.raises(InputError, match="a cluster segments volumes"):
        run(plain, tmp_path / name, tmp_path / "out", scheduler)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("somewhere", "expected the address of a Dask scheduler"),
        ("local:0", "expected the address"),
        ("local:two", "expected the address"),
        ("tcp://127.0.0.1:1", "no scheduler answers there within 1 s"),
        ("nowhere.json", "no such file"),
    ],
)
def test_addresses_without_a_scheduler(plain, tmp_path, monkeypatch, address, message):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    with pytest.raises(InputError, match=f"--scheduler={address}.*{message}"):
        run(plain, path, tmp_path / "out", address)


@pytest.mark.slow
def test_more_processes_than_cores():
    count = len(os.sched_getaffinity(0)) + 1 if sys.platform == "linux" else 3
    with cluster.Cluster(f"local:{count}") as workers:
        found = workers._client.scheduler_info(n_workers=-1)["workers"]
        assert len(found) == count


def fail(item, **_):
    raise FileNotFoundError(2, "No such file", str(item))


def wait(seconds, **_):
    time.sleep(seconds)


def test_what_a_task_raises_is_raised(scheduler):
    with cluster.Cluster(scheduler) as workers:
        assert sorted(workers.map(str, [1, 2, 3])) == [1, 2, 3]
        with pytest.raises(FileNotFoundError, match=r"No such file.*7"):
            list(workers.map(fail, [7]))


def a_scheduler_of_one(monkeypatch):
    """Returns a scheduler with one worker, in processes of their own, without one that restarts it."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_LOOKS", 0.2)
    return distributed.LocalCluster(
        n_workers=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    )


def test_workers_that_are_all_gone(monkeypatch):
    with (
        a_scheduler_of_one(monkeypatch) as found,
        cluster.Cluster(found.scheduler_address) as workers,
    ):
        done = workers.map(wait, [0, 10])
        assert next(done) == 0
        found.scale(0)
        monkeypatch.setattr(cluster, "WORKER_SECONDS", 2)
        with pytest.raises(InputError, match="it has no worker"):
            next(done)


def test_a_scheduler_that_ends(monkeypatch, caplog):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 2)
    found = a_scheduler_of_one(monkeypatch)
    with cluster.Cluster(found.scheduler_address) as workers:
        done = workers.map(wait, [0, 10])
        assert next(done) == 0
        found.close()
        with pytest.raises(
            InputError, match="the connection to the scheduler was lost"
        ):
            next(done)
    assert not [r for r in caplog.records if r.name.startswith("distributed")]


@pytest.mark.parametrize("text", ["{}", "[]", "tcp://", '{"address": 1}'])
def test_a_file_that_is_of_no_scheduler(plain, tmp_path, text):
    file = tmp_path / "s.json"
    file.write_text(text)
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    with pytest.raises(InputError, match=f"{file.name}.*expected the file of `dask"):
        run(plain, path, tmp_path / "out", str(file))


def test_images_take_no_scheduler(plain, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="--scheduler=local:2 is of volumes"):
        run(plain, tmp_path / "a.png", tmp_path / "out", "local:2")


def test_a_scheduler_without_workers(plain, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(cluster, "WORKER_SECONDS", 1)
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    with (
        distributed.SpecCluster(
            {},
            {
                "cls": distributed.Scheduler,
                "options": {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"},
            },
        ) as empty,
        pytest.raises(InputError, match="it has no worker; start some with `dask"),
    ):
        run(plain, path, tmp_path / "out", empty.scheduler_address)


def test_workers_with_another_version(plain, tmp_path, scheduler, monkeypatch):
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    monkeypatch.setattr(cluster, "VERSION", "'0.1.0'")
    expected = f"has saltjax 0.1.0; expected {re.escape(environment.version())}"
    with pytest.raises(InputError, match=expected):
        run(plain, path, tmp_path / "out", scheduler)
    monkeypatch.setattr(cluster, "VERSION", "__import__('no_such_module')")
    with pytest.raises(InputError, match="has no saltjax"):
        run(plain, path, tmp_path / "out", scheduler)


def test_a_worker_that_sees_another_network(tmp_path, scheduler, monkeypatch):
    from saltjax.inference import survey_jobs

    network = other_networks.write_run(tmp_path / "run")
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    before = survey_jobs._network_job

    def other(*both):
        import dataclasses

        return dataclasses.replace(before(*both), sha256="0" * 64)

    monkeypatch.setattr(survey_jobs, "_network_job", other)
    with pytest.raises(InputError, match=r"worker tcp://.*: the weights differ"):
        run(network, path, tmp_path / "out", scheduler)
