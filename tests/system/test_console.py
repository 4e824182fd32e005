import errno
import io
import logging
import os
import subprocess
import sys

import pytest
import rich.console
from program import ROOT

from saltjax.system import console
from saltjax.system.errors import OutputError


@pytest.fixture(autouse=True)
def library(monkeypatch, caplog):
    """Before `console.show`, whatever ran before in this process; log records are caught."""
    monkeypatch.setattr(console, "shown", False)
    caplog.set_level(logging.INFO, "saltjax")


@pytest.fixture
def clock(monkeypatch):
    """Sets the times, in seconds, that the clock shows."""

    def set_times(*seconds):
        times = iter(seconds)
        monkeypatch.setattr(console.time, "monotonic", lambda: next(times))

    return set_times


@pytest.fixture
def terminal(monkeypatch):
    """What a terminal receives that takes the place of standard output."""
    file = io.StringIO()
    out = rich.console.Console(
        file=file, force_terminal=True, width=100, _environ={"TERM": "xterm"}
    )
    monkeypatch.setattr(console, "out", out)
    return file


def test_a_file_gets_a_line_of_progress_every_30_seconds(clock, capsys, caplog):
    console.show()
    clock(0, 10, 31, 40, 62)
    with console.Bar("Epoch 1", 100, "images") as bar:
        for done in (10, 21, 9, 22):
            bar.advance(done, "loss 0.5")
    lines = capsys.readouterr().out.splitlines()
    # At 31 s 31 of 100 are done, one a second: 69 s are left. At 62 s it is 38 s.
    assert lines == [
        "Epoch 1 31/100 images    1.0/s loss 0.5 69 s left",
        "Epoch 1 62/100 images    1.0/s loss 0.5 38 s left",
    ]
    assert not caplog.records


def test_short_progress_prints_no_line(capsys):
    console.show()
    with console.Bar("Checking", 2, "tiles") as bar:
        bar.advance(2)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_that_is_erased_at_the_end(terminal):
    console.show()
    with console.Bar("Epoch 1", 4, "images") as bar:
        bar.advance(3, "loss 0.5")
    assert "3/4 images" in terminal.getvalue()
    assert "loss 0.5" in terminal.getvalue()
    # The cursor returns to the line of the bar, and the line is erased.
    assert terminal.getvalue().endswith("\x1b[2K")


def test_a_bar_shows_names_as_they_are(terminal):
    console.show()
    with console.Bar(":cat: [bold]", 4, "images") as bar:
        bar.advance(3, "[red]:smile:")
    assert ":cat: [bold]" in terminal.getvalue()
    assert "[red]:smile:" in terminal.getvalue()


def test_command_line_prints_lines_and_logs_nothing(capsys, caplog):
    console.show()
    line = "Test       loss 0.5 [/bold] :smile: 101×101 " + "x" * 200
    console.say(line)
    console.say("damaged", logging.WARNING)
    console.say()
    assert capsys.readouterr().out == f"{line}\ndamaged\n\n"
    assert not caplog.records


def test_library_logs_lines_and_prints_nothing(capfd, caplog):
    console.say("loss 0.5")
    console.say("100 %s", logging.WARNING)
    assert caplog.record_tuples == [
        ("saltjax", logging.INFO, "loss 0.5"),
        ("saltjax", logging.WARNING, "100 %s"),
    ]
    assert capfd.readouterr().out == ""


def test_library_shows_no_progress(terminal, clock, capfd, caplog, monkeypatch):
    for out in (console.out, rich.console.Console()):
        monkeypatch.setattr(console, "out", out)
        clock(0, 31, 62)
        with console.Bar("Epoch 1", 4, "images") as bar:
            bar.advance(2)
            bar.advance(2)
    assert terminal.getvalue() == ""
    assert capfd.readouterr().out == ""
    assert not caplog.records


def test_output_that_cannot_be_written_is_an_error(monkeypatch):
    class FullDisk(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    console.show()
    monkeypatch.setattr(sys, "stdout", FullDisk())
    with pytest.raises(OutputError, match=r"cannot write to standard output: .*space"):
        console.say("loss 0.5")


WORK = """
from saltjax.system import console
console.show()
with console.Bar("Epoch", 3, "images") as bar:
    for line in range(3):
        input()
        console.say(f"line {line}")
        bar.advance(1)
open("done", "w").close()
"""


def test_a_closed_pipe_ends_the_output_and_not_the_work(tmp_path):
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", WORK],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    process.stdin.write("\n\n")
    process.stdin.close()
    with process.stderr:
        errors = process.stderr.read()
    assert process.wait(60) == 0
    assert (tmp_path / "done").exists()
    assert errors == (
        "Standard output was closed; the program goes on and prints no more.\n"
    )


def test_a_lost_terminal_ends_the_output_and_not_the_work(tmp_path):
    """As after `disown`: the terminal is closed, and no signal arrives."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", WORK],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.close(theirs)
    process.stdin.write("\n")
    process.stdin.flush()
    printed = b""
    while b"line 0" not in printed:
        printed += os.read(ours, 1000)
    os.close(ours)
    process.stdin.write("\n\n")
    process.stdin.close()
    with process.stderr:
        errors = process.stderr.read()
    assert process.wait(60) == 0, errors
    assert (tmp_path / "done").exists()
    assert errors == (
        "Standard output was closed; the program goes on and prints no more.\n"
    )


def test_what_is_said_can_be_heard(caplog):
    console.say("before")
    with console.heard() as outer:
        with console.heard() as inner:
            console.say("one")
        console.say("two")
    console.say("after")
    assert (outer, inner) == (["one", "two"], ["one"])
    assert caplog.messages == ["before", "one", "two", "after"]
