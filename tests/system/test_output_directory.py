import errno
import json
import logging
import os
import shutil
import subprocess
import sys

import pytest

from saltjax.system import files, output_directory
from saltjax.system.errors import InputError


def write(folder, source, *names, content="result"):
    """Writes files as the results of an input."""
    with output_directory.claim(folder, "--output", source) as claimed:
        claimed.check([folder / name for name in names])
        for name in names:
            files.write_text(folder / name, content, claimed.write)


def test_results_are_replaced_by_those_of_the_same_command(tmp_path):
    write(tmp_path / "out", "in.npy", "a", "probs/b")
    write(tmp_path / "out", "in.npy", "a", "probs/b", "c", content="new")
    for name in ("a", "probs/b", "c"):
        assert (tmp_path / "out" / name).read_text() == "new"
    lines = (tmp_path / "out" / output_directory.RECORD).read_text().splitlines()
    write(tmp_path / "out", "in.npy")
    assert (
        len((tmp_path / "out" / output_directory.RECORD).read_text().splitlines()) == 3
    )
    assert len(lines) == 5


def redraw(path):
    """Changes a byte; the file keeps its size."""
    path.write_text("resulT")


def redraw_later(path):
    """Changes nothing but the time, as an editor that saves the same content."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000))


def put_a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [redraw, redraw_later, put_a_link])
def test_result_that_was_changed_since_is_not_replaced(tmp_path, change):
    write(tmp_path, "in.npy", "a", "b")
    change(tmp_path / "a")
    before = (tmp_path / "a").lstat()
    with pytest.raises(InputError, match=rf"--output={tmp_path}: {tmp_path}/a: not wr"):
        write(tmp_path, "in.npy", "b", "a", content="new")
    assert (tmp_path / "a").lstat() == before
    assert (tmp_path / "b").read_text() == "result"


def write_during(folder, event):
    """Writes the file a as a result, and lets something happen before it is complete."""
    with output_directory.claim(folder, "--output", "in.npy") as claimed:
        claimed.check([folder / "a"])
        with claimed.write(folder / "a") as part:
            part.write_text("new")
            event()


def test_file_that_appears_while_a_result_is_computed_is_not_replaced(tmp_path):
    with pytest.raises(InputError, match="a: not written by this program"):
        write_during(tmp_path, lambda: (tmp_path / "a").write_text("by hand"))
    assert (tmp_path / "a").read_text() == "by hand"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_failed_write_leaves_the_old_result_and_its_entry(tmp_path):
    write(tmp_path, "in.npy", "a")
    record = (tmp_path / output_directory.RECORD).read_text()

    def fill_the_disk():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match=f"cannot write {tmp_path}/a: No space left"):
        write_during(tmp_path, fill_the_disk)
    assert (tmp_path / "a").read_text() == "result"
    assert (tmp_path / output_directory.RECORD).read_text() == record
    assert {p.name for p in tmp_path.iterdir()} == {"a", output_directory.RECORD}
    write(tmp_path, "in.npy", "a", content="new")


def test_several_foreign_files_are_counted(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("by hand")
    with pytest.raises(InputError, match="/a and 2 more: not written"):
        write(tmp_path, "in.npy", "a", "b", "c")


def test_files_among_results_must_be_results(tmp_path):
    masks = tmp_path / "masks"
    write(tmp_path, "in", "masks/a.png")
    (masks / ".DS_Store").write_text("")
    with output_directory.claim(tmp_path, "--output", "in") as claimed:
        claimed.check([masks / "b.png"], folders=[masks, tmp_path / "missing"])
    (masks / "c.png").write_text("by hand")
    with (
        output_directory.claim(tmp_path, "--output", "in") as claimed,
        pytest.raises(InputError, match=r"masks/c\.png: not written"),
    ):
        claimed.check([masks / "b.png"], folders=[masks])


def test_input_is_not_replaced_even_if_saltjax_wrote_it(tmp_path):
    write(tmp_path, "in", "probs/a.png")
    link = tmp_path / "link"
    link.symlink_to("probs")
    with (
        output_directory.claim(tmp_path, "--output", "in") as claimed,
        pytest.raises(InputError, match=r"probs/a\.png is an input"),
    ):
        claimed.check([tmp_path / "probs/a.png"], inputs=[link / "a.png"])


def test_results_of_another_input_are_announced(tmp_path, caplog):
    caplog.set_level(logging.INFO, "saltjax")
    write(tmp_path / "out", tmp_path / "a/cube.sgy", "cube_prob.sgy", "cube_mask.sgy")
    write(tmp_path / "out", tmp_path / "a/line.sgy", "line_prob.sgy")
    (tmp_path / "out/cube_mask.sgy").unlink()
    caplog.clear()
    write(tmp_path / "out", tmp_path / "b/cube.sgy", "cube_prob.sgy")
    found = [record.message for record in caplog.records]
    start = f"{tmp_path}/out also holds 1 file(s) of results of {tmp_path}/a"
    assert found == [
        f"{start}/cube.sgy; 1 of them will be replaced",
        f"{start}/line.sgy",
    ]
    caplog.clear()
    write(tmp_path / "out", tmp_path / "b/cube.sgy", "cube_prob.sgy")
    assert [record.message for record in caplog.records] == [f"{start}/line.sgy"]


KILLED = """
import os, pathlib, signal, sys
from saltjax.system import files, output_directory
folder, moment = pathlib.Path(sys.argv[1]), sys.argv[2]
replace = pathlib.Path.replace
def kill(*args):
    if moment == "after":
        replace(*args)
    os.kill(os.getpid(), signal.SIGKILL)
with output_directory.claim(folder, "--output", "in.npy") as claimed:
    files.write_text(folder / "a", "first", claimed.write)
    pathlib.Path.replace = kill
    files.write_text(folder / "a", "second", claimed.write)
"""


@pytest.mark.parametrize(("moment", "left"), [("before", "first"), ("after", "second")])
def test_results_of_a_killed_process_are_replaced(tmp_path, moment, left):
    command = [sys.executable, "-c", KILLED, str(tmp_path), moment]
    assert subprocess.run(command, check=False).returncode == -9
    assert (tmp_path / "a").read_text() == left
    write(tmp_path, "in.npy", "a", content="third")
    assert (tmp_path / "a").read_text() == "third"
    assert {p.name for p in tmp_path.iterdir()} == {"a", output_directory.RECORD}


def test_directory_that_was_moved_keeps_its_record(tmp_path):
    write(tmp_path / "out", "in.npy", "a")
    (tmp_path / "out").rename(tmp_path / "moved")
    write(tmp_path / "moved", "in.npy", "a", content="new")
    # A copy has other times: its files may be anybody's.
    shutil.copytree(
        tmp_path / "moved", tmp_path / "copy", copy_function=shutil.copyfile
    )
    with pytest.raises(InputError, match="a: not written by this program"):
        write(tmp_path / "copy", "in.npy", "a")


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"file": 3}', '{"file": "a"}', "\x00", "\udcff"]
)
def test_lines_of_a_record_that_say_nothing_are_dropped(tmp_path, line):
    write(tmp_path, "in.npy", "b")
    (tmp_path / "a").write_text("by hand")
    with (tmp_path / output_directory.RECORD).open(
        "a", errors="surrogateescape"
    ) as file:
        file.write(line)  # without an end: a kill has cut it
    write(tmp_path, "in.npy", "b", content="new")
    write(tmp_path, "in.npy", "b", content="newer")
    with pytest.raises(InputError, match="a: not written by this program"):
        write(tmp_path, "in.npy", "a")


def test_record_holds_size_time_and_input_of_each_file(tmp_path):
    write(tmp_path, tmp_path / "in.npy", "probs/é\udcff")
    (line,) = (tmp_path / output_directory.RECORD).read_text().splitlines()
    status = (tmp_path / "probs/é\udcff").stat()
    assert json.loads(line) == {
        "file": "probs/é\udcff",
        "size": 6,
        "time": status.st_mtime_ns,
        "source": str(tmp_path / "in.npy"),
    }
