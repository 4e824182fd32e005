"""Exported networks, called without saltjax."""

import dataclasses
import json
import logging
import re
import subprocess
import sys

import forked
import jax
import numpy as np
import pytest
import reference
import safetensors.numpy
import written_run
from program import assert_refused

import saltjax
from saltjax import export
from saltjax.artifacts import jax_export
from saltjax.artifacts.description import describe
from saltjax.runs import network_file, trained
from saltjax.system import output_directory
from saltjax.system.errors import InputError


@pytest.mark.slow
def test_the_artifact_gives_what_the_run_gives(plain, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "saltjax")
    folder = tmp_path / "out"
    monkeypatch.chdir(tmp_path)
    export.export(plain, "out")
    caplog.clear()
    export.export(plain, "out")  # replaces it
    (difference,) = re.findall(r"Checked .* differs by (\S+) from the run", caplog.text)
    assert float(difference) <= 1e-5
    description = json.loads((folder / "model.json").read_text())
    network = saltjax.load(plain)
    assert description["threshold"] == network.threshold
    assert description["platforms"] == ["cpu", "cuda", "tpu"]
    assert "101 rows and 101 columns" in description["scale"]
    # As model.json says, in a process that does not import saltjax.
    code = (
        "import jax, numpy as np, sys; image = np.load('image.npy');"
        f"np.save('prob.npy', {description['call']}); assert 'saltjax' not in sys.modules"
    )
    image = np.random.default_rng(5).random((3, 21, 34, 3), np.float32)
    np.save(folder / "image.npy", image)
    command = [sys.executable, "-c", code]
    subprocess.run(command, check=True, cwd=folder)
    found = np.load(folder / "prob.npy")
    expected = network.network.model.apply(network.variables, image)[..., 0]
    assert found.shape == (3, 21, 34)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-expected)), atol=1e-5)


def test_a_padded_networks_description_says_how_to_pad_and_not_to_resize(tmp_path):
    """As it says, the network gives the probabilities that `predict` writes."""
    run = tmp_path / "run"
    written_run.write(run, {"data.resize": "pad"})
    (run / "data.json").write_text('{"height": 11, "width": 9}')
    predictor = saltjax.load(run)
    network = trained.read(trained.locate(run))
    description = describe(predictor, network, tmp_path / "a.jaxexport")
    assert "do not resize sections" in description["scale"]
    (numbers,) = re.findall(
        r"mirror them by (\d+) rows above, (\d+) below, (\d+) columns to the left and (\d+) to",
        description["scale"],
    )
    assert numbers == ("2", "3", "3", "4")
    section = np.random.default_rng(0).integers(1, 256, (21, 33), np.uint8)
    image = np.pad(section / 255, ((2, 3), (3, 4)), mode="reflect")
    logits = reference.unet(
        image[None, :, :, None].repeat(3, axis=3),
        written_run.VARIABLES["params"],
        levels=2,
        strided=False,
        skip=True,
    )
    expected = 1 / (1 + np.exp(-logits[0, 2:-3, 3:-4, 0]))
    np.testing.assert_allclose(predictor.predict(section), expected, atol=1e-5)


SEVERAL_LINES = {
    "data.context": 2,
    "data.volume": "a.npy",
    "data.labels": "b.npy",
    "data.direction": "crossline",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out", "model.onnx"])
def test_a_network_of_several_lines_takes_as_many_channels(tmp_path, name):
    """The middle one is the section, as the description says."""
    if name == "model.onnx":
        pytest.importorskip("jax2onnx")
    written_run.write(tmp_path / "run", SEVERAL_LINES)
    export.export(tmp_path / "run", f"{tmp_path}/{name}")
    folder = tmp_path / "out" if name == "out" else tmp_path
    description = json.loads((folder / "model.json").read_text())
    assert description["image"].startswith("float32[B, ")
    assert ", 5] in [0, 1], any B" in description["image"]
    assert description["channels"].startswith("channel 2, counted from 0, is the sec")
    assert (
        "the 2 sections before it in the order of crossline" in description["channels"]
    )
    image = np.random.default_rng(5).random((2, 16, 16, 5), np.float32)
    if name == "out":
        artifact = bytearray((folder / "model.jaxexport").read_bytes())
        found = jax.export.deserialize(artifact).call(image)
    else:
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
        (found,) = session.run(None, {"image": image})
    network = saltjax.load(tmp_path / "run")
    expected = network.network.model.apply(network.variables, image)[..., 0]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-expected)), atol=1e-4)


def test_a_network_file_of_several_lines_is_read_again(tmp_path):
    written_run.write(tmp_path / "run", SEVERAL_LINES)
    (tmp_path / "run/env.json").write_text("[]")
    export.export(tmp_path / "run", f"{tmp_path}/net.safetensors")
    found, expected = (
        saltjax.load(tmp_path / name) for name in ("net.safetensors", "run")
    )
    assert found.network == expected.network
    assert found.network.channels == 5
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)


@pytest.mark.slow
def test_the_check_opens_no_accelerator(plain, tmp_path, monkeypatch):
    """Which this process, or another, can have all memory of."""
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    model = saltjax.load(plain).section_model()
    (tmp_path / "a").write_bytes(jax_export.serialize(model))
    assert jax_export.check(tmp_path / "a", model) <= 1e-5


@pytest.mark.slow
def test_the_check_compares_with_the_run_on_the_cpu(plain, tmp_path, monkeypatch):
    seen = set()

    def check(artifact, model):
        seen.update(jax.numpy.zeros(1).devices())
        return 0.0

    monkeypatch.setattr(jax_export, "check", check)
    with jax.default_device(jax.devices()[2]):
        export.export(plain, str(tmp_path / "out"))
    assert seen == {jax.devices("cpu")[0]}


@pytest.mark.slow
def test_a_network_file_is_checked_and_written(plain, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "saltjax")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # it replaces itself
        export.export(plain, "out/net.safetensors")
        assert (
            "Checked    read again: the same probabilities as the run's" in caplog.text
        )
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"net.safetensors", output_directory.RECORD}
    content = (tmp_path / "out/net.safetensors").read_bytes()
    export.export(tmp_path / "out/net.safetensors", "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == content
    found, expected = saltjax.load("copy.safetensors"), saltjax.load(plain)
    section = np.random.default_rng(0).normal(0, 1, (21, 34))
    np.testing.assert_array_equal(found.predict(section), expected.predict(section))
    assert (found.tile, found.tta) == (expected.tile, expected.tta)
    assert dataclasses.replace(found.result, data=expected.result.data) == (
        expected.result
    )


def test_a_network_file_does_not_replace_itself_as_the_input(plain, tmp_path):
    path = tmp_path / "net.safetensors"
    export.export(plain, str(path))
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"net\.safetensors is an input"):
        export.export(path, str(path))
    assert path.read_bytes() == content


@pytest.mark.slow
def test_a_network_file_is_exported_as_its_run(plain, tmp_path):
    export.export(plain, f"{tmp_path}/net.safetensors")
    export.export(tmp_path / "net.safetensors", f"{tmp_path}/out")
    description = json.loads((tmp_path / "out/model.json").read_text())
    assert description["run"] == "net"
    assert description["threshold"] == saltjax.load(plain).threshold


def test_a_network_file_that_differs_is_not_written(plain, tmp_path, monkeypatch):
    encode = network_file.encode

    def other(trained, starts):
        variables = jax.tree.map(lambda x: x * np.float32(1.5), trained.variables)
        return encode(dataclasses.replace(trained, variables=variables), starts)

    monkeypatch.setattr(network_file, "encode", other)
    with pytest.raises(RuntimeError, match="differ from the run's by"):
        export.export(plain, f"{tmp_path}/net.safetensors")

    def other_threshold(trained, starts):
        result = dataclasses.replace(trained.result, min_area=7)
        return encode(dataclasses.replace(trained, result=result), starts)

    monkeypatch.setattr(network_file, "encode", other_threshold)
    with pytest.raises(RuntimeError, match="min_area=7"):
        export.export(plain, f"{tmp_path}/net.safetensors")
    assert [p.name for p in tmp_path.iterdir() if "net" in p.name] == []


@pytest.mark.parametrize("damage", ["truncated", "foreign", "text"])
def test_a_network_file_that_cannot_be_used_ends_with_status_2(plain, tmp_path, damage):
    path = tmp_path / "net.safetensors"
    export.export(plain, str(path))
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-100],
            "foreign": safetensors.numpy.save({"w": np.ones(3)}),
            "text": b"version https://git-lfs.github.com/spec/v1\n" * 9,
        }[damage]
    )
    np.save(tmp_path / "s.npy", np.ones((20, 20), np.float32))
    done = forked.launch(
        "--mode=predict",
        f"--workdir={path}",
        f"--input={tmp_path}/s.npy",
        f"--output={tmp_path}/out",
    )
    assert_refused(done, str(path), "--mode=export --output=NAME.safetensors wrote")
    assert not (tmp_path / "out").exists()


def test_an_artifact_that_differs_is_not_written(plain, tmp_path, monkeypatch):
    monkeypatch.setattr(jax_export, "check", lambda artifact, model: 2e-5)
    with pytest.raises(RuntimeError, match=r"differ from the run's by 2\.0e-05"):
        export.export(plain, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_check_notices_other_weights(plain, tmp_path):
    model = saltjax.load(plain).section_model()
    (tmp_path / "a").write_bytes(jax_export.serialize(model))
    model.variables["params"]["head"]["bias"] = np.ones(1, np.float32)
    assert jax_export.check(tmp_path / "a", model) > 1e-2


@pytest.mark.parametrize(
    ("module", "output", "message"),
    [
        ("flatbuffers", "out", r"pip install flatbuffers$"),
        ("onnxruntime", "a.onnx", r"pip install jax2onnx==0.13.0 onnxruntime$"),
    ],
)
def test_a_missing_library_is_named(
    plain, tmp_path, monkeypatch, module, output, message
):
    for name in [
        n for n in sys.modules if n.startswith("jax._src.export.serialization")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=message):
        export.export(plain, str(tmp_path / output))


@pytest.mark.parametrize(
    ("output", "other"),
    [
        ("out", "out/model.jaxexport"),
        ("out", "out/model.json"),
        ("out/a.onnx", "out/a.onnx"),
        ("out/a.onnx", "out/a.json"),
    ],
)
def test_a_file_that_is_no_export_is_not_replaced(plain, tmp_path, output, other):
    (tmp_path / "out").mkdir()
    (tmp_path / other).write_text("by hand")
    with pytest.raises(InputError, match=f"{other}: not written by this program"):
        export.export(plain, str(tmp_path / output))
    assert (tmp_path / other).read_text() == "by hand"


def test_an_output_that_is_missing_or_a_file_is_refused(plain, tmp_path):
    with pytest.raises(InputError, match="needs --output"):
        export.export(plain, "")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        export.export(plain, str(tmp_path / "file"))


@pytest.mark.slow
def test_a_whole_file_name_is_taken_as_given(plain, tmp_path):
    export.export(plain, str(tmp_path / "my.jaxexport"))
    assert (tmp_path / "my.jaxexport").is_file()
    description = json.loads((tmp_path / "my.json").read_text())
    assert "open('my.jaxexport', 'rb')" in description["call"]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"my.jaxexport", "my.json", output_directory.RECORD}
