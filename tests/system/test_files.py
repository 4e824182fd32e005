import pytest

from saltjax.system import files
from saltjax.system.errors import InputError


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path):
    path = tmp_path / "new/a.txt"
    files.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), files.written_aside(path) as part:
        part.write_text("half")
        assert path.read_text() == "old"
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/a\.json: .*MB free"):
        files.write_json(tmp_path / "file/a.json", {})


def test_json_comes_back(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [1, None, "é"]})
    assert files.read_json(tmp_path / "a.json") == {"a": [1, None, "é"]}


@pytest.mark.parametrize("content", ["", "{", "[1]", "[" * 100_000, "\udcff"])
def test_what_is_no_object_is_told(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"a\.json: damaged"):
        files.read_json(tmp_path / "a.json")
    with pytest.raises(InputError, match="cannot read it"):
        files.read_json(tmp_path / "nowhere.json")
