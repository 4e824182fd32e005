"""What spares the suite time where a test is not about it: built-in sections, and fine figures."""

import hashlib
import os
import pathlib
import secrets
from collections.abc import Callable

import numpy as np

# The directory in which the sections are kept for all processes of the suite.
SECTIONS = "SALTJAX_TEST_SECTIONS"


def prepare() -> Callable:
    """Makes each chunk of sections once, and draws figures coarsely, in this process.

    Returns `figures.save` as it was.
    """
    from saltjax.data import synthetic
    from saltjax.reporting import figures

    make, folder = synthetic._make_chunk, pathlib.Path(os.environ[SECTIONS])

    def make_chunk(rng):
        """As the original, which takes two seconds for the 250 tiles of a chunk."""
        state = f"{synthetic.CHUNK} {rng.bit_generator.state}"
        path = folder / f"{hashlib.sha256(state.encode()).hexdigest()}.npz"
        if not path.exists():
            images, labels = make(rng)
            part = folder / f"{secrets.token_hex(8)}.npz"
            np.savez(part, images=images, labels=labels)
            part.replace(path)
        with np.load(path) as chunk:
            return chunk["images"], chunk["labels"]

    synthetic._make_chunk = make_chunk
    save, figures.save = figures.save, save_coarsely
    return save


def save_coarsely(figure, path, write=None) -> None:
    """As `figures.save`, but without a layout and at few dots per inch."""
    from saltjax.system import files

    figure.set_layout_engine("none")
    with (write or files.atomic_write)(path) as temporary:
        figure.savefig(temporary, format="png", dpi=30)
