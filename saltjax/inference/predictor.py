"""A trained network, read from its run or network file and applied to arrays."""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from saltjax.inference import masks, scaling, volumes, windows
from saltjax.inference.engine import OpenVINO
from saltjax.inference.scaling import Scale
from saltjax.inference.windows import SectionModel
from saltjax.networks.network import Network
from saltjax.runs import result as results
from saltjax.runs import settings, trained
from saltjax.runs.network_file import TrainedNetwork
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic import npy
from saltjax.system import console
from saltjax.system.errors import InputError


@dataclasses.dataclass(frozen=True)
class Predictor:
    """The best network of a finished run.

    Attributes:
      workdir: the run directory, or the network file.
      result: the run's result.json.
      network: the model and its resolution.
      variables: its params and batch_stats, as numpy arrays.
      postprocessing: threshold and minimum component size, chosen on the run's validation tiles.
      tile: height and width in pixels of the tiles that it was trained on.
      period: the dominant vertical period in them, in pixels; None if the run did not record it.
      sha256: a checksum of the weights, see `TrainedNetwork.weights_sha256`.
      batch_size: tiles in a batch.
      header_bytes: where SEG-Y files have inline and crossline numbers, the run's setting
        `data.header_bytes`.
      normalize, direction, tta: the run's settings `predict.normalize`, `predict.direction` and
        `eval.tta`.
      engine: computes the probabilities instead of JAX, None for JAX.
    """

    workdir: pathlib.Path
    result: results.Result = dataclasses.field(repr=False)
    network: Network
    variables: dict[str, Any] = dataclasses.field(repr=False)
    postprocessing: Postprocessing
    tile: tuple[int, int]
    period: float | None
    sha256: str
    batch_size: int
    header_bytes: tuple[int, ...]
    normalize: str
    direction: str
    tta: bool
    engine: OpenVINO | None = dataclasses.field(default=None, repr=False)

    @property
    def threshold(self) -> float:
        """The probability at and above which a pixel is salt."""
        return self.postprocessing.threshold

    @property
    def engine_name(self) -> str:
        """What computes the probabilities, as `load` takes it."""
        return "openvino" if self.engine else "jax"

    @property
    def precision(self) -> str:
        """The precision of products and activations, as `load` takes it."""
        return self.network.model.dtype

    def computation(self, tta: bool | None = None, scale: Scale = scaling.NONE) -> str:
        """Returns in words how `section_model` computes probabilities."""
        engine = "JAX" if self.engine is None else "OpenVINO"
        mirrored = self.tta if tta is None else tta
        images = (
            "mean of image and mirror image" if mirrored else "without mirror image"
        )
        stretched = "" if scale == scaling.NONE else f", stretched by {scale}"
        return f"{engine}, {self.network.model.dtype}, {images}{stretched}"

    def section_model(
        self, tta: bool | None = None, scale: Scale = scaling.NONE
    ) -> SectionModel:
        """Returns the network as `windows.predict_sections` takes it; `tta` None as in the run."""
        return SectionModel(
            self.network,
            self.variables,
            self.tile,
            self.batch_size,
            self.tta if tta is None else tta,
            self._placed,
            self.engine,
            scale,
        )

    @functools.cached_property
    def _placed(self) -> dict[int, tuple[Mesh, Any]]:
        """The weights on the devices, where they remain from one call to the next."""
        return {}

    def predict(
        self,
        array: np.ndarray,
        *,
        tta: bool | None = None,
        direction: str | None = None,
        normalize: str | None = None,
        scale: tuple[float, float] | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Returns the probabilities of salt, float32 of the array's shape, in [0, 1].

        Args:
          array: a section [samples, traces] or a volume [inline, crossline, sample] of amplitudes,
            which are scaled to [0, 1] by `normalize`; an array of uint8 has grey values, from 0 to 255.
            Traces that are all zero, all NaN or, in a numpy masked array, all masked are dead: their
            probability is 0. An array uint8[H, W, 3 or 4] is a colour image, a fourth channel its
            opacity: it is segmented as a PNG is, to float32[H, W].
          tta: average the probabilities with those of the mirror image.
          direction: of the sections of a volume, "inline", "crossline" or "both".
          normalize: how amplitudes are scaled, "clip", "minmax" or "none". None for this and the two
            others: as in the run.
          scale: two factors by which the network sees sections stretched, along samples and along
            traces; None for not at all.
          progress: show a progress bar.

        Raises:
          InputError: a ValueError, if an argument has another value, or the array is not of real numbers
            in two or three dimensions, is empty, is an image that is not opaque, or has traces that are
            masked or not finite in some samples only or, with normalize="none", values that are not in
            [0, 1].
        """
        chosen = self.with_settings(direction, normalize)
        if tta not in (True, False, None):
            raise InputError(f"tta={tta!r}; expected True or False")
        array = npy.without_mask(array, "the array")
        source = npy.ArrayTraces(lambda: array, "the array")
        models, image = [self.section_model(tta, scaling.of(scale))], source.image()
        if image is not None:
            return windows.predict_image(image, models)
        prob = np.zeros(array.shape, np.float32)
        sink = npy.ArrayTraces(lambda: prob, "the probabilities")
        with console.bars(progress):
            volumes.segment(
                source, sink, models, chosen.normalize, chosen.direction, scan_all=True
            )
        return prob

    def mask(
        self,
        array: np.ndarray,
        *,
        tta: bool | None = None,
        direction: str | None = None,
        normalize: str | None = None,
        scale: tuple[float, float] | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Returns the mask of salt, bool of the shape of `predict`, as `--mode=predict` writes it.

        It has the run's threshold and minimum component size; in a volume the latter is that of a
        component in a section. Arguments and errors are those of `predict`.
        """
        prob = self.predict(
            array,
            tta=tta,
            direction=direction,
            normalize=normalize,
            scale=scale,
            progress=progress,
        )
        found = np.zeros(prob.shape, np.uint8)
        probs = npy.ArrayTraces(lambda: prob, "the probabilities")
        sink = npy.ArrayTraces(lambda: found, "the mask")
        chosen = self.with_settings(direction)
        masks.write(probs, sink, chosen.direction, self.postprocessing)
        return found.astype(bool)

    def with_settings(
        self, direction: str | None = None, normalize: str | None = None
    ) -> "Predictor":
        """Returns the predictor with other settings; None for those of the run.

        Raises:
          InputError: if there is no such setting.
        """
        for name, value in (("direction", direction), ("normalize", normalize)):
            known = settings.CHOICES[f"predict.{name}"]
            if value is not None and value not in known:
                raise InputError(
                    f"{name}={value!r}; expected one of {', '.join(known)}"
                )
        return dataclasses.replace(
            self,
            direction=direction or self.direction,
            normalize=normalize or self.normalize,
        )


def announce_synthetic(predictors: Sequence[Predictor]) -> None:
    """Says which of the networks have seen no real data, before they are applied to some."""
    for predictor in predictors:
        if predictor.result.data.source == "synthetic":
            console.say(
                f"{predictor.workdir} was trained on built-in synthetic sections: on real data "
                "its output is only a test of the program",
                logging.WARNING,
            )


def announce_tta(predictors: Sequence[Predictor], tta: bool | None) -> None:
    """Says whose threshold was chosen with mirror images, or without, but is used otherwise."""
    for predictor in predictors:
        if tta is not None and tta != predictor.tta:
            line = (
                f"Threshold  of {predictor.workdir}: chosen "
                f"{'with' if predictor.tta else 'without'} mirror images (eval.tta={predictor.tta})"
            )
            if predictor.workdir.is_file():
                line += f", and used {'with' if tta else 'without'}: it may not suit"
            else:
                line += (
                    "; to choose it as it is used here, repeat the command that trained the run "
                    f"with --config.eval.tta={tta}"
                )
            console.say(line)


def common_postprocessing(
    predictors: Sequence[Predictor],
    threshold: float | None = None,
    min_area: int | None = None,
) -> Postprocessing:
    """Returns the mean threshold and minimum component size, or those that are given."""
    if threshold is None:
        threshold = float(np.mean([p.threshold for p in predictors]))
    if min_area is None:
        min_area = round(np.mean([p.postprocessing.min_area for p in predictors]))
    return Postprocessing(threshold, min_area)


def load(
    workdir: str | os.PathLike, engine: str = "jax", precision: str | None = None
) -> Predictor:
    """Returns a trained network.

    Args:
      workdir: a run directory, a network file, or the name of a packaged network.
      engine: "jax", or "openvino", which is faster on some CPUs (see docs/inference.md).
      precision: "float32" or "bfloat16", of products and activations; None for that of training.

    Raises:
      InputError: if there is none, or a damaged one, or the directory holds no finished run, or the
        packages of the engine are not installed.
    """
    return restore(trained.locate(workdir), engine, precision)


def restore(
    location: trained.Location, engine: str = "jax", precision: str | None = None
) -> Predictor:
    """Returns the trained network of a location, as `load` does."""
    return create(trained.read(location), engine, precision)


def create(
    network: TrainedNetwork, engine: str = "jax", precision: str | None = None
) -> Predictor:
    """Returns the predictor of a trained network; the other arguments are those of `load`."""
    config, result = network.config, network.result
    precision = config.train.dtype if precision is None else precision
    for name, value, known in (
        ("engine", engine, settings.ENGINES),
        ("precision", precision, settings.CHOICES["train.dtype"]),
    ):
        if value not in known:
            raise InputError(f"{name}={value!r}; expected one of {', '.join(known)}")
    model = network.network.model.clone(dtype=precision)
    return Predictor(
        workdir=network.path,
        result=result,
        network=dataclasses.replace(network.network, model=model),
        variables=network.variables,
        postprocessing=Postprocessing(result.threshold.value, result.min_area),
        tile=(network.tiles.height, network.tiles.width),
        period=network.tiles.dominant_period,
        sha256=network.weights_sha256(),
        batch_size=config.train.batch_size,
        header_bytes=tuple(config.data.header_bytes),
        normalize=config.predict.normalize,
        direction=config.predict.direction,
        tta=config.eval.tta,
        engine=OpenVINO(precision) if engine == "openvino" else None,
    )
