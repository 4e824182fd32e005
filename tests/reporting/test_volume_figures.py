import numpy as np
import pytest
import volume_files

from saltjax.data import volumes
from saltjax.reporting import volume_figures


def load(folder, labels=None, **changes):
    paths = volume_files.write_npy(folder, labels=labels)
    return volumes.load(volume_files.config(*paths, **changes))


@pytest.fixture
def said(caplog):
    """Returns a function that gives the text said so far."""
    caplog.set_level("INFO", "saltjax")
    return lambda: "\n".join(caplog.messages)


def test_facts_say_how_much_is_labelled(tmp_path, said):
    labels = volume_files.make()[1]
    labels[::3] = -1
    labels[1::3, :10] = -1
    volume_figures.show(load(tmp_path, labels))
    # 10 inlines of 10 crosslines and 10 of 20, without the dead crossline 3: 290 of 400 traces.
    for words in (
        "30 inlines, 20 crosslines, 24 samples (without an interval)",
        "20 of 30 inlines hold labels, for 72.5% of their samples; 20 of their 400",
        "Gap        2 inlines between two parts. Correlation of amplitudes: ",
        " of neighbouring inlines; across the gaps ",
        " validation–training, ",
    ):
        assert words in said()


def test_block_of_one_inline_is_no_range(tmp_path, said):
    labels = volume_files.make()[1]
    labels[1:10] = labels[20:] = -1
    volume_figures.show(load(tmp_path, labels))
    assert "Block      validation: inline 0, salt in" in said()


@pytest.mark.parametrize("direction", ["inline", "crossline"])
def test_lines_have_line_numbers(tmp_path, direction):
    volume, labels = volume_files.make()
    paths = [
        volume_files.write_segy(tmp_path / f"{name}.sgy", array, code)
        for name, array, code in (("volume", volume, 5), ("labels", labels, 3))
    ]
    data = volumes.load(volume_files.config(*paths, direction=direction))
    drawn = [axes for axes in volume_figures.lines(data).axes if axes.get_visible()]
    assert drawn[0].get_title().startswith(f"validation, {direction} ")
    # The inlines 100, 102 … of the block, or the crosslines 300, 301 …
    other, first, step = ("Crossline", 300, 1)
    if direction == "crossline":
        other, first, step = "Inline", data.facts["blocks"]["val"][0][0], 2
    assert drawn[-1].get_xlabel() == other
    left, right, bottom, top = drawn[0].images[0].get_extent()
    assert left == first - step / 2
    assert right - left == step * data.lines.size[1]
    start, step = (data.facts["axis"][key] for key in ("first", "step"))
    assert (bottom, top) == (start + 23.5 * step, start - step / 2)


def test_unlabelled_samples_are_violet_and_said(tmp_path):
    data = load(tmp_path)  # with dead traces
    figure = volume_figures.lines(data)
    assert figure.get_suptitle().endswith("violet: unlabelled or dead")
    tint = figure.axes[0].images[1].get_array()[0, 3]
    np.testing.assert_allclose(tint[:3] * 255, (204, 121, 167), atol=1)
