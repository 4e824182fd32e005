"""A volume of amplitudes and its labels, trace by trace, and where samples are labelled and salt."""

import dataclasses
import hashlib
import pathlib

import numpy as np
from ml_collections import ConfigDict

from saltjax.data import horizons, labels
from saltjax.data.labels import Labels, LabelVolume
from saltjax.data.tiles import UNLABELLED
from saltjax.seismic import amplitudes, grid
from saltjax.seismic.grid import Grid
from saltjax.system import console
from saltjax.system.errors import InputError

OPTION = "config.data.volume"
LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class LabelledVolume:
    """Amplitudes and labels of the same traces.

    Attributes:
      grid: the amplitudes.
      labels: the labels.
    """

    grid: Grid
    labels: Labels

    def amplitudes(self, inline: np.ndarray, crossline: np.ndarray) -> np.ndarray:
        """Returns amplitudes [n, samples] of traces at indices int[n].

        Raises:
          InputError: if they cannot be read, or samples of a live trace are not finite.
        """
        traces, damaged = amplitudes.clean(self.grid.read(inline, crossline))
        if traces.dtype == np.float64:
            damaged |= np.any(np.abs(traces) > LARGEST, axis=1)
        if damaged.any():
            i = int(np.flatnonzero(damaged)[0])
            place = f"{self.name('inline', inline[i])}, {self.name('crossline', crossline[i])}"
            raise InputError(
                f"{OPTION}={self.grid.name}: {place} has samples that are not finite, or too large for "
                "float32; replace them, or set all samples of a missing trace to NaN or 0"
            )
        return traces

    def name(self, kind: str, index: int) -> str:
        """Returns the name of a line of kind "inline" or "crossline": its number or else its index."""
        return f"{kind} {self.number(kind, index)}"

    def number(self, kind: str, index: int) -> int:
        """Returns the number of a line, its index if the format has no numbers."""
        numbers = self.grid.inlines if kind == "inline" else self.grid.crosslines
        return int(index if numbers is None else numbers[index])


@dataclasses.dataclass(frozen=True)
class Scan:
    """What is known of a volume after its labels have been read once.

    Attributes:
      labelled, salt: int32[inlines, crosslines], samples of each trace with a label, and of salt.
      dead: bool[inlines, crosslines], dead traces on labelled inlines.
      digest: SHA-256 of shape, amplitudes as float32, and labels of the labelled inlines.
      values: the values of the labels, as text; "" of horizons.
    """

    labelled: np.ndarray
    salt: np.ndarray
    dead: np.ndarray
    digest: str
    values: str

    @property
    def has_labels(self) -> np.ndarray:
        """bool[inlines], which inlines hold labels."""
        return np.any(self.labelled, axis=1)


def open_volume(config: ConfigDict) -> LabelledVolume:
    """Opens the volume and the labels that `config.data` names.

    Raises:
      InputError: if one cannot be read, or they do not belong together.
    """
    data = config.data
    volume = grid.open_grid(pathlib.Path(data.volume), data.header_bytes, OPTION)
    files = labels.paths(data.labels)
    if len(files) == 2:
        return LabelledVolume(
            volume, horizons.open_horizons(files[0], files[1], volume)
        )
    interpreted = grid.open_grid(
        files[0], data.header_bytes, labels.OPTION, data.unlabelled
    )
    labels.check_alike(
        volume,
        interpreted.shape,
        (interpreted.inlines, interpreted.crosslines),
        interpreted.axis,
        interpreted.name,
    )
    return LabelledVolume(
        volume, LabelVolume(interpreted, tuple(data.salt), data.unlabelled)
    )


def scan(volume: LabelledVolume) -> Scan:
    """Reads all labels, and the amplitudes of the inlines that hold any.

    Raises:
      InputError: if they cannot be read, samples are not finite, or labels are of unknown values.
    """
    inlines, crosslines, _ = volume.grid.shape
    everything = np.arange(crosslines)
    labelled, salt = (np.zeros((inlines, crosslines), np.int32) for _ in range(2))
    dead = np.zeros((inlines, crosslines), bool)
    digest = hashlib.sha256(repr(tuple(volume.grid.shape)).encode())
    with console.Bar("Reading", inlines, "inlines") as bar:
        for i in range(inlines):
            line = np.full(crosslines, i)
            found = volume.labels.read(line, everything)
            if (found != UNLABELLED).any():
                read = volume.amplitudes(line, everything)
                dead[i] = ~amplitudes.live(read)
                found[dead[i]] = UNLABELLED
                digest.update(f"{i}".encode())
                digest.update(amplitude_bytes(read))
                digest.update(found.tobytes())
            labelled[i] = (found != UNLABELLED).sum(axis=1)
            salt[i] = (found == 1).sum(axis=1)
            bar.advance(1)
    values = ""
    if isinstance(volume.labels, LabelVolume):
        volume.labels.check_values()
        values = volume.labels.description()
    if dead.any() and not labelled.any():
        raise InputError(
            f"{OPTION}={volume.grid.name}: all {dead.sum()} traces of the inlines that hold labels are "
            "dead, all zero or all NaN; expected amplitudes there"
        )
    return Scan(labelled, salt, dead, digest.hexdigest(), values)


def amplitude_bytes(amplitudes: np.ndarray) -> bytes:
    """Returns the bytes of amplitudes as float32, the same of every file format."""
    # Integers have no -0.
    return (np.asarray(amplitudes, "<f4") + np.float32(0)).tobytes()
