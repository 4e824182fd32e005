"""A run goes on only with the data that it began with."""

import pytest

from saltjax.runs import workdir as run_directory
from saltjax.system import files
from saltjax.system.errors import InputError

SPLITS = {"train": ["a"], "val": ["b"], "test": ["c"]}
FACTS = {
    "tiles": 30,
    "content_sha256": "aaa",
    "splits": SPLITS,
    "units_sha256": "ccc",
}
VOLUME = FACTS | {"volume": {"unlabelled_sha256": "eee", "gap": 3}}


def check(folder, before, now, **options):
    files.write_json(folder / "data.json", before)
    run_directory.check_data(folder, now, **options)


def test_same_data_are_accepted(tmp_path):
    run_directory.check_data(tmp_path, FACTS)  # a new run
    for facts in (FACTS, VOLUME):
        check(tmp_path, facts, facts)
    # What this version adds is not compared.
    check(tmp_path, FACTS, FACTS | {"added": 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tiles": 29, "content_sha256": "bbb"},
            "30 tiles, hash aaa then, 29 tiles, hash bbb now; restore the old tiles",
        ),
        ({"units_sha256": "ddd"}, "the groups have changed"),
        ({"splits": SPLITS | {"val": ["c"]}}, "split has changed .*config.data.groups"),
    ],
)
def test_other_tiles_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        check(tmp_path, FACTS, FACTS | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"content_sha256": "bbb"},
            "30 patches, hash bbb now; restore the old volume and labels",
        ),
        ({"splits": SPLITS | {"val": ["c"]}}, "are its lines numbered as before"),
        (
            {"volume": {"unlabelled_sha256": "fff", "gap": 3}},
            "amplitudes of inlines without labels",
        ),
    ],
)
def test_another_volume_is_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        check(tmp_path, VOLUME, VOLUME | changes)


def test_other_groups_are_accepted_until_the_test(tmp_path):
    check(tmp_path, FACTS, FACTS | {"units_sha256": "ddd"}, tested=False)


def test_what_an_older_version_did_not_write_is_not_compared(tmp_path):
    without_units = {k: value for k, value in FACTS.items() if k != "units_sha256"}
    check(tmp_path, without_units, FACTS)
    check(tmp_path, FACTS | {"volume": {"gap": 3}}, VOLUME)


def test_facts_of_a_newer_version_are_named(tmp_path):
    with pytest.raises(InputError, match="does not know: mood, sound; use the newer"):
        check(tmp_path, FACTS | {"mood": 1, "sound": 2}, FACTS)
