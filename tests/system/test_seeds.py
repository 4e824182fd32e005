import jax
import numpy as np
import pytest

from saltjax.data import feed, splits, synthetic
from saltjax.data.tiles import Tiles
from saltjax.system import seeds

# Of each generator for seed 7: the entropy that it is made from, and its first two outputs of 64
# bits, printed by np.random.default_rng(entropy).bit_generator.random_raw(2). With other streams a
# run would not repeat what it did before it was interrupted.
STREAMS = {
    "split": (
        lambda: seeds.split_rng(7),
        7,
        [11530976094092348043, 16550673365885938325],
    ),
    "bootstrap": (  # of test tiles, which shares the stream of the split
        lambda: seeds.bootstrap_rng(7),
        7,
        [11530976094092348043, 16550673365885938325],
    ),
    "order": (
        lambda: seeds.order_rng(7, epoch=3),
        (7, 3),
        [17986194428743177670, 16317385439118320161],
    ),
    "synthetic": (
        lambda: seeds.synthetic_rng(7, chunk=3),
        (7, 3, 1),
        [9821437555778367441, 962893632624621649],
    ),
    "examples": (
        lambda: seeds.examples_rng(7),
        (7, 0, 2),
        [555165432459821109, 4352556586447953639],
    ),
    "patches": (
        lambda: seeds.patches_rng(7),
        (7, 0, 3),
        [14325332735722756300, 18254071718224108876],
    ),
    "volume": (
        lambda: seeds.volume_rng(7, part=3),
        (7, 3, 4),
        [2430758068893179685, 5459149374167954396],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_have_fixed_first_values(name):
    make, entropy, first = STREAMS[name]
    assert make().bit_generator.random_raw(2).tolist() == first
    expected = np.random.default_rng(entropy).permutation(100)
    np.testing.assert_array_equal(make().permutation(100), expected)


def test_uses_epochs_chunks_and_seeds_have_different_streams():
    generators = []
    for seed in (0, 1, 2):
        generators += [seeds.split_rng(seed), seeds.examples_rng(seed)]
        generators += [seeds.patches_rng(seed)]
        # Epochs are numbered from 1, chunks from 0.
        generators += [seeds.order_rng(seed, epoch) for epoch in (1, 2, 3)]
        generators += [seeds.synthetic_rng(seed, chunk) for chunk in (0, 1, 2)]
        generators += [seeds.volume_rng(seed, part) for part in (0, 1, 2)]
    first = [int(rng.bit_generator.random_raw()) for rng in generators]
    assert len(set(first)) == len(first) == 36


def test_keys_have_fixed_values():
    # Of Threefry: jax.random.key(7), and jax.random.fold_in(jax.random.key(7), 3).
    assert jax.random.key_data(seeds.init_key(7)).tolist() == [0, 7]
    step = seeds.dropout_key(np.int32(7), np.int32(3))
    assert jax.random.key_data(step).tolist() == [276534068, 1641862660]
    # fold_in(fold_in(jax.random.key(7), 2**31), 3)
    step = seeds.augment_key(np.int32(7), np.int32(3))
    assert jax.random.key_data(step).tolist() == [2733499072, 4237008805]


def test_dropout_and_augmentation_differ_by_step_and_seed_and_from_each_other():
    keys = [seeds.init_key(seed) for seed in (0, 1)]
    for make in (seeds.dropout_key, seeds.augment_key):
        keys += [make(seed, step) for seed in (0, 1) for step in (0, 1, 2)]
    assert len({tuple(jax.random.key_data(key).tolist()) for key in keys}) == 14


def test_split_order_and_tiles_use_their_streams(monkeypatch):
    indices = np.arange(50, 90)
    expected = np.random.default_rng((7, 3)).permutation(indices)
    np.testing.assert_array_equal(feed.epoch_order(indices, 7, 3), expected)

    pixels = np.zeros((40, 1, 1, 3), np.uint8), np.zeros((40, 1, 1, 1), np.uint8)
    tiles = Tiles(tuple(map(str, range(40))), *pixels, "folder")
    parts = splits.split(
        tiles, "random", np.arange(40), (0.5, 0.25, 0.25), 0, 0, seed=7
    )
    order = np.random.default_rng(7).permutation(40)
    assert parts["train"].tolist() == sorted(order[:20])
    assert parts["val"].tolist() == sorted(order[20:30])

    monkeypatch.setattr(synthetic, "CHUNK", 4)
    images, _ = synthetic._make_chunk(np.random.default_rng((7, 1, 1)))
    found = synthetic.make_tiles(8, seed=7).images
    np.testing.assert_array_equal(found[4:, ..., 0], images)
