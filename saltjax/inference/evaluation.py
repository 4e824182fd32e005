"""A network's outputs for tiles with masks, by the same path as its predictions for files."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from saltjax.data.tiles import UNLABELLED, Tiles
from saltjax.inference import windows
from saltjax.inference.windows import Canvas, SectionModel
from saltjax.networks import resize
from saltjax.scoring.postprocess import from_sixteen_bits, to_sixteen_bits
from saltjax.scoring.scores import Outputs
from saltjax.system import console


def predict_tiles(
    tiles: Tiles,
    indices: np.ndarray,
    model: SectionModel,
    after_tile: Callable[[], None] = lambda: None,
    title: str = "Testing",
    others: Sequence[SectionModel] = (),
) -> Outputs:
    """Returns the network's outputs for the tiles of `indices`, in that order.

    The tiles may be larger or smaller than those of training: like any section they are resized by
    the same factors as those were.

    Args:
      tiles: the tiles.
      indices: int[N].
      model: the network.
      after_tile: is called after each, and may end the loop by raising.
      title: of the progress bar.
      others: networks of the same resolution, whose probabilities are averaged with the first one's.

    Raises:
      ValueError: if a tile has no labelled pixel, so that it has no score.
    """
    _check_labelled(tiles, indices)
    network = model.network
    resized = resize.label_to_network(
        tiles.labels[indices], model.tile, network.image_size, network.resize
    )
    label = np.asarray(resized, np.uint8)[..., 0]
    probs, native, means = [], [], []
    with console.Bar(title, len(indices), "images") as bar:
        models = [model, *others]
        streams = [_canvases(tiles, indices, each) for each in models]
        for i, canvases in enumerate(zip(*streams)):
            # A pixel that was added by mirroring counts in no score.
            salt, none = resize.without_padding(
                _mean([canvas.at_network() for canvas in canvases]),
                model.tile,
                network.image_size,
                network.resize,
            )
            means.append(_means(salt, none, label[i]))
            probs.append(salt)
            # The depth of the PNGs that `predict` writes, whose masks are the ones scored.
            both = zip(canvases, models)
            mean = _mean([canvas.native(each) for canvas, each in both])
            native.append(to_sixteen_bits(mean))
            bar.advance(1)
            after_tile()
    labelled = label != UNLABELLED
    weights = None if labelled.all() else labelled.sum(axis=(1, 2))
    loss, accuracy = np.average(means, axis=0, weights=weights).tolist()
    return Outputs(
        indices,
        loss,
        accuracy,
        np.stack(probs),
        label,
        from_sixteen_bits(np.stack(native)),
    )


def _mean(probs: Sequence[np.ndarray]) -> np.ndarray:
    if len(probs) == 1:
        return probs[0]
    return np.asarray(np.mean(probs, axis=0, dtype=np.float32))


def _check_labelled(tiles: Tiles, indices: np.ndarray) -> None:
    without = (tiles.labels[indices] == UNLABELLED).all(axis=(1, 2, 3))
    if without.any():
        name = tiles.ids[indices[np.argmax(without)]]
        raise ValueError(f"{name} has no labelled pixel; expected one in each tile")


def _canvases(
    tiles: Tiles, indices: np.ndarray, model: SectionModel
) -> Iterator[Canvas]:
    sections: Iterable[np.ndarray]
    sections = (windows.to_section(tiles.images[i]) for i in indices)
    if tiles.source != "volume":
        sections = windows.without_colours(sections, model.network)
    return windows.predict_canvases(sections, model, complement=True)


def _means(
    salt: np.ndarray, none: np.ndarray, label: np.ndarray
) -> tuple[float, float]:
    """Returns the means over labelled pixels that `losses.tile_means` does: loss and accuracy.

    Args:
      salt, none: float32[h, w], the probabilities p and 1 - p.
      label: uint8[h, w] in {0, 1, UNLABELLED}.
    """
    labelled = label != UNLABELLED
    if not labelled.any():
        return 0.0, 0.0
    if not labelled.all():
        salt, none, label = (x[labelled] for x in (salt, none, label))
    correct = np.where(label, salt, none).astype(np.float64)
    # The smallest number that every device has: a smaller one may have become 0.
    correct = np.maximum(correct, np.finfo(np.float32).tiny)
    return 0.0 - float(np.log(correct).mean()), float(np.mean((salt >= none) == label))
