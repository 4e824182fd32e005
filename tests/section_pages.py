"""Predictions with their pages, made without a network, for tests."""

import dataclasses

import numpy as np
import segy_writer

from saltjax.reporting import image_sections, section_report, trace_sections
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic import segy
from saltjax.seismic.amplitudes import Range
from saltjax.seismic.salt_body import COLUMNS, SaltBody

CHOSEN = Postprocessing(0.37, 6)
INLINES, CROSSLINES, SAMPLES = range(100, 114, 2), range(31, 40), 17
LIMITS = Range(-100.0, 100.0)
# Inline and crossline of traces that are missing, and of one that is all zero.
MISSING = ((100, 31), (104, 35), (104, 36), (112, 39))
DEAD = (108, 33)


def smooth(*shape):
    """Returns a random field in [0, 1] whose neighbours are alike."""
    field = np.random.default_rng(5).random(shape)
    for axis in range(field.ndim):
        field = (field + np.roll(field, 1, axis)) / 2
    field -= field.min()
    return field / field.max()


def prepare_header(path, interval=4000, delay=8, revision=1, text=b""):
    """Gives a SEG-Y file of `segy_writer`, whose headers are random, those of a vertical axis."""
    content = bytearray(path.read_bytes())
    samples = int.from_bytes(content[3220:3222], "big")
    content[:3200] = text.ljust(3200, b" ")
    content[3216:3218] = interval.to_bytes(2, "big")
    content[3254:3256] = b"\0\2"
    content[3500:3502] = bytes([revision, 0])
    for first in range(3600, len(content), 240 + 4 * samples):
        content[first + 108 : first + 110] = delay.to_bytes(2, "big", signed=True)
        content[first + 116 : first + 118] = interval.to_bytes(2, "big")
        content[first + 214 : first + 216] = b"\0\0"
    path.write_bytes(bytes(content))


def volume(folder):
    """Writes a volume with missing traces and its probabilities; returns both files, opened, and arrays.

    The arrays float32[inline, crossline, sample] are amplitudes, from -120 to 120, and probabilities,
    NaN where a trace is missing; dead ones are zero in both.
    """
    shape = len(INLINES), len(CROSSLINES), SAMPLES
    amplitudes = np.float32(240 * smooth(*shape) - 120)
    prob = np.float32(smooth(*shape)[::-1])
    dead = INLINES.index(DEAD[0]), CROSSLINES.index(DEAD[1])
    amplitudes[dead] = prob[dead] = 0
    places = [(i, x) for i in INLINES for x in CROSSLINES if (i, x) not in MISSING]
    there = tuple(
        np.array([(INLINES.index(i), CROSSLINES.index(x)) for i, x in places]).T
    )
    numbers = np.array(places).T
    opened = []
    for name, array in (("amplitudes", amplitudes), ("prob", prob)):
        path = segy_writer.write(
            folder / f"{name}.sgy", array[there], 5, "big", *numbers
        )
        prepare_header(path)
        opened.append(segy.SegyTraces(path))
        missing = np.ones(shape[:2], bool)
        missing[there] = False
        array[missing] = np.nan
    return *opened, amplitudes, prob


def prediction(name="volume.sgy", chosen=CHOSEN, share=0.25):
    return section_report.Prediction(
        name=name,
        source=f"/data/{name}",
        networks=[("/runs/final", "JAX, float32, without mirror image")],
        command="saltjax --mode=predict --workdir=/runs/final",
        chosen=chosen,
        share=share,
        synthetic=False,
    )


def body(number, inline, crossline, sample):
    """Returns a salt body that is looked at there."""
    row = dict.fromkeys(COLUMNS, 7) | {"id": number, "z_unit": "ms", "area": ""}
    return SaltBody(row, 0, inline, crossline, sample)


def write_volume(folder, bodies=None):
    """Writes the page of a volume; returns its path and the probabilities, see `volume`."""
    source, probs, _, prob = volume(folder)
    contents = trace_sections.of_traces(source, probs, "inline", "clip", LIMITS)
    path = folder / "volume_report.html"
    count = len(bodies or ())
    shown = dataclasses.replace(prediction(), bodies=bodies, body_count=count)
    path.write_text(section_report.render(contents, shown), encoding="utf-8")
    return path, prob


def write_images(folder, names):
    """Writes the page of images of several sizes; returns its path and the probabilities uint16[H, W]."""
    from PIL import Image

    paths, probs = [], {}
    for i, name in enumerate(names):
        shape = 20 + i, 30 - i
        grey = np.random.default_rng(i).integers(0, 256, shape).astype(np.uint8)
        probs[name] = np.rint(65535 * smooth(*shape) ** (1 + i)).astype(np.uint16)
        (folder / "probs").mkdir(exist_ok=True)
        paths.append(folder / f"{name}.png")
        Image.fromarray(grey).save(paths[-1])
        Image.fromarray(probs[name]).save(folder / f"probs/{name}.png")
    contents = image_sections.of_files(paths, folder / "probs")
    path = folder / "report.html"
    page = section_report.render(contents, prediction(names[0] + ".png"))
    path.write_text(page, encoding="utf-8")
    return path, probs
