import sys

import pytest

from saltjax.system import imports

NAME = "module_of_the_test"


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / f"{NAME}.py").write_text("value = 1")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(NAME, None)


def test_a_module_cannot_be_imported_within_the_body_only(module):
    with imports.without(NAME), pytest.raises(ModuleNotFoundError):
        __import__(NAME)
    assert __import__(NAME).value == 1


def test_a_module_that_was_imported_before_stays(module):
    before = __import__(NAME)
    with imports.without(NAME):
        assert __import__(NAME) is before
    assert sys.modules[NAME] is before
