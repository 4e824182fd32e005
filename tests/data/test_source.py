import hashlib

import numpy as np
import pytest
from PIL import Image
from tile_files import write_tiles

from configs import default
from saltjax.data import source, synthetic
from saltjax.system.errors import InputError


def load(batch_size=8, earlier=None, **changes):
    """Loads the data of the default config with changes."""
    config = default.get_config()
    config.train.batch_size = batch_size
    config.data.update(changes)
    return source.load(config, earlier)


def test_without_a_directory_synthetic_tiles_are_made(monkeypatch):
    monkeypatch.setattr(synthetic, "CHUNK", 60)
    data = load(seed=3, synthetic_count=60)
    expected = synthetic.make_tiles(60, 3)
    assert data.tiles.ids == expected.ids
    np.testing.assert_array_equal(data.tiles.images, expected.images)
    assert data.statistics.tiles == 60
    assert {name: len(part) for name, part in data.split.items()} == {
        "train": 42,
        "val": 9,
        "test": 9,
    }
    assert data.split_description == "42 train, 9 val, 9 test"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "18 train, 6 val, 6 test"),
        ({"split_by": "coverage"}, "18 train, 6 val, 6 test, by coverage"),
        ({"folds": 3, "fold": 2}, "15 train, 5 val, 10 test, fold 2 (0 to 2)"),
    ],
)
def test_split_is_described(tile_folder, changes, expected):
    data = load(dir=str(tile_folder), split=(0.6, 0.2, 0.2), **changes)
    assert data.split_description == expected
    assert sorted(np.concatenate(list(data.split.values()))) == list(range(30))


def test_facts_by_hand(tmp_path):
    folder = write_tiles(tmp_path / "tiles", 10)
    data = load(dir=str(folder), batch_size=2)
    facts = data.facts
    splits, units = facts.pop("splits"), facts.pop("units_sha256")
    # No two tiles are copies.
    assert units == hashlib.sha256(np.arange(10, dtype="<i8").tobytes()).hexdigest()
    pixels = hashlib.sha256(
        repr((tuple(f"t0{i}" for i in range(10)), (10, 12, 10, 3))).encode()
    )
    pixels.update(np.repeat(np.arange(10, dtype=np.uint8), 12 * 10 * 3).tobytes())
    for i in range(10):
        pixels.update(b"\1" * (i % 4 * 10) + b"\0" * (120 - i % 4 * 10))
    assert facts == {
        "source": "folder",
        "dir": str(folder),
        "content_sha256": pixels.hexdigest(),
        "tiles": 10,
        "height": 12,
        "width": 10,
        "empty_masks": 3,
        "full_masks": 0,
        "constant_images": 10,
        "duplicate_images": 0,
        "differing_masks": 0,
        "duplicate_examples": [],
        "salt_coverage": pytest.approx((3 * 1 + 2 * 2 + 2 * 3) / 12 / 10),
        "coverage_histogram": [3, 2, 2, 0, 0, 0, 0, 0, 0, 0],
        "dominant_period": None,
    }
    for name, part in data.split.items():
        assert splits[name] == [f"t0{i}" for i in part]
    assert sorted(i for part in splits.values() for i in part) == list(data.tiles.ids)


@pytest.mark.parametrize(
    ("count", "batch_size", "split", "message"),
    [
        (30, 22, (0.7, 0.1, 0.2), "30 tiles split into 21 for training, 3 for"),
        (3, 1, (0.98, 0.01, 0.01), "3 for training, 0 for validation and 0 for"),
        (30, 8, (0.89, 0.1, 0.01), "3 for validation and 0 for the test"),
        (30, 8, (0.9, 0.01, 0.09), "0 for validation and 3 for the test"),
    ],
)
def test_too_few_tiles_are_refused(tmp_path, count, batch_size, split, message):
    folder = write_tiles(tmp_path / "tiles", count)
    data = load(dir=str(folder), batch_size=batch_size, split=split)
    with pytest.raises(InputError, match=message):
        source.check_trainable(data, batch_size)


def test_one_batch_and_one_tile_each_suffice(tmp_path):
    folder = write_tiles(tmp_path / "tiles", 4)
    data = load(dir=str(folder), batch_size=2, split=(0.5, 0.25, 0.25))
    assert [len(part) for part in data.split.values()] == [2, 1, 1]
    source.check_trainable(data, 2)


def test_padding_refuses_tiles_larger_than_the_network(tile_folder):
    message = r"resize=pad cannot shrink tiles of 10×12 pixels to data\.image_size=11"
    with pytest.raises(InputError, match=message):
        load(dir=str(tile_folder), resize="pad", image_size=11)
    with pytest.raises(InputError, match=r"10×12 pixels to data\.image_size=9"):
        source.check_shape((12, 10), 9, "pad")
    for size, resize in ((12, "pad"), (11, "nearest"), (11, "bilinear")):
        source.check_shape((12, 10), size, resize)


@pytest.mark.parametrize("given", [{}, {"dir": "tiles"}, {"volume": "a.sgy"}])
def test_synthetic_tiles_are_announced(given, caplog):
    config = default.get_config()
    config.data.update(given)
    with caplog.at_level("INFO", "saltjax"):
        source.announce(config.data)
    expected = ["These are built-in synthetic sections, not real data."]
    assert caplog.messages == ([] if given else expected)


def write_copies(folder):
    """Writes 40 tiles of noise, of which the last 12 repeat the images of the first 12."""
    write_tiles(folder, 40)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (28, 12, 10, 3), np.uint8)
    for i in range(40):
        Image.fromarray(noise[i % 28]).save(folder / f"images/t{i:02d}.png")
    return folder


def divided(data):
    """Returns how many of the copies of `write_copies` are in another part than the original."""
    where = {i: name for name, part in data.split.items() for i in part}
    return sum(where[i] != where[i + 28] for i in range(12))


def test_run_that_began_with_divided_copies_keeps_its_split(tmp_path, caplog):
    caplog.set_level("INFO", "saltjax")
    folder = str(write_copies(tmp_path / "tiles"))
    data = load(dir=folder)
    assert divided(data) == 0
    assert [data.units[i] == data.units[i + 28] for i in range(12)] == [True] * 12
    # What version 0.1.0 wrote into data.json: each tile for itself.
    order = np.random.default_rng(0).permutation(40)
    before = {
        "train": [f"t{i:02d}" for i in sorted(order[:28])],
        "val": [f"t{i:02d}" for i in sorted(order[28:34])],
        "test": [f"t{i:02d}" for i in sorted(order[34:])],
    }
    continued = load(dir=folder, earlier=before)
    assert divided(continued) > 0
    assert continued.facts["splits"] == before
    assert "copies of an image lie in several parts" in caplog.text
    # They are still resampled together.
    np.testing.assert_array_equal(continued.units, data.units)
    # Another split is not taken over.
    other = load(dir=folder, earlier=load(dir=folder, seed=1).facts["splits"])
    assert other.facts == data.facts


def test_groups_are_known_whatever_the_split(tmp_path):
    folder = str(write_copies(tmp_path / "tiles"))
    path = tmp_path / "groups.csv"
    path.write_text("id,group\n" + "".join(f"t{i:02d},{i // 2}\n" for i in range(20)))
    plain = load(dir=folder)
    for split_by in ("random", "coverage", "group"):
        data = load(dir=folder, groups=str(path), split_by=split_by)
        assert divided(data) == 0
        # Ten groups of two; tiles 28 to 39 are copies of 0 to 11; 20 to 27 are alone.
        expected = [i // 2 for i in range(20)] + [*range(10, 18)]
        expected += [i // 2 for i in range(12)]
        assert data.units.tolist() == expected
        if split_by == "random":
            assert data.facts["splits"] == plain.facts["splits"]
