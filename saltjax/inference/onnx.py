"""Networks as ONNX models."""

import contextlib
import importlib.util
import io
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from saltjax.inference.windows import SectionModel
from saltjax.networks.network import Network, predict
from saltjax.system import imports
from saltjax.system.errors import InputError

# jax2onnx changes modules of JAX while it converts, and standard output is the whole process's.
_CONVERTING = threading.Lock()


def convert(
    model: SectionModel,
    shape: tuple[int, int, int, int],
    complement: bool = False,
) -> bytes:
    """Returns `network.predict` with the weights of a model as an ONNX model.

    Its input `image` is float32[B, H, W, C], and its output as that of `predict`.

    Args:
      model: the trained network.
      shape: B, H, W and C.
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


def has_any_size(network: Network) -> bool:
    """Returns whether jax2onnx converts a network for any number of images, of any size.

    Where it upsamples by interpolation, it takes all four sizes as numbers.
    """
    return getattr(network.model, "upsample", "") != "bilinear"


def convert_any_size(model: SectionModel, metadata: Mapping[str, str]) -> bytes:
    """Returns `network.predict` with the weights of a model as an ONNX model of images of any size.

    Its input `image` is float32[B, H, W, C], H and W multiples of the network's stride s.

    Args:
      model: the trained network, for which `has_any_size`.
      metadata: of the model.

    Raises:
      InputError: if jax2onnx is not installed, or cannot convert the network.
    """
    stride, channels = model.network.stride, model.network.channels

    def function(blocks):
        b, rows, _, columns, _, _ = blocks.shape
        return predict(
            model.variables,
            blocks.reshape(b, stride * rows, stride * columns, channels),
            model=model.network.model,
            channels=channels,
            tta=model.tta,
        )

    # JAX must know that sizes are multiples of the stride, and jax2onnx takes no such expressions.
    shape = ("B", "H", stride, "W", stride, channels)
    artifact = _to_onnx(function, shape, "blocks", metadata)
    return _of_images(artifact, stride, channels).SerializeToString()


def _of_images(artifact: Any, stride: int, channels: int) -> Any:
    """Returns a model of `blocks` [B, H, s, W, s, C] as one of `image` [B, sH, sW, C], the same array."""
    from onnx import TensorProto, helper

    def constant(name, values):
        return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)

    sizes = ("batch_size", "height", "block_rows", "width", "block_columns", "channels")
    divided = [sizes[0], sizes[1], sizes[3], sizes[5]]
    nodes = [
        helper.make_node("Shape", ["image"], ["image_shape"]),
        helper.make_node("Div", ["image_shape", "strides"], ["divided"]),
        helper.make_node("Split", ["divided"], divided, axis=0, num_outputs=4),
        helper.make_node("Concat", list(sizes), ["blocks_shape"], axis=0),
        helper.make_node("Reshape", ["image", "blocks_shape"], ["blocks"]),
    ]
    graph = artifact.graph
    graph.initializer.extend(
        [
            constant("strides", [1, stride, stride, 1]),
            constant(sizes[2], [stride]),
            constant(sizes[4], [stride]),
        ]
    )
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *others])
    del graph.input[:]
    shape: list[str | int | None] = ["B", "H", "W", channels]
    graph.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    (output,) = graph.output
    del output.type.tensor_type.shape.dim[:]
    for name in ("B", "H", "W"):
        output.type.tensor_type.shape.dim.add(dim_param=name)
    return artifact


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
    return _to_onnx(function, shape, name, metadata or {}, version).SerializeToString()


def _to_onnx(function, shape, name, metadata, version=0):
    """Returns the model of `to_onnx` as a message of ONNX."""
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
    for key, value in metadata.items():
        artifact.metadata_props.add(key=key, value=value)
    return _without_copies(artifact)


def _without_copies(artifact):
    """Returns a model that holds the weights once, which mirror images use a second time."""
    import onnx_ir
    from onnx_ir.passes import common

    once = common.DeduplicateInitializersPass(size_limit=sys.maxsize)
    return onnx_ir.to_proto(once(onnx_ir.from_proto(artifact)).model)


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
