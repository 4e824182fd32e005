import jax
import numpy as np
import pytest
import reference
from variables import draw_variables

from saltjax.networks.fcn import FCN

MODEL = FCN(features=(4, 6))


@pytest.mark.parametrize("shape", [(9, 7), (1, 1)])
def test_fcn_equals_numpy(shape):
    variables = draw_variables(MODEL)
    image = np.random.default_rng(1).random((2, *shape, 3), np.float32)
    expected = reference.fcn(image, variables["params"], 2)
    found = jax.jit(MODEL.apply)(variables, image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dropout_only_when_training():
    dropping = MODEL.clone(dropout=0.5)
    variables = draw_variables(MODEL)
    image = np.ones((1, 8, 8, 3), np.float32)
    np.testing.assert_array_equal(
        dropping.apply(variables, image), MODEL.apply(variables, image)
    )
    outputs = [
        dropping.apply(
            variables, image, train=True, rngs={"dropout": jax.random.key(i)}
        )
        for i in range(2)
    ]
    assert not np.allclose(*outputs)


def test_norm_and_dtype_reach_the_blocks():
    model = FCN(features=(4, 6), norm="batch", dtype="bfloat16")
    variables = draw_variables(model)
    assert set(variables["batch_stats"]) == {"block0", "block1"}
    image = np.ones((1, 8, 8, 3), np.float32)
    logits, seen = model.apply(variables, image, capture_intermediates=True)
    assert logits.dtype == np.float32
    for block in ("block0", "block1"):
        assert seen["intermediates"][block]["__call__"][0].dtype == "bfloat16"


def test_full_resolution_throughout():
    assert MODEL.stride == 1
