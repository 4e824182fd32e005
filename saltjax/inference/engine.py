"""OpenVINO in place of XLA, for inference on CPUs."""

import dataclasses
import threading
from typing import Any

import numpy as np

from saltjax.inference import onnx
from saltjax.inference.windows import SectionModel
from saltjax.networks.network import predict_step
from saltjax.system import console, imports
from saltjax.system.errors import InputError

# Greatest difference of probabilities to those that JAX computes in float32.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
MAX_SIZES = 4


def import_openvino() -> Any:
    """Imports OpenVINO without its telemetry, which reports each import to its vendor.

    Raises:
      InputError: if it is not installed, or cannot be imported.
    """
    try:
        with imports.without("openvino_telemetry"):
            import openvino
    except ImportError as error:
        if error.name == "openvino":
            raise InputError(
                "engine=openvino needs openvino and jax2onnx, and openvino is not installed: pip "
                "install openvino jax2onnx==0.13.0"
            ) from None
        raise InputError(
            f"openvino cannot be imported: {error}; install it again"
        ) from None
    return openvino


class OpenVINO:
    """Computes `network.predict_step` with OpenVINO, with one program for each shape of windows.

    Each program is checked against the network in JAX before it is used.
    """

    def __init__(self, precision: str):
        """Takes the precision of products and activations, "float32" or "bfloat16".

        Raises:
          InputError: if OpenVINO or jax2onnx is not installed, or the CPU does not compute in that
            precision.
        """
        onnx.require_jax2onnx()  # before anything is read
        self._core = import_openvino().Core()
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bfloat16" and "BF16" not in capabilities:
            raise InputError(
                "precision=bfloat16: this CPU has no instructions for it; expected float32"
            )
        self._precision = precision
        self._sizes: set[tuple[int, int]] = set()
        self._programs: dict[tuple, Any] = {}
        self._lock = threading.Lock()  # a program serves one thread at a time

    def takes(self, height: int, width: int) -> bool:
        """Returns whether it computes windows of that size: the first MAX_SIZES are converted.

        Each takes seconds, and hundreds of megabytes of memory for good.
        """
        with self._lock:
            if len(self._sizes) < MAX_SIZES:
                self._sizes.add((height, width))
            return (height, width) in self._sizes

    def __call__(
        self, model: SectionModel, windows: np.ndarray, complement: bool
    ) -> np.ndarray:
        """Returns the probabilities that `predict_step` returns; an engine serves one model.

        Args:
          model: the trained network.
          windows: float32[B, H, W, 1 or C] in [0, 1].
          complement: as in `predict_step`.

        Raises:
          InputError: if the network cannot be converted, or its probabilities differ from JAX's.
        """
        key = windows.shape, complement
        with self._lock:
            if key not in self._programs:
                # The precision is OpenVINO's to choose, not the graph's.
                exact = dataclasses.replace(
                    model.network, model=model.network.model.clone(dtype="float32")
                )
                model = dataclasses.replace(model, network=exact)
                program = self._compile(model, *key)
                self._check(program, model, *key)
                self._programs[key] = program
            return self._programs[key](windows)[0]

    def _compile(self, model, shape, complement):
        if not self._programs:
            console.say(
                f"OpenVINO   {self._precision}; converting the network takes some seconds …"
            )
        # jax2onnx ignores flax's interceptors, so there is no `extent`; a program for any number of
        # windows would be slower, and jax2onnx cannot convert all networks to one.
        converted = onnx.convert(model, shape, complement)
        hint = {"float32": "f32", "bfloat16": "bf16"}[self._precision]
        return self._core.compile_model(
            self._core.read_model(converted), "CPU", {"INFERENCE_PRECISION_HINT": hint}
        )

    def _check(self, program, model, shape, complement):
        """Raises InputError if a program's probabilities of random windows are not JAX's."""
        windows = np.random.default_rng(0).random(shape, np.float32)
        expected = predict_step(
            model.variables,
            windows[:1],
            model=model.network.model,
            channels=model.network.channels,
            tta=model.tta,
            complement=complement,
        )
        found = program(windows)[0]
        first = found[:, :1] if complement else found[:1]
        difference = float(np.abs(first - expected).max())
        if not difference <= TOLERANCE[self._precision]:
            raise InputError(
                f"engine=openvino: its probabilities differ from those of JAX by {difference:.1e}, "
                f"more than {TOLERANCE[self._precision]:.0e} with precision {self._precision}; use "
                "engine jax"
            )
