"""Exports for OpendTect, loaded and applied by the rules of its machine-learning plug-in."""

import json

import forked
import numpy as np
import pytest
import written_run
from other_networks import write_run
from program import assert_refused

import saltjax
from saltjax import export
from saltjax.artifacts import opendtect
from saltjax.seismic import amplitudes

h5py = pytest.importorskip("h5py")


class Model:
    """A model as OpendTect loads it, from the descriptor to the array that it shows."""

    def __init__(self, descriptor):
        import onnx
        import onnxruntime

        with h5py.File(descriptor) as file:
            self.attributes = {
                key: value.decode() for key, value in file["++info++"].attrs.items()
            }
            kind, path = (file["model"].attrs[k].decode() for k in ("type", "path"))
        assert kind == self.attributes["Model.Type"] == "onnx"
        # A model is looked for beside its descriptor: by its name, or by that of the descriptor.
        beside = [
            place
            for place in (descriptor.with_suffix(".onnx"), descriptor.parent / path)
            if place.exists()
        ]
        model = onnx.load(beside[0])
        onnx.checker.check_model(model)
        self.version = model.model_version
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        (shape,) = (
            [d.dim_value for d in i.type.tensor_type.shape.dim]
            for i in model.graph.input
        )
        self.shape = shape
        self.session = onnxruntime.InferenceSession(str(beside[0]))

    def shape_of(self, key):
        return tuple(map(int, self.attributes[key].split("`")))

    def apply(self, samples):
        """Returns what is shown for samples [n, attributes, inlines, crosslines, samples]."""
        found = []
        for sample in samples:
            one = sample[None]
            if self.metadata["data_format"] == "channels_first":
                if one.shape[2] == 1:
                    one = one[:, :, 0]
            else:
                one = np.moveaxis(one, 1, -1)
            name = self.session.get_inputs()[0].name
            outputs = np.array(self.session.run(None, {name: one}))
            found.extend(outputs[-1])
        return np.array(found)


def section(traces, samples, seed=0):
    """Returns amplitudes [traces, samples] with two dead traces."""
    values = np.random.default_rng(seed).normal(20, 900, (traces, samples))
    values = np.cumsum(values, axis=1).astype(np.float32)
    values[[3, traces - 1]] = 0
    return values


@pytest.mark.slow
@pytest.mark.parametrize("tile", [None, ["24", "40"]])
@pytest.mark.parametrize("normalize", ["clip", "minmax"])
@pytest.mark.parametrize("method", ["pad", "bilinear"])
def test_opendtect_applies_what_predict_computes(tmp_path, tile, normalize, method):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    run = tmp_path / "run"
    written_run.write(
        run,
        {
            "data.resize": method,
            "predict.normalize": normalize,
            "eval.tta": True,
        },
    )
    (run / "data.json").write_text('{"height": 11, "width": 9}')
    export.export(run, str(tmp_path / "out/salt.onnx"), "opendtect", tile)
    # Moved and renamed by the user, both alike.
    (tmp_path / "out/salt.onnx").rename(tmp_path / "moved.onnx")
    (tmp_path / "out/salt.h5").rename(tmp_path / "moved.h5")
    model = Model(tmp_path / "moved.h5")
    traces, samples = map(int, tile or (9, 11))
    assert model.shape_of("Input.Shape") == model.shape_of("Output.Shape")
    assert model.shape_of("Input.Shape") == (1, traces, samples)
    assert model.shape == [0, 1, traces, samples]
    assert model.attributes["Type"] == "Seismic Image Transformation"
    assert model.attributes["Input.Scaling.Type"] == "None"
    assert model.attributes["Output.Unscale"] == "No"
    assert model.attributes["Model.Name"] == "salt"
    assert model.metadata["data_format"] == "channels_first"
    assert model.metadata["scaling_type"] == "None"
    assert int(model.metadata["model_version"]) == model.version == 1
    assert model.metadata["creation_date"]
    inputs = np.stack([section(traces, samples, seed) for seed in (0, 1)])
    found = model.apply(inputs[:, None, None])
    assert found.shape == (2, 1, traces, samples)
    network = saltjax.load(run)
    for prob, values in zip(found[:, 0], inputs):
        expected = network.predict(values.T).T
        assert np.ptp(expected) > 1e-3
        np.testing.assert_allclose(prob, expected, atol=1e-4)
        assert not prob[3].any()
    # Undefined values count as zeros.
    inputs[0, 5:7] = 1e30
    again = model.apply(inputs[:, None, None])[0, 0]
    inputs[0, 5:7] = 0
    np.testing.assert_allclose(again, network.predict(inputs[0].T).T, atol=1e-4)


@pytest.mark.slow
def test_a_network_that_upsamples_by_interpolation_takes_one_section(tmp_path):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    run = write_run(tmp_path / "run", {"upsample": "bilinear"})
    export.export(run, str(tmp_path / "salt.onnx"), "opendtect")
    model = Model(tmp_path / "salt.h5")
    assert model.shape == [1, 1, 9, 11]
    description = json.loads((tmp_path / "salt.json").read_text())
    assert description["image"] == (
        "float32[1, 1, 9, 11] amplitudes; 9 traces of 11 samples"
    )
    values = section(9, 11)
    expected = saltjax.load(run).predict(values.T).T
    found = model.apply(values[None, None, None])
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-4)


@pytest.mark.slow
def test_the_description_and_another_dtype(tmp_path, plain):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    export.export(plain, str(tmp_path / "salt.onnx"), "opendtect")
    description = json.loads((tmp_path / "salt.json").read_text())
    height, width = saltjax.load(plain).tile
    assert description["image"].startswith(
        f"float32[B, 1, {width}, {height}] amplitudes"
    )
    assert "which the model scales" in description["channels"]
    assert Model(tmp_path / "salt.h5").shape == [0, 1, width, height]


@pytest.mark.parametrize("normalize", ["clip", "minmax", "none"])
@pytest.mark.parametrize("share", [0.0, 0.004, 1.0])
def test_sections_are_scaled_as_by_numpy(normalize, share):
    rng = np.random.default_rng(1)
    values = np.where(rng.random((7, 60)) < share, rng.normal(5, 300, (7, 60)), 0)
    values[1] = rng.normal(0, 100, 60) * (share > 0)
    if normalize == "none":
        values = np.clip(np.abs(values) / 1000, 0, 1)
    values = values.astype(np.float32)
    method, limits = amplitudes.scaling(values, normalize)
    expected = amplitudes.to_unit(values, limits, method)
    image = values.T[None, :, :, None]
    live = (image != 0).any(axis=1, keepdims=True)
    found = np.asarray(opendtect.to_unit(image, live, normalize))[0, :, :, 0].T
    alive = amplitudes.live(values)
    np.testing.assert_allclose(found[alive], expected[alive], atol=2e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tile=64,64"], "--tile=64,64 is of --dialect, which is not given"),
        (
            ["--dialect=opendtect", "--tile=64"],
            "--tile=64; expected traces and samples",
        ),
        (["--dialect=opendtect", "--tile=64,x"], "--tile=64,x; expected traces"),
        (["--dialect=petrel"], "--dialect=petrel"),
    ],
)
def test_mistakes(plain, tmp_path, words, message):
    base = ["--mode=export", f"--workdir={plain}", f"--output={tmp_path}/a.onnx"]
    assert_refused(forked.launch(*base, *words), message)


def test_sections_that_a_network_cannot_take(plain, tmp_path):
    line = ["--mode=export", f"--workdir={plain}", "--dialect=opendtect"]
    refused = forked.launch(*line, f"--output={tmp_path}/dir")
    assert_refused(refused, "expected a file *.onnx")
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    line.append(f"--output={tmp_path}/a.onnx")
    refused = forked.launch(*line, "--tile=4,9000")
    assert_refused(refused, "--tile=4,9000; expected traces and samples, at least 8")
    refused = forked.launch(*line, "--tile=2000,2000")
    assert_refused(refused, "in all at most 2000000 samples")
    refused = forked.launch(*line, "--tile=64,64")  # group norm
    assert_refused(refused, "applied to windows of its training size")
    run = tmp_path / "run"
    lines = {"data.context": 1, "data.volume": "a.npy", "data.labels": "b.npy"}
    written_run.write(run, lines)
    line[1] = f"--workdir={run}"
    assert_refused(forked.launch(*line), "a network of several lines")
