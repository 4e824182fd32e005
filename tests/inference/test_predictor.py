import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import reference
import written_run
from scipy import ndimage

import saltjax
from saltjax.inference import predictor, windows
from saltjax.runs import checkpoint
from saltjax.scoring.postprocess import Postprocessing
from saltjax.system import console, devices
from saltjax.system.errors import InputError


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    written_run.write(folder)
    return folder


@pytest.fixture
def run(workdir, tmp_path):
    """A copy of the run that the test may change."""
    shutil.copytree(workdir, tmp_path / "run")
    return tmp_path / "run"


def noise(*shape):
    return np.random.default_rng(0).normal(0, 900, shape).astype(np.float32)


def test_predictor_holds_the_run(workdir):
    found = saltjax.load(str(workdir))
    assert found.workdir == workdir
    assert found.network == written_run.NETWORK
    assert found.threshold == 0.1694612354040146
    assert found.postprocessing == Postprocessing(0.1694612354040146, 16)
    assert (found.tile, found.batch_size) == ((12, 10), 8)
    assert (found.normalize, found.direction, found.tta) == ("clip", "inline", False)
    assert found.result.test.f1 == 0.746
    jax.tree.map(np.testing.assert_array_equal, found.variables, written_run.VARIABLES)
    assert all(type(x) is np.ndarray for x in jax.tree.leaves(found.variables))


def test_predictor_prints_no_weights(workdir):
    assert len(repr(saltjax.load(workdir))) < 1000


@pytest.mark.parametrize("tta", [False, True])
def test_section_is_segmented_by_the_network(tmp_path, tta):
    """Tiles of the network's own size, so that nothing is resized, by the numpy network."""
    written_run.write(tmp_path / "run", {"eval.tta": tta})
    (tmp_path / "run/data.json").write_text('{"height": 16, "width": 16}')
    section = noise(20, 24)
    limit = np.percentile(np.abs(section), 99)
    image = np.clip(section / limit / 2 + 0.5, 0, 1)[None, :, :, None].repeat(3, axis=3)
    expected = numpy_prob(image)
    if tta:
        expected = (expected + numpy_prob(image[:, :, ::-1])[:, ::-1]) / 2
    found = saltjax.load(tmp_path / "run").predict(section)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def numpy_prob(image):
    params = written_run.VARIABLES["params"]
    logits = reference.unet(image, params, levels=2, strided=False, skip=True)
    return 1 / (1 + np.exp(-logits[0, :, :, 0]))


def test_volume_is_segmented_section_by_section(workdir):
    network, volume = saltjax.load(workdir), noise(3, 14, 20)
    volume[1, 5] = 0
    found = network.predict(volume)
    assert found.shape == volume.shape
    assert not found[1, 5].any()
    # All sections share the range of amplitudes: that of the volume's live traces.
    live = volume[np.abs(volume).max(axis=2) > 0]
    limit = np.percentile(np.abs(live), 99)
    scaled = dataclasses.replace(network, normalize="none")
    for inline, prob in zip(volume, found):
        unit = np.clip(inline.T / limit / 2 + 0.5, 0, 1).astype(np.float32)
        expected = np.where(np.abs(inline).max(axis=1) > 0, scaled.predict(unit), 0).T
        np.testing.assert_allclose(prob, expected, atol=1e-5)
    other = dataclasses.replace(network, direction="crossline").predict(volume)
    assert np.abs(other - found).max() > 1e-4


def test_arguments_of_predict_are_those_of_the_run_unless_given(tmp_path):
    for name, changes in (
        ("plain", {}),
        (
            "other",
            {
                "eval.tta": True,
                "predict.direction": "crossline",
                "predict.normalize": "minmax",
            },
        ),
    ):
        written_run.write(tmp_path / name, changes)
    volume = noise(9, 12, 30)
    plain, other = (saltjax.load(tmp_path / name) for name in ("plain", "other"))
    given = plain.predict(volume, tta=True, direction="crossline", normalize="minmax")
    np.testing.assert_array_equal(given, other.predict(volume))
    again = other.predict(volume, tta=False, direction="inline", normalize="clip")
    np.testing.assert_array_equal(again, plain.predict(volume))
    assert np.abs(given - again).max() > 1e-3
    both = plain.predict(volume, direction="both")
    inline, crossline = (
        plain.predict(volume, direction=d) for d in ("inline", "crossline")
    )
    np.testing.assert_allclose(both, (inline + crossline) / 2, atol=1e-6)
    with pytest.raises(InputError, match="direction='time'; expected one of inline"):
        plain.predict(volume, direction="time")
    with pytest.raises(InputError, match="normalize='max'; expected one of clip"):
        plain.mask(volume, normalize="max")


def test_mask_has_threshold_and_minimum_component_size(run):
    section = noise(40, 60)
    prob = saltjax.load(run).predict(section)
    threshold = float(np.quantile(prob, 0.8))
    loaded = saltjax.load(run)
    network = dataclasses.replace(loaded, postprocessing=Postprocessing(threshold, 12))
    labels, _ = ndimage.label(prob >= np.float32(threshold), np.ones((3, 3)))
    expected = (np.bincount(labels.ravel()) >= 12)[labels] & (labels > 0)
    found = network.mask(section)
    assert found.dtype == bool
    assert 0 < found.sum() < (prob >= threshold).sum()
    np.testing.assert_array_equal(found, expected)


def test_a_progress_bar_only_if_wanted(workdir, capsys, monkeypatch):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    network, section = saltjax.load(workdir), noise(40, 60)
    network.predict(section)
    assert capsys.readouterr().out == ""
    network.predict(section, progress=True)
    assert "Segmenting 2400/2400 samples" in capsys.readouterr().out
    assert not console.shown_bars


@pytest.mark.parametrize("tta", [False, True])
def test_section_model_takes_the_settings_of_the_run(tmp_path, tta):
    written_run.write(tmp_path / "run", {"eval.tta": tta})
    network = saltjax.load(tmp_path / "run")
    assert network.section_model().tta is tta
    assert network.section_model(not tta).tta is not tta
    model = network.section_model()
    assert (model.network, model.tile) == (written_run.NETWORK, (12, 10))
    assert model.batch_size == 8


def test_network_of_several_lines_takes_those_around_each_line(tmp_path):
    lines = {"data.context": 2, "data.volume": "a.npy", "data.labels": "b.npy"}
    written_run.write(tmp_path / "run", lines)
    network = saltjax.load(tmp_path / "run")
    volume = np.random.default_rng(0).integers(1, 256, (4, 14, 20), np.uint8)
    sections = [
        np.stack([volume[np.clip(i + d, 0, 3)].T for d in range(-2, 3)], axis=-1)
        for i in range(4)
    ]
    units = (np.float32(section) / 255 for section in sections)
    expected = windows.predict_sections(units, network.section_model())
    found = network.predict(volume)
    np.testing.assert_allclose(found, [prob.T for prob in expected], atol=1e-6)
    # A section is its own neighbour.
    alone = np.float32(volume[0].T[:, :, None]) / 255
    (expected,) = windows.predict_sections([alone], network.section_model())
    np.testing.assert_allclose(network.predict(volume[0].T), expected, atol=1e-6)


@pytest.mark.parametrize("channels", [3, 4])
def test_image_as_an_array_is_segmented_as_its_pixels(workdir, channels):
    """By the path of PNGs: colours are used, and a black column is no dead trace."""
    rng, network = np.random.default_rng(0), saltjax.load(workdir)
    array = rng.integers(0, 256, (14, 20, channels), np.uint8)
    array[:, 7], array[:, :, 3:] = 0, 255
    found = network.predict(array)
    assert (found.shape, found.dtype) == ((14, 20), np.float32)
    section = array[:, :, :3].astype(np.float32) / 255
    (expected,) = windows.predict_sections([section], network.section_model())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[:, 7].all()
    # An image of equal channels is that of its grey values.
    grey = np.repeat(array[:, :, :1], 3, axis=2)
    alone = network.predict(grey)
    np.testing.assert_allclose(
        np.delete(alone, 7, 1),
        np.delete(network.predict(grey[:, :, 0]), 7, 1),
        atol=1e-6,
    )
    assert np.abs(alone - found).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8"])
@pytest.mark.parametrize("shape", [(14, 20), (3, 9, 14)])
def test_masked_traces_are_dead(workdir, dtype, shape):
    rng, network = np.random.default_rng(0), saltjax.load(workdir)
    array = rng.integers(1, 200, shape).astype(dtype)
    mask = np.zeros(shape, bool)
    dead = (slice(None), 3) if len(shape) == 2 else (1, 3)
    mask[dead] = True
    found = network.predict(np.ma.array(array, mask=mask))
    assert type(found) is np.ndarray
    assert not found[dead].any()
    zeros = np.where(mask, np.zeros((), dtype), array)
    np.testing.assert_array_equal(found, network.predict(zeros))
    assert np.abs(found - network.predict(array)).max() > 1e-3
    # A mask that masks nothing.
    none = np.ma.array(array, mask=False)
    np.testing.assert_array_equal(network.predict(none), network.predict(array))


def test_home_directory_is_expanded(workdir, monkeypatch):
    monkeypatch.setenv("HOME", str(workdir.parent))
    assert saltjax.load(f"~/{workdir.name}").workdir == workdir


def test_weights_are_uploaded_once(workdir, monkeypatch):
    network, replicate, uploads = saltjax.load(workdir), devices.replicate, []

    def counted(tree, mesh):
        uploads.append(mesh.size)
        return replicate(tree, mesh)

    monkeypatch.setattr(devices, "replicate", counted)
    for seed in (0, 1):
        network.predict(np.random.default_rng(seed).random((12, 10)))
        network.section_model(tta=True).on_devices(1)
    assert uploads == [1]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), "expected"),
        (np.zeros((2, 2), complex), "expected"),
        (np.array([[1, np.nan], [2, 3]]), "not finite"),
        (
            np.ma.array(np.ones((4, 2)), mask=[[0, 1]] + [[0, 0]] * 3),
            "trace 2 is masked",
        ),
        (np.zeros((5, 6, 4), np.uint8), "transparent"),
        (
            np.ma.array(
                np.ones((5, 6, 3), np.uint8), mask=np.eye(5, 6)[:, :, None] * np.ones(3)
            ),
            "masked pixels",
        ),
    ],
    ids=["shape", "dtype", "nan", "masked samples", "transparent", "masked pixels"],
)
def test_invalid_array_is_refused(workdir, array, message):
    with pytest.raises(ValueError, match=message):
        saltjax.load(workdir).predict(array)


def with_postprocessing(network, threshold, area):
    chosen = Postprocessing(threshold, area)
    return dataclasses.replace(network, postprocessing=chosen)


def test_postprocessing_of_several_runs_is_their_mean(workdir):
    network = saltjax.load(workdir)
    several = [
        with_postprocessing(network, 0.25, 0),
        with_postprocessing(network, 0.5, 9),
        with_postprocessing(network, 0.75, 8),
    ]
    common = predictor.common_postprocessing
    assert common(several[:1]) == Postprocessing(0.25, 0)
    assert common(several) == Postprocessing(0.5, 6)
    assert common(several, threshold=0.9) == Postprocessing(0.9, 6)
    assert common(several, threshold=0.0) == Postprocessing(0.0, 6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"config\.json: cannot read"),
        ("config.json", "{", r"config\.json: damaged"),
        ("config.json", "{}", "of another version"),
        ("result.json", None, "holds no finished run"),
        ("result.json", "{}", r"result\.json: damaged"),
        ("data.json", None, r"data\.json: cannot read"),
        ("data.json", "{}", r"data\.json: damaged .*field `height`"),
        ("data.json", '{"height": "tall", "width": 3}', r"data\.json: damaged"),
        ("data.json", '{"height": null, "width": 3}', r"data\.json: damaged"),
        ("checkpoints/best/sha256.json", "{}", "no intact checkpoint is left"),
    ],
)
def test_run_that_cannot_be_used_is_refused(run, name, content, message):
    if content is None:
        (run / name).unlink()
    else:
        (run / name).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        saltjax.load(run)
    assert isinstance(caught.value, InputError)
    assert str(run) in str(caught.value)


def test_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"config\.json: cannot read"):
        saltjax.load(tmp_path)


def test_checkpoint_of_another_epoch_than_the_result_is_refused(run):
    best = run / "checkpoints/best"
    checkpoint.save(best, written_run.VARIABLES, {"epoch": 1, "val_loss": 0.5})
    with pytest.raises(InputError, match=r"is of epoch 2, but the best .* of epoch 1"):
        saltjax.load(run)


def test_damage_is_logged_and_not_printed(run, caplog, capsys):
    best = run / "checkpoints/best"
    checkpoint.save(best, written_run.VARIABLES, {"epoch": 2, "val_loss": 0.5})
    (best / "sha256.json").write_text("{}")
    assert saltjax.load(run).threshold == 0.1694612354040146
    (record,) = (r for r in caplog.records if r.name == "saltjax")
    assert record.levelname == "WARNING"
    assert f"Checkpoint {best} is damaged" in record.message
    assert {path.name for path in best.parent.iterdir()} == {"best", "best.old"}
    assert capsys.readouterr().out == ""


def test_checkpoint_that_cannot_be_read_is_left_as_it_is(run):
    """A link to itself stands for a file without permission, or on a disk that has gone."""
    best = run / "checkpoints/best"
    (best / "sha256.json").rename(run / "kept")
    (best / "sha256.json").symlink_to("sha256.json")
    with pytest.raises(InputError, match=f"^cannot read {best}/sha256.json: Too many"):
        saltjax.load(run)
    assert [path.name for path in best.parent.iterdir()] == ["best"]
    (run / "kept").rename(best / "sha256.json")
    assert saltjax.load(run).threshold == 0.1694612354040146


def test_weights_of_another_model_are_refused(run):
    tree = json.loads((run / "config.json").read_text())
    tree["model"]["features"] = [2, 6]
    (run / "config.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match="best is intact, but its arrays are not"):
        saltjax.load(run)
    assert (run / "checkpoints/best/sha256.json").exists()


def test_run_of_an_older_version_is_loaded(run):
    tree = json.loads((run / "config.json").read_text())
    tree["eval"]["min_area"] = "auto"
    (run / "config.json").write_text(json.dumps(tree))
    found = saltjax.load(run)
    assert (found.postprocessing.min_area, found.tile) == (16, (12, 10))


# The libraries that saltjax imports are imported first: what they change is not asked here.
