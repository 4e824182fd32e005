import errno
import logging
import os
import pathlib
import subprocess
import sys

import pytest

from saltjax.system import files, locks
from saltjax.system.errors import InputError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_lock_leaves_neither_its_file_nor_an_empty_directory(tmp_path):
    with (
        pytest.raises(ZeroDivisionError),
        locks.lock(tmp_path / "made/deep", "--output"),
    ):
        1 / 0  # noqa: B018
    assert not (tmp_path / "made/deep").exists()
    (tmp_path / "there").mkdir()
    with locks.lock(tmp_path / "there", "--output"):
        (tmp_path / "there/result").write_text("")
    assert names(tmp_path / "there") == ["result"]


HOLD = """
import pathlib, sys
from saltjax.system import locks
with locks.lock(pathlib.Path(sys.argv[1]), "--output"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder):
    """Starts a process that has locked the directory when this returns."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"held\n"
    return holder


def test_second_process_is_refused_and_the_lock_ends_with_the_first(tmp_path):
    holder = hold(tmp_path)
    message = f"--output={tmp_path}: another process is writing there"
    with pytest.raises(InputError, match=message), locks.lock(tmp_path, "--output"):
        pass
    holder.kill()
    holder.communicate()
    assert names(tmp_path) == [".lock"]
    with locks.lock(tmp_path, "--output"):
        pass
    assert names(tmp_path) == []


def test_process_that_opened_the_lock_file_before_it_was_deleted_gets_a_new_one(
    tmp_path, monkeypatch
):
    with locks.lock(tmp_path, "--output"):
        opened = os.open(tmp_path / ".lock", os.O_RDWR)
    open_file, files_to_open = os.open, [opened]

    def open_late(*args, **options):
        # The first time, as if the file had been opened while the other process held it.
        return files_to_open.pop() if files_to_open else open_file(*args, **options)

    monkeypatch.setattr(locks.os, "open", open_late)
    with locks.lock(tmp_path, "--output"):
        monkeypatch.undo()
        holder = subprocess.run(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            capture_output=True,
            check=False,
        )
    assert b"another process is writing there" in holder.stderr


def test_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with (
            pytest.raises(InputError, match="cannot write there"),
            locks.lock(path, "--output"),
        ):
            pass


def test_error_in_the_body_is_not_taken_for_the_lock(tmp_path):
    with pytest.raises(BlockingIOError), locks.lock(tmp_path, "--output"):
        raise BlockingIOError


@pytest.mark.parametrize(
    "code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL]
)
def test_file_system_without_locks_is_announced_and_used(
    tmp_path, monkeypatch, caplog, code
):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    # Of another process, which writes to it now: it cannot be told from one that was killed.
    (tmp_path / ".saltjax-0123456789ab.part").write_text("")
    with locks.lock(tmp_path, "--output"):
        files.write_text(tmp_path / "a", "text")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"cannot be locked ({os.strerror(code)})" in record.message
    assert names(tmp_path) == [".saltjax-0123456789ab.part", "a"]


def test_system_without_flock_is_announced_and_used(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks, "fcntl", None)
    with locks.lock(tmp_path / "new", "--output"):
        pass
    assert "not supported by this operating system" in caplog.text
    assert not (tmp_path / "new").exists()


def test_temporary_files_of_killed_processes_are_deleted(tmp_path):
    for folder in (tmp_path, tmp_path / "probs", tmp_path / "mine"):
        folder.mkdir(exist_ok=True)
        (folder / ".saltjax-0123456789ab.part").write_text("")
        (folder / ".mine.part").write_text("")
    with locks.lock(pathlib.Path(tmp_path), "--output"):
        pass
    assert names(tmp_path) == [".mine.part", "mine", "probs"]
    assert names(tmp_path / "probs") == [".mine.part"]
    assert names(tmp_path / "mine") == [".mine.part", ".saltjax-0123456789ab.part"]


def test_temporary_files_of_a_process_in_a_directory_below_are_kept(tmp_path):
    part = tmp_path / "masks/.saltjax-0123456789ab.part"
    with locks.lock(part.parent, "--output"):
        part.write_text("of a process that goes on")
        with locks.lock(tmp_path, "--output"):
            pass
        assert part.exists()
    part.parent.mkdir(exist_ok=True)
    with locks.lock(tmp_path, "--output"):
        pass
    assert not part.exists()
