import dataclasses

import pytest

from saltjax.system import files
from saltjax.system.errors import InputError


def fail_half_way(path):
    with files.atomic_write(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise ZeroDivisionError


def test_a_file_is_replaced_only_when_the_new_one_is_complete(tmp_path):
    path = tmp_path / "new/a.txt"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        fail_half_way(path)
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_error_names_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/a\.json: .*MB free"):
        files.write_json(tmp_path / "file/a.json", {})


def test_json_is_read_as_it_was_written(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [1, None, "é"]})
    assert files.read_json(tmp_path / "a.json") == {"a": [1, None, "é"]}


def test_json_of_a_dataclass_by_hand(tmp_path):
    @dataclasses.dataclass
    class Point:
        x: float
        names: tuple[str, ...]

    files.write_json(tmp_path / "a.json", {"p": Point(0.5, ("é",))})
    expected = (
        '{\n  "p": {\n    "x": 0.5,\n    "names": [\n      "\\u00e9"\n    ]\n  }\n}\n'
    )
    assert (tmp_path / "a.json").read_text() == expected


def test_csv_by_hand(tmp_path):
    rows = [{"b": 0.5, "a": "x,y"}, {"a": None, "b": 'say "é"'}]
    files.write_csv(tmp_path / "a.csv", ("a", "b"), rows)
    expected = 'a,b\n"x,y",0.5\n,"say ""é"""\n'
    assert (tmp_path / "a.csv").read_bytes() == expected.encode()
    files.write_csv(tmp_path / "a.csv", ("a", "b"), [])
    assert (tmp_path / "a.csv").read_text() == "a,b\n"


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, "\udcff"])
def test_json_that_holds_no_object_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"a\.json: damaged"):
        files.read_json(tmp_path / "a.json")


def test_missing_json_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: cannot read it"):
        files.read_json(tmp_path / "nowhere.json")
