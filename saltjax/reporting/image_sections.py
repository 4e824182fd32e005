"""What the page of a prediction shows of images."""

import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax.data import image_file
from saltjax.reporting.sections import Contents, Section, choose
from saltjax.scoring.postprocess import to_sixteen_bits
from saltjax.seismic.sample_axis import SampleAxis
from saltjax.system.errors import InputError, reading

# Of red, green and blue in the brightness of a pixel (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def of_files(images: Sequence[pathlib.Path], probs: pathlib.Path) -> Contents:
    """Returns what the page shows of images.

    Args:
      images: their files, checked before.
      probs: the directory with the probabilities that were written, <id>.png.

    Raises:
      InputError: if a file cannot be read.
    """
    with reading(images[0].parent):
        heights, widths = zip(*map(image_file.read_size, images))
    kept, steps = choose(
        False, len(images), float(np.mean(widths)), round(np.mean(heights))
    )
    sections = []
    for path in (images[i] for i in kept):
        try:
            image = image_file.read_image(path)
            prob = image_file.read_sixteen_bits(probs / f"{path.stem}.png")
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        sections.append(_section(path.stem, image, prob, steps))
    return _contents(sections, steps, len(images))


def of_array(image: np.ndarray, prob: np.ndarray) -> Contents:
    """Returns what the page shows of an image uint8[H, W, 3] and its probabilities float32[H, W]."""
    _, steps = choose(False, 1, image.shape[1], image.shape[0])
    return _contents([_section("", image, to_sixteen_bits(prob), steps)], steps, 1)


def _section(
    name: str, image: np.ndarray, prob: np.ndarray, steps: tuple[int, int]
) -> Section:
    across, down = steps
    shown = image[::down, ::across]
    # Colours become grey; equal channels remain as they are.
    grey = np.rint(shown @ np.array(LUMA)).astype(np.uint8)
    width = grey.shape[1]
    columns = across * np.arange(width)
    return Section(name, grey, prob[::down, ::across], np.ones(width, bool), columns)


def _contents(sections: list[Section], steps: tuple[int, int], total: int) -> Contents:
    rows = SampleAxis("pixel", 0.0, float(steps[1]))
    of_sections = total / len(sections)
    return Contents("images", sections, "", "pixel", rows, (of_sections, *steps), total)
