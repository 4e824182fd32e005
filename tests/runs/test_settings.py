import ast
import io
import re
import tokenize

import pytest
from ml_collections import ConfigDict

from configs import best, default, final, quickstart, unet, unet_strided
from configs import fcn as fcn_config
from saltjax.runs import settings
from saltjax.system.errors import InputError


@pytest.mark.parametrize(
    "module", [default, unet, unet_strided, fcn_config, final, best, quickstart]
)
def test_shipped_configs_are_valid(module):
    settings.check(module.get_config())


def with_values(overrides):
    """Returns the default config with other values, whatever their type."""
    tree = default.get_config().to_dict()
    for key, value in overrides.items():
        *section, name = key.split(".")
        (tree[section[0]] if section else tree)[name] = value
    return ConfigDict(tree)


def problems(config):
    """Returns the lines of the error about a config."""
    with pytest.raises(InputError) as caught:
        settings.check(config)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.downsample", "avg", "expected one of max_pool, strided"),
        ("model.upsample", "nearest", "expected one of transposed, bilinear"),
        ("model.norm", "layer", "expected one of none, batch, group"),
        ("model.name", "resnet", "expected one of unet, fcn"),
        ("model.features", (), "channels"),
        ("model.features", (4, 0), "channels"),
        ("model.features", (4, 8.0), "channels"),
        ("model.features", (2,) * 9, "9 levels"),
        ("model.dropout", 1.0, "less than 1"),
        ("model.dropout", float("nan"), "at least 0"),
        ("data.resize", "cubic", "expected one of nearest, bilinear, pad"),
        ("data.split", (0.7, 0.2, 0.2), "sum to 1"),
        ("data.split", (0.7, 0.3), "three positive shares"),
        ("data.split", (1.0, 0.0, 0.0), "three positive shares"),
        ("data.split", ("0.7", 0.15, 0.15), "three positive shares"),
        ("data.image_size", 4, "at least 8"),
        ("data.image_size", 4097, "at most 4096"),
        ("data.split_by", "mosaic", "expected one of random, coverage, group"),
        ("data.split_by", "group", "split_by=group without config.data.groups"),
        ("data.folds", 1, "at least 2 folds"),
        (
            "data.header_bytes",
            (9,),
            "expected the first bytes of two numbers of four bytes",
        ),
        (
            "data.header_bytes",
            (9, 9),
            "(9, 9); expected the first",
        ),
        ("data.header_bytes", (0, 21), "1 to 237, such as 189,193"),
        ("data.header_bytes", (9, 238), "1 to 237, such as 189,193"),
        ("data.header_bytes", (9.0, 21), "1 to 237, such as 189,193"),
        ("data.fold", 1, "config.data.fold=1 of config.data.folds=0"),
        ("eval.threshold_metric", "auc", "expected one of f1, kaggle_map, iou"),
        ("eval.min_area", -3, "at least -1"),
        ("predict.normalize", "zscore", "expected one of clip, minmax, none"),
        ("predict.direction", "depth", "expected one of inline, crossline, both"),
        ("train.dtype", "float16", "expected one of float32, bfloat16"),
        ("train.epochs", 0, "at least 1"),
        ("train.batch_size", 0, "at least 1"),
        ("optim.learning_rate", 0.0, "more than 0"),
        ("optim.learning_rate", float("nan"), "more than 0"),
        ("optim.learning_rate", float("inf"), "at most 1000"),
        ("optim.weight_decay", -0.1, "at least 0"),
        ("optim.weight_decay", 1.5, "at most 1"),
        ("checkpoint.every_minutes", 1_000_000.5, "at most 1000000"),
        ("plateau.factor", 1.5, "at most 1"),
        ("early_stopping.patience", -1, "at least 0"),
        ("checkpoint.every_minutes", -1.0, "at least 0"),
        ("seed", -1, "at least 0"),
        ("seed", 2**31, "less than 2147483648"),
        ("data.augment", "rotate", "expected one of none, flip, affine"),
        ("loss.lovasz", -1.0, "at least 0"),
        ("loss.lovasz", float("nan"), "at least 0"),
        ("optim.schedule", "linear", "expected one of plateau, cosine"),
        ("optim.warmup_epochs", -1, "at least 0"),
        ("optim.warmup_epochs", 5, "only cosine has a warm-up: expected 0"),
        ("train.ema", 1.0, "less than 1"),
        ("train.ema", -0.1, "at least 0"),
        ("checkpoint.select", "best", "expected one of val_loss, kaggle_map, last"),
    ],
)
def test_invalid_value_is_named(key, value, message):
    (line,) = problems(with_values({key: value}))
    assert f"config.{key}" in line
    assert message in line


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.epochs", True, "=True; expected a whole number"),
        ("train.epochs", 2.0, "=2.0; expected a whole number"),
        ("train.epochs", "2", "='2'; expected a whole number"),
        ("model.skip", 1, "=1; expected True or False"),
        ("model.name", 3, "=3; expected a string"),
        ("data.dir", None, "=None; expected a string"),
        ("optim.learning_rate", True, "=True; expected a number, such as 0.001"),
        ("optim.learning_rate", "1e-3", "='1e-3'; expected a number, such as 0.001"),
        ("data.split", 0.7, "=0.7; expected a tuple"),
        ("model.features", "4,8", "='4,8'; expected a tuple"),
        ("eval.min_area", "16", "='16'; expected a whole number, such as 0"),
    ],
)
def test_value_of_another_type_is_named(key, value, message):
    (line,) = problems(with_values({key: value}))
    assert line.startswith(f"config.{key}{message}")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 2**31 - 1),
        ("data.image_size", 8),
        ("data.image_size", 4096),
        ("model.features", [4, 8]),  # as JSON gives it back
        ("model.features", (2,) * 8),
        ("train.epochs", 1),
        ("optim.weight_decay", 1),  # a whole number is a number
        ("optim.weight_decay", 1.0),
        ("plateau.factor", 1.0),
        ("plateau.patience", 0),
        ("early_stopping.patience", 0),
        ("checkpoint.every_minutes", 0),
        ("eval.min_area", -1),
        ("data.split", (0.8, 0.1, 0.1)),  # 1 but for rounding
        ("loss.lovasz", 1000),
        ("train.ema", 0.9999),
        ("train.ema", 0),
    ],
)
def test_values_at_their_limits_are_valid(key, value):
    settings.check(with_values({key: value}))


@pytest.mark.parametrize(("warmup", "valid"), [(0, True), (9, True), (10, False)])
def test_warm_up_of_a_cosine_is_shorter_than_the_run(warmup, valid):
    config = with_values(
        {
            "optim.schedule": "cosine",
            "optim.warmup_epochs": warmup,
            "train.epochs": 10,
        }
    )
    if valid:
        settings.check(config)
    else:
        message = (
            "config.optim.warmup_epochs=10 of config.train.epochs=10; expected fewer"
        )
        (found,) = problems(config)
        assert found.startswith(message)


def test_all_problems_are_named_at_once():
    lines = problems(
        with_values(
            {
                "train.epochs": 0,
                "model.norm": "layer",
                "data.split": (0.5, 0.5),
                "seed": "0",
                "model.skip": 1,
                "plateau.factor": 2.0,
                "data.folds": 1,
            }
        )
    )
    keys = [line.removeprefix("config.").partition("=")[0] for line in lines]
    # Of sections with a problem, what depends on several settings is not checked.
    assert sorted(keys) == [
        "data.fold",
        "data.split",
        "model.norm",
        "model.skip",
        "plateau.factor",
        "seed",
        "train.epochs",
    ]


def test_missing_and_unknown_settings_are_named():
    tree = default.get_config().to_dict()
    del tree["eval"]["tta"], tree["model"]["norm"]
    tree["model"]["attention"] = True
    tree["loss"]["focal"] = 1.0
    (line,) = problems(ConfigDict(tree))
    assert "missing settings: eval.tta, model.norm" in line
    assert "unknown settings: loss.focal, model.attention;" in line
    assert "configs/default.py" in line
    (line,) = problems(with_values({"model.attention": True}))
    assert "missing settings: none; unknown settings: model.attention;" in line
    del tree["model"]["attention"], tree["loss"]["focal"]
    (line,) = problems(ConfigDict(tree))
    assert "missing settings: eval.tta, model.norm; unknown settings: none;" in line


def test_fcn_has_no_options_of_the_unet():
    config = fcn_config.get_config()
    config.model.skip = False
    config.model.downsample = "strided"
    first, second = problems(config)
    assert "config.model.downsample=strided: model.name=fcn has no such" in first
    assert "config.model.skip=False: model.name=fcn has no such option" in second
    assert "expected True" in second


def documented_settings():
    """Returns the comment beside and above every setting in configs/default.py, by dotted key."""
    path = settings.configs_folder() / "default.py"
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    comments = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    }
    sections, found = {"config": ""}, {}
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Assign) or not isinstance(
            node.targets[0], ast.Attribute
        ):
            continue
        target = node.targets[0]
        key = sections[target.value.id] + target.attr
        if len(node.targets) == 2:  # config.data = data = ConfigDict()
            sections[node.targets[1].id] = f"{key}."
            continue
        first = node.lineno
        while lines[first - 2].lstrip().startswith("#"):
            first -= 1
        words = [comments.get(i, "") for i in range(first, node.end_lineno + 1)]
        found[key] = " ".join(words).strip()
    return found


def test_every_setting_is_documented():
    found = documented_settings()
    assert found.keys() == settings.flatten(default.get_config().to_dict()).keys()
    assert all(found.values())


def test_choices_are_those_of_the_comments():
    found = {
        key: tuple(re.findall(r'"(.*?)"', comment))
        for key, comment in documented_settings().items()
        if "|" in comment
    }
    assert found == settings.CHOICES


def test_defaults_are_those_of_the_default_config():
    found = settings.defaults()
    assert found["model.features"] == (16, 32, 64, 128, 256)
    assert found == settings.flatten(default.get_config().to_dict())


@pytest.mark.parametrize("installed", [False, True])
def test_configs_are_in_the_package_or_beside_it(tmp_path, monkeypatch, installed):
    package = tmp_path / "saltjax"
    monkeypatch.setattr(settings, "__file__", str(package / "runs/settings.py"))
    expected = package / "configs" if installed else tmp_path / "configs"
    expected.mkdir(parents=True)
    assert settings.configs_folder() == expected


def test_flatten_and_differences():
    old = {"seed": 0, "model": {"skip": True, "features": [4, 8]}, "gone": {"a": 1}}
    new = {"seed": 1, "model": {"skip": True, "features": [4]}, "new": 2.0}
    assert settings.flatten(old) == {
        "seed": 0,
        "model.skip": True,
        "model.features": [4, 8],
        "gone.a": 1,
    }
    assert settings.differences(old, new) == [
        ("gone.a", 1, None),
        ("model.features", [4, 8], [4]),
        ("new", None, 2.0),
        ("seed", 0, 1),
    ]


def test_value_text_is_as_on_a_command_line():
    values = ((4, 8), [4], 0.5, False, "")
    assert [*map(settings.value_text, values)] == ["4,8", "4", "0.5", "False", ""]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dir": "/tiles"}, r"data.volume=a.sgy and config.data.dir=/tiles"),
        ({"labels": ""}, r"data.volume=a.sgy without config.data.labels"),
        ({"volume": ""}, r"data.labels=b.sgy without config.data.volume"),
        ({"labels": "a,b,c"}, r"data.labels=a,b,c; expected a volume, or two files"),
        ({"labels": "a,"}, r"data.labels=a,; expected a volume, or two files"),
        ({"labels": "a.sgy"}, r"data.volume and config.data.labels are both a.sgy"),
        ({"groups": "g.csv"}, r"data.groups=g.csv with config.data.volume"),
        ({"split_by": "coverage"}, r"data.split_by=coverage with .*expected 'random'"),
        ({"salt": ()}, r"data.salt=\(\); expected the whole numbers"),
        ({"salt": (0.5,)}, r"data.salt=\(0.5,\); expected the whole numbers"),
        ({"salt": (1, -1)}, r"data.unlabelled=-1 is in config.data.salt"),
        ({"tile": 7}, r"data.tile=7; expected at least 8"),
        ({"direction": "time"}, r"expected one of inline, crossline, both"),
        (
            {"salt_share": 1.1},
            r"data.salt_share=1.1; expected at least 0 and at most 1",
        ),
    ],
)
def test_settings_of_a_volume_are_checked(changes, message):
    config = default.get_config()
    config.data.update(volume="a.sgy", labels="b.sgy")
    settings.check(config)
    config.data.update(changes)
    with pytest.raises(InputError, match=message):
        settings.check(config)


def test_tiles_have_no_neighbouring_lines():
    config = default.get_config()
    config.data.context = 1
    with pytest.raises(InputError, match=r"data.context=1 without config.data.volume"):
        settings.check(config)


def test_unflatten_is_the_inverse_of_flatten():
    tree = {"a": {"b": 1, "c": {"d": (2,)}}, "e": ""}
    assert settings.unflatten(settings.flatten(tree)) == tree
    assert settings.unflatten({"a.b": 1, "a.c": 2, "d": 3}) == {
        "a": {"b": 1, "c": 2},
        "d": 3,
    }
