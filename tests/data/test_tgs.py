"""The challenge's own tiles, where SALTJAX_TGS names their directory."""

import pathlib

import numpy as np
import pytest
from tile_files import link_tiles

from configs import unet
from saltjax import train
from saltjax.data import folder, statistics
from saltjax.scoring import metrics
from saltjax.system import files

pytestmark = pytest.mark.tgs


@pytest.fixture(scope="module")
def tiles(tgs):
    return folder.read_folder(tgs)


def test_statistics_are_the_challenges(tiles):
    stats = statistics.compute(tiles)
    assert (stats.height, stats.width) == (101, 101)
    # Shares known of the challenge; a decoder that misreads one bit depth misses them.
    assert 0.38 < stats.empty_masks / stats.tiles < 0.39
    assert stats.full_masks == 0
    assert stats.salt_coverage == pytest.approx(0.25, abs=0.005)
    assert 0.01 < stats.constant_images / stats.tiles < 0.03
    # Grey tiles: three equal channels.
    assert (tiles.images == tiles.images[..., :1]).all()


def test_scores_of_empty_predictions_are_the_share_of_empty_masks(tiles):
    labels = tiles.labels[..., 0]
    counts = metrics.confusion(np.zeros(labels.shape, bool), labels)
    scores = metrics.native_scores(counts, seed=0)
    empty = sum(not label.any() for label in labels)
    for name in ("kaggle_map", "iou", "dice"):
        assert getattr(scores, name).value == empty / len(labels)
    assert scores.accuracy.value == pytest.approx(1 - labels.mean(), abs=1e-12)


@pytest.mark.slow
def test_two_epochs_learn_more_than_no_salt_anywhere(tgs, tmp_path):
    names = sorted(path.stem for path in pathlib.Path(tgs, "images").iterdir())
    config = unet.get_config()
    config.data.dir = str(link_tiles(tgs, names[::4], tmp_path / "tiles"))
    config.data.image_size = 32
    config.model.features = (8, 16, 32)
    config.model.norm = "group"
    config.train.batch_size = 8
    config.train.epochs = 2
    config.train.cpu_devices = 4
    train.train(config, tmp_path / "run", overwrite=False)
    result = files.read_json(tmp_path / "run/result.json")
    assert result["data"]["source"] == "folder"
    # "No salt anywhere" has a mean precision of about the salt's share and finds none of it.
    assert result["test"]["average_precision"] > 0.4
    assert result["test"]["recall"] > 0.3
    assert np.isfinite(result["test"]["loss"])
