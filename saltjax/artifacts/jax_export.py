"""Networks as artifacts of `jax.export`."""

import os
import pathlib
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from saltjax.inference.windows import SectionModel
from saltjax.networks.network import predict_step
from saltjax.system.errors import InputError

PLATFORMS = ("cpu", "cuda", "tpu")
# Calls the artifact as a user does, and prints whether that imported saltjax.
CALL = """
import sys
import jax
import numpy as np
exported = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
images = np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: exported.call(images[name]) for name in images.files})
print("saltjax" in sys.modules)
"""


def serialize(model: SectionModel) -> bytes:
    """Returns the artifact: weights and function of images float32[B, H, W, C], any B, H, W."""
    shape = (*jax.export.symbolic_shape("b, h, w"), model.network.channels)
    predict = jax.jit(lambda image: probabilities(image, model))
    exported = jax.export.export(predict, platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    try:
        return bytes(exported.serialize())
    except ImportError:
        raise InputError(
            "exporting needs flatbuffers, which is not installed: pip install flatbuffers"
        ) from None


def check(artifact: pathlib.Path, model: SectionModel) -> float:
    """Returns the greatest difference of the artifact, called in a separate process, to the run.

    Both compute on the CPU. It is called on two images of the network's training size, and on one
    whose height and width are no multiples of the stride.
    """
    size, odd = model.network.image_size, model.network.stride + 1
    channels = model.network.channels
    rng = np.random.default_rng(0)
    images = {
        "tiles": rng.random((2, size, size, channels), np.float32),
        "odd": rng.random((1, size + odd, size - odd // 2, channels), np.float32),
    }
    with tempfile.TemporaryDirectory() as scratch:
        inputs, outputs = (
            os.path.join(scratch, name) for name in ("in.npz", "out.npz")
        )
        np.savez(inputs, allow_pickle=False, **images)
        command = [
            sys.executable,
            "-P",
            "-c",
            CALL,
            str(artifact.absolute()),
            inputs,
            outputs,
        ]
        done = subprocess.run(
            command,
            check=False,
            cwd=scratch,
            # Another device may be in use by this process, or have no memory left.
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            capture_output=True,
            text=True,
        )
        if done.returncode or done.stdout.strip() != "False":
            raise RuntimeError(f"the artifact cannot be called: {done.stderr}")
        with np.load(outputs) as probs:
            return max(
                float(np.abs(probs[name] - probabilities(image, model)).max())
                for name, image in images.items()
            )


def probabilities(image: np.ndarray, model: SectionModel) -> np.ndarray:
    """Returns the probabilities of salt of images at the network's resolution, by the run itself."""
    return predict_step(
        model.variables,
        image,
        model=model.network.model,
        channels=model.network.channels,
        tta=model.tta,
    )
