import io

import pytest
import rich.console

from saltjax.system import console


@pytest.fixture
def output(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(console, "out", rich.console.Console(file=file, soft_wrap=True))
    return file


def test_a_file_gets_a_line_now_and_then(output, monkeypatch):
    clock = iter([0, 10, 31, 40, 62])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.Bar("Epoch 1", 100, "images") as bar:
        for done in (10, 21, 9, 22):
            bar.advance(done, "loss 0.5")
    lines = output.getvalue().splitlines()
    # At 31 s 31 of 100 are done, one a second: 69 s are left. At 62 s it is 38 s.
    assert lines == [
        "Epoch 1 31/100 images    1.0/s loss 0.5 69 s left",
        "Epoch 1 62/100 images    1.0/s loss 0.5 38 s left",
    ]


def test_a_quick_bar_leaves_no_line(output):
    with console.Bar("Checking", 2, "tiles") as bar:
        bar.advance(2)
    assert output.getvalue() == ""
