import dataclasses
import errno
import os

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


def test_two_writers_of_one_file_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    with files.atomic_write(path) as one, files.atomic_write(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


def fail_to_sync(monkeypatch, code):
    def fsync(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)


def test_file_that_does_not_reach_the_disk_is_not_written(tmp_path, monkeypatch):
    files.write_text(tmp_path / "a", "old")
    for code in (errno.EIO, errno.ENOSPC, errno.EINVAL):
        fail_to_sync(monkeypatch, code)
        with pytest.raises(InputError, match=f"a: {os.strerror(code)}"):
            files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_directory_that_the_file_system_cannot_sync_is_accepted(tmp_path, monkeypatch):
    for code in (errno.EINVAL, errno.ENOTSUP):
        fail_to_sync(monkeypatch, code)
        files.sync(tmp_path)
    fail_to_sync(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.sync(tmp_path)


def test_on_macos_the_drive_is_asked_to_write_its_cache(tmp_path, monkeypatch):
    asked, synced = [], []

    class MacOS:
        F_FULLFSYNC = 51
        error = None

        @classmethod
        def fcntl(cls, _, operation):
            asked.append(operation)
            if cls.error:
                raise cls.error

    monkeypatch.setattr(files, "fcntl", MacOS)
    monkeypatch.setattr(os, "fsync", synced.append)
    files.sync(tmp_path)
    assert (asked, synced) == ([51], [])
    MacOS.error = OSError(errno.ENOTSUP, "not on this file system")
    files.sync(tmp_path)
    assert (len(asked), len(synced)) == (2, 1)


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
