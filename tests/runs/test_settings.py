import pytest

from configs import default, final, quickstart, unet_strided
from configs import fcn as fcn_config
from saltjax.runs import settings
from saltjax.system.errors import InputError


@pytest.mark.parametrize(
    "module", [default, unet_strided, fcn_config, final, quickstart]
)
def test_shipped_configs_are_right(module):
    settings.check(module.get_config())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.downsample", "avg", "expected one of max_pool, strided"),
        ("model.upsample", "nearest", "expected one of transposed, bilinear"),
        ("model.norm", "layer", "expected one of none, batch, group"),
        ("model.name", "resnet", "expected one of unet, fcn"),
        ("model.features", (), "channels"),
        ("model.features", (4, 0), "channels"),
        ("model.features", (2,) * 9, "9 levels"),
        ("model.dropout", 1.0, "less than 1"),
        ("data.resize", "cubic", "expected one of nearest, bilinear, pad"),
        ("data.split", (0.7, 0.2, 0.2), "sum to 1"),
        ("data.split", (0.7, 0.3), "three positive shares"),
        ("data.split", (1.0, 0.0, 0.0), "three positive shares"),
        ("data.image_size", 4, "at least 8"),
        ("data.split_by", "mosaic", "expected one of random, coverage, group"),
        ("data.split_by", "group", "with config.data.groups=''"),
        ("data.groups", "g.csv", "split_by=random with config.data.groups='g.csv'"),
        ("data.folds", 1, "at least 2 folds"),
        ("data.fold", 1, "config.data.fold=1 of config.data.folds=0"),
        ("eval.threshold_metric", "auc", "expected one of f1, kaggle_map, iou"),
        ("eval.min_area", "-3", "expected auto, or a number of pixels"),
        ("predict.normalize", "zscore", "expected one of clip, minmax, none"),
        ("predict.direction", "depth", "expected one of inline, crossline, both"),
        ("train.epochs", 0, "at least 1"),
        ("train.batch_size", 0, "at least 1"),
        ("optim.learning_rate", 0.0, "more than 0"),
        ("optim.learning_rate", float("nan"), "more than 0"),
        ("optim.weight_decay", -0.1, "at least 0"),
        ("plateau.factor", 1.5, "at most 1"),
        ("early_stopping.patience", 0, "at least 1"),
        ("seed", -1, "at least 0"),
    ],
)
def test_a_wrong_value_is_named(key, value, message):
    config = default.get_config()
    config.update_from_flattened_dict({key: value})
    with pytest.raises(InputError) as caught:
        settings.check(config)
    (line,) = str(caught.value).splitlines()
    assert f"config.{key}" in line
    assert message in line


def test_all_wrong_values_are_named_at_once():
    config = default.get_config()
    config.train.epochs = 0
    config.model.norm = "layer"
    config.data.split = (0.5, 0.5)
    with pytest.raises(InputError) as caught:
        settings.check(config)
    assert len(str(caught.value).splitlines()) == 3


def test_an_fcn_has_no_skip_connections_to_turn_off():
    config = fcn_config.get_config()
    config.model.skip = False
    with pytest.raises(InputError, match="leave it True"):
        settings.check(config)
