"""Makes the golden run again: `python tests/golden_run/make.py` in a clone; then read README.md.

`finished` is a complete run on built-in sections, `finished.safetensors` its network file and
`interrupted` the same run, stopped within an epoch.
expected.npz holds, by means of orbax and NumPy alone, checksums of the finished run's checkpoints,
and what the program says of an image.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
NETWORK_FILE = "finished.safetensors"
ROOT = HERE.parents[1]
OPTIONS = (
    "--config=default",
    "--config.seed=2",
    "--config.data.synthetic_count=100",
    "--config.data.split=(0.8,0.1,0.1)",
    "--config.data.image_size=16",
    "--config.model.features=(2,4)",
    "--config.model.norm=batch",
    "--config.optim.learning_rate=0.02",
    "--config.optim.weight_decay=0.01",
    "--config.train.batch_size=8",
    "--config.train.epochs=8",
    "--config.train.cpu_devices=4",
)
# Ends in the third of the 10 steps of the sixth epoch; each step is saved. No machine is named.
PROGRAM = """
import platform, sys
from saltjax import __main__
from saltjax.training import steps

platform.platform = platform.system
train_call, calls = steps.train_call, []

def stop(*args):
    calls.append(args)
    if len(calls) == 5 * 10 + 3 and "--workdir=interrupted" in sys.argv:
        raise SystemExit
    return train_call(*args)

steps.train_call = stop
__main__.main()
"""


def main() -> None:
    """Makes both runs, the network file and expected.npz."""
    sys.path.insert(0, str(ROOT))
    import saltjax
    from saltjax import export

    with tempfile.TemporaryDirectory() as folder:
        for name in ("finished", "interrupted"):
            run = pathlib.Path(folder, name)
            minutes = float(name == "finished")
            every = f"--config.checkpoint.every_minutes={minutes}"
            command = [sys.executable, "-c", PROGRAM, f"--workdir={name}", every]
            env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
            subprocess.run([*command, *OPTIONS], check=False, cwd=folder, env=env)
            for extra in (*run.glob("checkpoints/*.old"), run / "plots"):
                shutil.rmtree(extra, ignore_errors=True)
            (run / ".lock").unlink(missing_ok=True)
            for checkpoint in run.glob("checkpoints/*"):
                remove_path(checkpoint, folder)
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(run, HERE / name)
        export.export(HERE / "finished", f"{folder}/{NETWORK_FILE}")
        shutil.copy(pathlib.Path(folder, NETWORK_FILE), HERE)
    image = np.random.default_rng(0).integers(0, 256, (24, 30), np.uint8)
    prob = saltjax.load(HERE / "finished").predict(image)
    sums = {
        name: checksum(flat(HERE / "finished/checkpoints" / name))
        for name in ("best", "last")
    }
    np.savez_compressed(HERE / "expected.npz", image=image, prob=prob, **sums)


def remove_path(checkpoint: pathlib.Path, folder: str) -> None:
    """Removes the path of a directory, which orbax writes, from a checkpoint's files."""
    manifest = checkpoint / "sha256.json"
    checksums = json.loads(manifest.read_text())
    for name in checksums:
        content = (checkpoint / name).read_bytes()
        if name.endswith("commit_success.txt"):
            content = content.replace(f"{folder}/".encode(), b"")
            (checkpoint / name).write_bytes(content)
        checksums[name] = hashlib.sha256(content).hexdigest()
    manifest.write_text(json.dumps(checksums, indent=2))


def flat(checkpoint: pathlib.Path) -> np.ndarray:
    """Returns all arrays of a checkpoint as one, float32, by the order of their names."""
    import jax
    import orbax.checkpoint as ocp

    tree = ocp.StandardCheckpointer().restore((checkpoint / "state").absolute())
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named = sorted((jax.tree_util.keystr(path), leaf) for path, leaf in leaves)
    return np.concatenate([np.ravel(leaf).astype(np.float32) for _, leaf in named])


def checksum(array: np.ndarray) -> str:
    """Returns the SHA-256 of an array's bytes, in hex."""
    return hashlib.sha256(array.astype("<f4").tobytes()).hexdigest()


if __name__ == "__main__":
    main()
