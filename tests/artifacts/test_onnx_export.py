"""ONNX models of images, and the script that applies them, called without saltjax."""

import json
import subprocess
import sys

import numpy as np
import pytest
import written_run
from other_networks import write_run

import saltjax
from saltjax import export
from saltjax.artifacts import onnx_export, standalone
from saltjax.inference import axes
from saltjax.system.errors import InputError

pytest.importorskip("jax2onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow
# Runs as a user does; saltjax and JAX are not to be found.
SCRIPT = """
import sys
for name in ("jax", "jaxlib", "flax", "saltjax"):
    sys.modules[name] = None
sys.path.insert(0, sys.argv[1])
import numpy as np
import salt
predictor = salt.Predictor()
inputs = np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: predictor.predict(inputs[name]) for name in inputs.files})
print(predictor.settings["threshold"], predictor.settings["min_area"])
"""


def apply_script(folder, arrays):
    """Returns the probabilities that salt.py in a folder computes, and what was printed."""
    np.savez(folder / "in.npz", **arrays)
    words = [str(folder), str(folder / "in.npz"), str(folder / "out.npz")]
    command = [sys.executable, "-P", "-c", SCRIPT, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    with np.load(folder / "out.npz") as found:
        return dict(found), done.stdout


def amplitudes(*shape):
    """Returns amplitudes float32 with dead traces."""
    values = np.random.default_rng(0).normal(30, 900, shape).astype(np.float32)
    if len(shape) == 2:
        values[:, 3], values[:, 7] = 0, np.nan
    else:
        values[1, 3], values[2] = 0, np.nan
    return values


@pytest.mark.parametrize(
    ("method", "size"),
    [("nearest", 16), ("nearest", 8), ("bilinear", 16), ("bilinear", 8), ("pad", 16)],
)
def test_the_script_gives_what_the_run_gives(tmp_path, monkeypatch, method, size):
    """For sections and volumes, images, and sections of many windows."""
    # Of U-Nets with three levels, whose receptive field is small.
    monkeypatch.setattr(axes, "WINDOW", 64)
    axes.divide.cache_clear()
    normalize = {"nearest": "clip", "bilinear": "minmax", "pad": "clip"}[method]
    run = write_run(
        tmp_path / "run",
        **{
            "data.resize": method,
            "data.image_size": size,
            "predict.normalize": normalize,
            "predict.direction": {16: "both", 8: "crossline"}[size],
            "eval.tta": method == "pad",
        },
    )
    export.export(run, str(tmp_path / "salt.onnx"))
    rng = np.random.default_rng(1)
    arrays = {
        "section": amplitudes(150, 130),
        "tiny": amplitudes(7, 9),
        "volume": amplitudes(5, 14, 90),
        "one_inline": amplitudes(5, 14, 90)[:1],
        "grey": rng.integers(0, 256, (40, 30), np.uint8),
        "image": rng.integers(0, 256, (31, 45, 3), np.uint8),
        "integers": rng.integers(-900, 900, (33, 20), np.int16),
        "dead": np.zeros((12, 15), np.float32),
    }
    found, printed = apply_script(tmp_path, arrays)
    network = saltjax.load(run)
    assert printed.split() == [str(network.threshold), "16"]
    for name, array in arrays.items():
        expected = network.predict(array)
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape
        np.testing.assert_allclose(found[name], expected, atol=1e-5, err_msg=name)
    assert np.ptp(found["section"]) > 1e-2
    axes.divide.cache_clear()


@pytest.mark.parametrize(
    "model",
    [
        {"norm": "batch"},
        {"norm": "group"},
        {"downsample": "strided"},
        {"skip": False},
        {"name": "fcn"},
    ],
)
def test_all_kinds_of_networks_of_any_size(tmp_path, model):
    run = write_run(tmp_path / "run", model, **{"eval.tta": True})
    export.export(run, str(tmp_path / "salt.onnx"))
    section = amplitudes(50, 40)
    found, _ = apply_script(tmp_path, {"section": section})
    network = saltjax.load(run)
    np.testing.assert_allclose(found["section"], network.predict(section), atol=1e-4)
    session = onnxruntime.InferenceSession(str(tmp_path / "salt.onnx"))
    (given,) = session.get_inputs()
    assert given.shape == ["B", "H", "W", 3]
    image = np.random.default_rng(7).random((2, 24, 38, 3), np.float32)
    (prob,) = session.run(None, {"image": image})
    # The network without mirror images, computed as flax does.
    plain = network.network.model.apply(network.variables, image)[..., 0]
    mirrored = network.network.model.apply(network.variables, image[:, :, ::-1])[..., 0]
    expected = [1 / (1 + np.exp(-logits)) for logits in (plain, mirrored[:, :, ::-1])]
    np.testing.assert_allclose(prob, np.mean(expected, axis=0), atol=1e-4)


def test_a_network_that_upsamples_by_interpolation_has_one_size_and_no_script(tmp_path):
    run = write_run(tmp_path / "run", {"upsample": "bilinear"})
    export.export(run, str(tmp_path / "salt.onnx"))
    assert not (tmp_path / "salt.py").exists()
    description = json.loads((tmp_path / "salt.json").read_text())
    assert description["image"] == "float32[1, 16, 16, 3] in [0, 1]"
    session = onnxruntime.InferenceSession(str(tmp_path / "salt.onnx"))
    image = np.random.default_rng(7).random((1, 16, 16, 3), np.float32)
    (prob,) = session.run(None, {"image": image})
    network = saltjax.load(run)
    logits = network.network.model.apply(network.variables, image)[..., 0]
    np.testing.assert_allclose(prob, 1 / (1 + np.exp(-logits)), atol=1e-4)


def test_the_description_can_be_followed(plain, tmp_path, monkeypatch):
    export.export(plain, str(tmp_path / "a.onnx"))
    description = json.loads((tmp_path / "a.json").read_text())
    stride = saltjax.load(plain).network.stride
    assert description["image"].endswith(f"any B; H and W multiples of {stride}")
    assert description["platforms"] == ["onnx"]
    image = np.random.default_rng(7).random((1, 16, 16 + stride, 3), np.float32)
    monkeypatch.chdir(tmp_path)
    names = {"onnxruntime": onnxruntime, "image": image}
    assert eval(description["call"], names).shape == image.shape[:3]


def test_the_weights_are_stored_once(tmp_path):
    run = write_run(tmp_path / "run", **{"eval.tta": True})
    export.export(run, str(tmp_path / "a.onnx"))
    kernels = sum(
        x.nbytes for x in written_run.VARIABLES["params"]["encoder1"]["conv2"].values()
    )
    import onnx

    model = onnx.load(tmp_path / "a.onnx")
    sizes = [len(t.raw_data) for t in model.graph.initializer]
    contents = [t.raw_data for t in model.graph.initializer if len(t.raw_data) > 32]
    assert len(set(contents)) == len(contents)
    assert sum(sizes) < 20 * kernels


def test_the_check_notices_other_weights(plain, tmp_path):
    predictor = saltjax.load(plain)
    (tmp_path / "a.onnx").write_bytes(onnx_export.convert(predictor))
    assert onnx_export.check(tmp_path / "a.onnx", predictor) < 1e-4
    predictor.variables["params"]["head"]["bias"] = np.ones(1, np.float32)
    assert onnx_export.check(tmp_path / "a.onnx", predictor) > 1e-2


def test_the_script_from_the_command_line(plain, tmp_path):
    export.export(plain, str(tmp_path / "salt.onnx"))
    section = amplitudes(30, 40)
    np.save(tmp_path / "a.npy", section)
    command = [sys.executable, "salt.py", "a.npy", "prob.npy"]
    subprocess.run(command, check=True, cwd=tmp_path)
    expected = saltjax.load(plain).predict(section)
    np.testing.assert_allclose(np.load(tmp_path / "prob.npy"), expected, atol=1e-4)
    done = subprocess.run(command[:2], check=False, cwd=tmp_path, capture_output=True)
    assert done.returncode
    assert b"usage: python salt.py section.npy prob.npy" in done.stderr


def test_an_export_of_the_same_name_leaves_nothing_that_does_not_fit(plain, tmp_path):
    pytest.importorskip("h5py")
    for dialect, beside in (
        (None, "salt.py"),
        ("opendtect", "salt.h5"),
        (None, "salt.py"),
    ):
        export.export(plain, str(tmp_path / "salt.onnx"), dialect)
        names = {p.name for p in tmp_path.iterdir() if not p.name.startswith(".")}
        assert names == {"salt.onnx", "salt.json", beside}
    # Of the user's files only those in the way are refused.
    (tmp_path / "own.h5").write_text("x")
    export.export(plain, str(tmp_path / "own.onnx"))
    assert (tmp_path / "own.h5").read_text() == "x"
    with pytest.raises(InputError, match=r"own\.h5: not written by this program"):
        export.export(plain, str(tmp_path / "own.onnx"), "opendtect")


@pytest.mark.parametrize("name", ["json", "numpy"])
def test_a_script_has_not_the_name_of_a_module(plain, tmp_path, name):
    with pytest.raises(InputError, match=f"script {name}.py would be taken for"):
        export.export(plain, str(tmp_path / f"{name}.onnx"))


def test_arrays_that_the_script_refuses(plain, tmp_path):
    (tmp_path / "a.onnx").write_bytes(onnx_export.convert(saltjax.load(plain)))
    predictor = standalone.Predictor(tmp_path / "a.onnx")
    section = amplitudes(20, 30)
    opaque = np.full((20, 30, 4), 255, np.uint8)
    np.testing.assert_allclose(
        predictor.predict(opaque), saltjax.load(plain).predict(opaque), atol=1e-4
    )
    masked = np.ma.masked_array(section, np.zeros(section.shape, bool))
    masked[:, 5] = np.ma.masked
    np.testing.assert_allclose(
        predictor.predict(masked), saltjax.load(plain).predict(masked), atol=1e-4
    )
    masked[3, 8] = np.ma.masked
    opaque[2, 2, 3] = 9
    section[4, 4] = np.inf
    for array, message in (
        (masked, "masked"),
        (opaque, "transparent"),
        (section, "finite"),
        (np.zeros(5), "expected 2 or 3 axes"),
        (np.zeros((0, 5)), "expected numbers"),
        (np.zeros((4, 5), bool), "expected numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            predictor.predict(array)
    predictor.settings["normalize"] = "none"
    with pytest.raises(ValueError, match="not in"):
        predictor.predict(amplitudes(20, 30))
