import errno
import os

import pytest

from saltjax.system.errors import InputError, reading, writing

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
BAD_DISK = OSError(errno.EIO, os.strerror(errno.EIO))
STALE = ValueError("Error opening 'a' [os_error_code='116'] [source=file_util.cc]")


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FULL, "No space left on device"),
        (STALE, "Stale file handle"),
        (OSError("no number"), "no number"),
    ],
)
def test_failure_to_write_names_file_reason_and_free_space(tmp_path, error, reason):
    message = rf"cannot write {tmp_path}/a\.npy: {reason} \(\d+ MB free there\)"
    with pytest.raises(InputError, match=message), writing(tmp_path / "a.npy"):
        fail(error)


@pytest.mark.parametrize("error", [BAD_DISK, STALE])
def test_failure_to_read_within_writing_names_what_was_read(tmp_path, error):
    with (
        pytest.raises(InputError, match=r"^cannot read in\.sgy: .*; correct that"),
        writing(tmp_path / "a.sgy"),
        reading("in.sgy"),
    ):
        fail(error)


def test_file_elsewhere_that_cannot_be_opened_is_named(tmp_path):
    message = f"cannot open {tmp_path}/in/a: No such file or directory$"
    with pytest.raises(InputError, match=message), writing(tmp_path / "out/b"):
        (tmp_path / "in/a").read_bytes()


@pytest.mark.parametrize("name", ["out/b", "out/.b.part", "out", "."])
def test_file_in_or_above_the_output_that_cannot_be_opened_is_the_output(
    tmp_path, name
):
    error = OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / name))
    message = f"cannot write {tmp_path}/out/b: Read-only file system"
    with pytest.raises(InputError, match=message), writing(tmp_path / "out/b"):
        fail(error)


@pytest.mark.parametrize("context", [reading, writing])
@pytest.mark.parametrize("error", [ValueError("shapes differ"), InputError("mine")])
def test_errors_that_the_system_did_not_cause_pass(tmp_path, context, error):
    with pytest.raises(type(error), match=str(error)), context(tmp_path):
        fail(error)
