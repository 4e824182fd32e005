"""Training by several processes, and what ends them: signals, kills, mistakes of one of them."""

import functools
import os
import random
import re
import shutil
import signal
import socket
import time

import forked
import jax
import numpy as np
import pytest
from run_outcome import epochs_of, outcome, read_checkpoint
from test_survival import OPTIONS, kill_in_save
from tile_files import flip_a_bit, write_tiles

from saltjax import epoch
from saltjax.runs import checkpoint
from saltjax.system import hosts

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def options(tiles, workdir):
    """Returns the options of both processes: a save after every step."""
    return (
        *OPTIONS,
        "--config.checkpoint.every_minutes=0",
        f"--config.data.dir={tiles}",
        f"--workdir={workdir}",
    )


def start(tiles, workdir, *more, prepare=(None, None), own=((), ())):
    """Starts two processes; `prepare` and `own` options are those of each."""
    port = free_port()
    return [
        forked.start(
            *options(tiles, workdir),
            f"--distributed=localhost:{port},2,{rank}",
            *more,
            *own[rank],
            stdout=log_of(workdir, rank),
            prepare=prepare[rank],
        )
        for rank in range(2)
    ]


def finish(children):
    """Returns the exit statuses of processes of `start`."""
    return [forked.finish(child) for child in children]


def run(*args, **settings):
    return finish(start(*args, **settings))


def log_of(workdir, rank):
    return workdir.with_suffix(f".{rank}.log")


def printed(workdir, rank):
    return log_of(workdir, rank).read_text()


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Sixty tiles: 42 for training, six steps an epoch."""
    return write_tiles(tmp_path_factory.mktemp("data") / "tiles", 60)


def keep_states(folder):
    """Makes this process write the state after each epoch to a file."""
    folder.mkdir()
    run_epoch = epoch.run_epoch

    def run_and_keep(*args):
        state, progress = run_epoch(*args)
        leaves = map(np.asarray, jax.tree.leaves(jax.device_get(state)))
        np.savez(folder / f"{progress.epochs}.npz", *leaves)
        return state, progress

    epoch.run_epoch = run_and_keep


@pytest.fixture(scope="module")
def whole(tiles, tmp_path_factory):
    """A run of two processes without any fault, and beside it the states of each."""
    folder = tmp_path_factory.mktemp("runs")
    prepare = [functools.partial(keep_states, folder / str(rank)) for rank in range(2)]
    assert run(tiles, folder / "whole", prepare=prepare) == [0, 0]
    return folder / "whole"


def test_two_processes_have_the_same_bits_after_each_epoch(whole):
    for number in range(1, 4):
        states = [
            np.load(whole.with_name(str(rank)) / f"{number}.npz") for rank in range(2)
        ]
        assert len(states[0].files) > 20
        for name in states[0].files:
            assert states[0][name].tobytes() == states[1][name].tobytes()


def test_two_processes_of_two_devices_equal_one_of_four(tiles, whole, tmp_path):
    four = "--config.train.cpu_devices=4"
    child = forked.start(
        *options(tiles, tmp_path / "one"), four, stdout=tmp_path / "log"
    )
    assert forked.finish(child) == 0
    (found, rows, _), (expected, expected_rows, _) = map(
        outcome, (whole, tmp_path / "one")
    )
    for row, other in zip(rows, expected_rows, strict=True):
        for key in ("train_loss", "val_loss", "val_accuracy"):
            assert float(row[key]) == pytest.approx(float(other[key]), abs=1e-4)
    assert found["test"]["loss"] == pytest.approx(expected["test"]["loss"], abs=1e-4)


def test_process_0_alone_prints_and_names_the_number_of_processes(whole):
    assert "Device     4 × cpu, of 2 processes\n" in printed(whole, 0)
    assert "epoch   3/3" in printed(whole, 0)
    lines = [x for x in printed(whole, 1).splitlines() if not x.startswith("[Gloo]")]
    (line,) = lines
    assert re.fullmatch(r"Waiting for 2 processes .* at localhost:\d+; .*300 s", line)


def short_heartbeat():
    hosts.HEARTBEAT_SECONDS = 5


def kill(name, call):
    short_heartbeat()
    kill_in_save(name, call)


def kill_in_step(number):
    short_heartbeat()
    forked.send_signal(signal.SIGKILL, number)


def test_after_a_kill_of_either_the_other_ends_and_both_resume(tiles, whole, tmp_path):
    workdir = tmp_path / "killed"
    for rank, fault in (
        (1, functools.partial(kill_in_step, 1)),
        (0, functools.partial(kill, "rename", 5)),  # within a save
        (0, functools.partial(kill_in_step, 8)),  # of the second epoch
    ):
        prepare = [short_heartbeat, short_heartbeat]
        prepare[rank] = fault
        statuses = run(tiles, workdir, prepare=prepare)
        assert statuses[rank] == -signal.SIGKILL
        assert statuses[1 - rank] not in (0, 2)
    assert run(tiles, workdir) == [0, 0]
    assert outcome(workdir) == outcome(whole)


def test_a_signal_to_one_ends_both_after_a_save(tiles, tmp_path):
    workdir, never = tmp_path / "stopped", "--config.checkpoint.every_minutes=1000"
    prepare = (None, functools.partial(forked.send_signal, signal.SIGTERM, 2))
    assert run(tiles, workdir, never, prepare=prepare) == [143, 143]
    assert "Stopped by SIGTERM; the same command resumes" in printed(workdir, 0)
    assert "Traceback" not in printed(workdir, 0) + printed(workdir, 1)
    meta = read_checkpoint(workdir / "checkpoints/last")["meta"]["meta"]
    assert len(meta["history"]) > 0 or meta["step"] > 0


def stop_in_a_slow_save():
    """Makes this process get a signal in its ninth step, and a save take a second."""
    forked.send_signal(signal.SIGTERM, 9)
    save = checkpoint.save

    def save_slowly(*args):
        time.sleep(1)
        save(*args)

    checkpoint.save = save_slowly


def test_a_signal_to_all_ends_them_after_one_save(tiles, tmp_path):
    """As SLURM sends it. What the others hand on must not interrupt the save."""
    workdir, never = tmp_path / "stopped", "--config.checkpoint.every_minutes=1000"
    both = [stop_in_a_slow_save] * 2
    assert run(tiles, workdir, never, prepare=both) == [143, 143]
    meta = read_checkpoint(workdir / "checkpoints/last")["meta"]["meta"]
    assert (len(meta["history"]), meta["step"]) == (1, 3)


def refuse_to_report():
    """Makes this process fail after the final test, which is left out."""
    from saltjax import final_test
    from saltjax.reporting import run_report
    from saltjax.system.errors import InputError

    final_test.run = lambda *_: None

    def refuse(*_, running):
        if not running:
            raise InputError("no room for the report")

    run_report.refresh = refuse


def test_a_damaged_checkpoint_is_set_aside_for_all(tiles, whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    (workdir / "result.json").unlink()
    largest = max((workdir / "checkpoints/last").rglob("*"), key=os.path.getsize)
    flip_a_bit(largest, random.Random(0))
    assert run(tiles, workdir) == [0, 0]
    assert "is damaged" in printed(workdir, 0)
    assert outcome(workdir) == outcome(whole)


def test_another_config_in_one_process_ends_both(tiles, tmp_path):
    own = ((), ("--config.seed=7",))
    assert run(tiles, tmp_path / "run", own=own) == [2, 2]
    assert "seed: 0 in process 0, 7 in process 1" in printed(tmp_path / "run", 0)
    assert not (tmp_path / "run").exists()


def test_another_count_in_one_process_ends_both(tiles, tmp_path):
    workdir, port = tmp_path / "run", free_port()
    children = [
        forked.start(
            *options(tiles, workdir),
            f"--distributed=localhost:{port},{count},{rank}",
            stdout=log_of(workdir, rank),
        )
        for rank, count in ((0, 2), (1, 3))
    ]
    assert finish(children) == [2, 2]
    assert "3 processes, but process 0 was started for 2" in printed(workdir, 0)


def other_tiles(monkeyed):
    """Makes this process read other tiles from the same path."""
    from saltjax.data import folder

    read = folder.read_folder
    folder.read_folder = lambda path, **options: read(monkeyed, **options)


def test_other_data_in_one_process_end_both(tiles, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiles, copy)
    masks = sorted((copy / "masks").iterdir())
    shutil.copy(masks[0], masks[1])
    prepare = (None, functools.partial(other_tiles, str(copy)))
    assert run(tiles, tmp_path / "run", prepare=prepare) == [2, 2]
    text = printed(tmp_path / "run", 0)
    assert "the processes have different data" in text
    assert "content_sha256" in text


@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_of_one_process_ends_both(tiles, tmp_path, rank):
    """A flag that only one of them has, and data that only one of them lacks."""
    own = [(), ()]
    own[rank] = ("--config.model.depth=3",)
    assert run(tiles, tmp_path / "run", own=own) == [2, 2]
    assert "model.depth" in printed(tmp_path / "run", 0)
    prepare = [None, None]
    prepare[rank] = functools.partial(other_tiles, str(tmp_path / "none"))
    assert run(tiles, tmp_path / "run2", prepare=prepare) == [2, 2]
    text = printed(tmp_path / "run2", 0)
    assert "none" in text
    assert ("process 1 of 2: Error: " in text) == (rank == 1)
    assert "Traceback" not in text + printed(tmp_path / "run2", 1)


def as_slurm(port, rank):
    """Gives this process the variables of a step of two tasks; the first fails after its test."""
    if rank == 0:
        refuse_to_report()
    os.environ |= {
        "SLURM_JOB_ID": str(port),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
    }


def test_slurm_says_how_many_there_are_and_a_mistake_after_the_test_ends_both(
    tiles, whole, tmp_path
):
    port, workdir = free_port(), tmp_path / "run"
    children = [
        forked.start(
            *options(tiles, workdir),
            "--distributed=auto",
            "--config.train.epochs=1",
            stdout=log_of(workdir, rank),
            prepare=functools.partial(as_slurm, port, rank),
        )
        for rank in range(2)
    ]
    assert finish(children) == [2, 2]
    assert "Waiting for 2 processes" in printed(workdir, 0)
    assert "Error: no room for the report" in printed(workdir, 0)
    (row,), (expected, *_) = (epochs_of(path) for path in (workdir, whole))
    assert row == expected
