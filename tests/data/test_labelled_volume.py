import pytest
import volume_files

from saltjax.data import labelled_volume
from saltjax.system.errors import InputError


def digest(folder, volume, labels):
    paths = volume_files.write_npy(folder, volume, labels)
    opened = labelled_volume.open_volume(volume_files.config(*paths))
    return labelled_volume.scan(opened).digest


def test_digest_is_over_shape_and_what_is_labelled(tmp_path):
    volume, labels = volume_files.make()
    volume[:, 3] = 1  # no dead traces, so that it may have another shape
    labels[::5] = -1
    before = digest(tmp_path, volume, labels)
    assert digest(tmp_path, volume.astype("f4"), labels.astype("i1")) == before
    changed = volume.copy()
    changed[::5] += 1
    assert digest(tmp_path, changed, labels) == before
    # The same values in another shape, and on other inlines.
    turned = (x.reshape(30, 24, 20) for x in (volume, labels))
    moved = (x[[*range(5), 6, 5, *range(7, 30)]] for x in (volume, labels))
    amplitude, label = volume.copy(), labels.copy()
    amplitude[7, 5, 6] += 1
    label[7, 5, 6] = -1
    others = [turned, moved, (amplitude, labels), (volume, label)]
    assert len({before, *(digest(tmp_path, *other) for other in others)}) == 5


def test_one_file_of_picks_is_refused_with_what_labels_may_be(tmp_path):
    volume, _ = volume_files.write_npy(tmp_path)
    with pytest.raises(InputError, match=r"top.txt: .* or the picks of top and base"):
        labelled_volume.open_volume(volume_files.config(volume, tmp_path / "top.txt"))
