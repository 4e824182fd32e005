"""Networks as ONNX models."""

import contextlib
import importlib.util
import io
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from saltjax.inference.windows import SectionModel
from saltjax.networks.network import predict
from saltjax.system import imports
from saltjax.system.errors import InputError

# jax2onnx changes modules of JAX while it converts, and standard output is the whole process's.
_CONVERTING = threading.Lock()


def convert(
    model: SectionModel,
    shape: tuple[int | str, int, int, int],
    complement: bool = False,
) -> bytes:
    """Returns `network.predict` with the weights of a model as an ONNX model.

    Its input `image` is float32[B, H, W, C], and its output as that of `predict`.

    Args:
      model: the trained network.
      shape: B, H, W and C; a name as B stands for any number, which jax2onnx cannot convert where
        the network resizes.
      complement: as in `predict`.

    Raises:
      InputError: if jax2onnx is not installed, or cannot convert the network.
    """

    def function(image):
        # Not jitted: jax2onnx traces it with layers of its own, and JAX would keep that trace.
        return predict(
            model.variables,
            image,
            model=model.network.model,
            channels=model.network.channels,
            tta=model.tta,
            complement=complement,
        )

    return to_onnx(function, shape, "image")


def to_onnx(
    function: Callable[[Any], Any],
    shape: tuple[int | str, ...],
    name: str,
    metadata: Mapping[str, str] | None = None,
    version: int = 0,
) -> bytes:
    """Returns a function of one array float32 as an ONNX model.

    Args:
      function: of the array.
      shape: of the array; a name stands for any number.
      name: of the input.
      metadata: of the model.
      version: of the model.

    Raises:
      InputError: if jax2onnx is not installed, or cannot convert it.
    """
    with _CONVERTING, contextlib.redirect_stdout(io.StringIO()):
        jax2onnx = _import_jax2onnx()
        try:
            artifact = jax2onnx.to_onnx(function, [shape], input_names=[name])
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            raise InputError(
                f"jax2onnx cannot convert this network: {type(error).__name__}: {reason}"
            ) from None
    # Of any number of images jax2onnx gives some layers a wrong shape, of which ONNX Runtime complains.
    del artifact.graph.value_info[:]
    artifact.model_version = version
    for key, value in (metadata or {}).items():
        artifact.metadata_props.add(key=key, value=value)
    return artifact.SerializeToString()


def require_jax2onnx() -> None:
    """Raises InputError if jax2onnx is not installed."""
    if importlib.util.find_spec("jax2onnx") is None:
        raise InputError(
            "ONNX needs jax2onnx, which is not installed: pip install jax2onnx==0.13.0"
        )


def _import_jax2onnx() -> Any:
    """Imports jax2onnx and its converters, except for those of Equinox.

    They compute examples when they are imported, which takes eight seconds. A process that has
    imported Equinox itself gets them.
    """
    require_jax2onnx()
    import jax2onnx
    from jax2onnx.plugins import plugin_system

    # Their log messages say nothing to users.
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with imports.without("equinox"):
        plugin_system.import_all_plugins()
    return jax2onnx
