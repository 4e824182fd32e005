"""Volumes segmented by the workers of a Dask scheduler."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import other_networks
import pytest
import segy_writer
import zarr_files
from cluster_runs import SHAPE, run
from prediction import random_traces

import saltjax
from saltjax.seismic import zarr_store
from saltjax.system import locks
from saltjax.system.errors import InputError


def read(path, name="probability"):
    found = zarr_store.Array(path / name)
    return found.read(*found.store.shape)


@pytest.mark.parametrize("direction", ["inline", "both"])
def test_zarr_is_as_in_one_process(plain, tmp_path, scheduler, direction):
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    for address, out in ((scheduler, "many"), (None, "one")):
        run(plain, path, tmp_path / out, address, direction=direction, bodies=True)
    for name in ("prob.zarr/probability", "mask.zarr/mask", "bodies.zarr/bodies"):
        many, one = (read(tmp_path / f"{out}/in_{name}", "") for out in ("many", "one"))
        np.testing.assert_array_equal(many, one)
    for name in ("in_bodies.csv", "in_top_salt.txt", "in_base_salt.txt"):
        many, one = ((tmp_path / out / name).read_text() for out in ("many", "one"))
        assert many == one


def test_npy_becomes_zarr_and_segy_becomes_segy(plain, tmp_path, scheduler):
    values = random_traces(*SHAPE)
    values[4, 4] = 0
    np.save(tmp_path / "a.npy", values)
    inline, crossline = (n.ravel() for n in np.indices(SHAPE[:2]))
    there = np.arange(63) != 24  # a trace is missing
    segy_writer.write(
        tmp_path / "b.sgy",
        values.reshape(-1, 40)[there],
        5,
        inline=inline[there],
        crossline=crossline[there] + 100,
    )
    run(plain, tmp_path / "a.npy", tmp_path / "out", scheduler)
    expected = saltjax.load(plain).predict(values)
    prob = read(tmp_path / "out/a_prob.zarr")
    np.testing.assert_allclose(prob, expected, atol=1e-6)
    run(plain, tmp_path / "b.sgy", tmp_path / "out", scheduler)
    run(plain, tmp_path / "b.sgy", tmp_path / "one", None)
    for name in ("b_prob.sgy", "b_mask.sgy"):
        many, one = (
            segy_writer.read_parts(tmp_path / out / name, 40, 5)
            for out in ("out", "one")
        )
        assert many[0] == one[0]
        np.testing.assert_array_equal(many[1], one[1])
        np.testing.assert_allclose(many[2], one[2], atol=1e-6)
    hidden = {p.name for p in (tmp_path / "out").iterdir() if p.name[0] == "."}
    assert hidden == {".saltjax-files.jsonl"}


def test_zgy_becomes_zgy(plain, tmp_path, scheduler):
    pytest.importorskip("openzgy")
    import zgy_files

    path = zgy_files.write(tmp_path / "a.zgy", random_traces(*SHAPE))
    for address, out in ((scheduler, "many"), (None, "one")):
        run(plain, path, tmp_path / out, address)
    for name in ("a_prob.zgy", "a_mask.zgy"):
        (many, header), (one, expected) = (
            zgy_files.read(tmp_path / out / name) for out in ("many", "one")
        )
        np.testing.assert_allclose(many, one, atol=1e-6)
        assert header == expected
    assert not list((tmp_path / "many").glob("*.zarr"))


def test_two_networks_are_averaged(plain, tmp_path, scheduler):
    deeper = other_networks.write_run(tmp_path / "run", {"features": (3, 5)})
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    for address, out in ((scheduler, "many"), (None, "one")):
        run([plain, deeper], path, tmp_path / out, address)
    many, one = (read(tmp_path / f"{out}/in_prob.zarr") for out in ("many", "one"))
    np.testing.assert_array_equal(many, one)
    assert not np.allclose(many, saltjax.load(plain).predict(random_traces(*SHAPE)))


def test_a_second_prediction_into_the_directory_is_refused(plain, tmp_path, scheduler):
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    out = tmp_path / "out"
    with (
        locks.lock(out, "--output"),
        pytest.raises(InputError, match="another process is writing there"),
    ):
        run(plain, path, out, scheduler)


def test_some_crosslines(plain, tmp_path, scheduler):
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(*SHAPE))
    flags = {"lines": "501:507:3", "direction": "crossline"}
    for address, out in ((scheduler, "many"), (None, "one")):
        run(plain, path, tmp_path / out, address, **flags)
    many, one = (read(tmp_path / f"{out}/in_prob.zarr") for out in ("many", "one"))
    assert many.shape == (7, 3, 40)
    np.testing.assert_array_equal(many, one)


def start(log, *arguments):
    """Starts the program as a process group of its own, whose output goes into a file."""
    root = pathlib.Path(saltjax.__file__).parents[1]
    command = [sys.executable, str(root / "launch.py"), "--mode=predict", *arguments]
    with log.open("w") as file:
        return subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


def children(pid):
    """Returns the processes that a process has started, and that these have."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *children(int(child))]
    return found


def runs(pid):
    """Returns whether a process runs; one that has ended and that nobody waited for does not."""
    status = pathlib.Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def wait_until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it took longer than a minute")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_killed_workers_and_a_killed_program(plain, tmp_path):
    """SIGKILL of a worker costs nothing; after that of the program the same command does what is missing."""
    path = zarr_files.write_volume(tmp_path / "in.zarr", random_traces(32, 64, 64))
    flags = (f"--workdir={plain}", f"--input={path}")
    many, log = (*flags, f"--output={tmp_path}/many", "--scheduler=local:2"), tmp_path
    chunks = tmp_path / "many/in_prob.zarr/probability/c"

    def written():
        found = sorted(chunks.glob("*/0/0"))
        return {p.parent.parent.name: p.stat().st_mtime_ns for p in found}

    first = start(log / "first", *many)
    wait_until(lambda: len(written()) > 2)
    killed = next(
        pid
        for pid in children(first.pid)
        if b"spawn_main" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    os.kill(killed, signal.SIGKILL)
    count = len(written())
    wait_until(lambda: len(written()) > count + 4)
    processes = children(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    for pid in processes:  # workers end with the program
        wait_until(lambda pid=pid: not runs(pid))
    before = written()
    assert 6 < len(before) < 32
    second = start(log / "second", *many)
    assert second.wait() == 0, (log / "second").read_text()
    after = written()
    assert len(after) == 32
    assert {name: after[name] for name in before} == before
    run(plain, path, tmp_path / "one", None)
    both = (read(tmp_path / f"{out}/in_prob.zarr") for out in ("many", "one"))
    np.testing.assert_allclose(*both, atol=1e-6)
