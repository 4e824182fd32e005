from saltjax import compare


def test_settings_that_differ_or_are_lacking():
    configs = {
        "a": {"seed": 0, "model": {"skip": True, "norm": "none"}},
        "b": {"seed": 0, "model": {"skip": False, "norm": "none", "width": 2}},
    }
    assert compare.differing_settings(configs) == ["model.skip", "model.width"]
