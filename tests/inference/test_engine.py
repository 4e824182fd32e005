"""OpenVINO in place of JAX: the same probabilities, and a clear answer where it cannot give them."""

import concurrent.futures
import dataclasses
import importlib.util
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
from inference.test_windows import LAYERS, make_model, noise

import saltjax
from saltjax.inference import engine, onnx, windows
from saltjax.inference.engine import OpenVINO
from saltjax.system.errors import InputError


@pytest.fixture
def openvino():
    # Not imported here: its telemetry would send a report from a forked process.
    for name in ("jax2onnx", "openvino"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def with_engine(model, precision="float32"):
    return dataclasses.replace(model, engine=OpenVINO(precision))


@pytest.mark.slow
@pytest.mark.parametrize("unet", LAYERS, ids=range(len(LAYERS)))
@pytest.mark.parametrize("complement", [False, True])
def test_probabilities_are_those_of_jax(openvino, monkeypatch, unet, complement):
    """Of one section and of two in a batch, of the size of a tile and of another."""
    model = make_model(unet, size=64, tile=(64, 64), tta=complement)
    shapes = (64, 64), (51, 54), (51, 54)
    sections = [noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    expected = [
        canvas.at_network().copy()
        for canvas in windows.predict_canvases(iter(sections), model, complement)
    ]
    other = with_engine(model)
    # JAX computes one window for each program, to check it.
    monkeypatch.setattr(windows, "predict_step", None)
    found = list(windows.predict_canvases(iter(sections), other, complement))
    assert len(found) == len(sections)
    for canvas, prob in zip(found, expected):
        assert prob.std() > 1e-4
        np.testing.assert_allclose(canvas.at_network(), prob, atol=1e-5)


@pytest.mark.slow
def test_bfloat16_rounds(openvino):
    model = make_model(LAYERS[0], size=64, tile=(64, 64))
    try:
        other = with_engine(model, "bfloat16")
    except InputError as error:
        pytest.skip(str(error))
    section = noise(64, 64)
    (exact,) = windows.predict_sections([section], model)
    (rounded,) = windows.predict_sections([section], other)
    assert 1e-5 < np.abs(rounded - exact).max() < 0.05


@pytest.mark.slow
def test_other_probabilities_are_refused(openvino, monkeypatch):
    """A conversion that loses a weight, as a wrong one may."""
    convert = onnx.convert

    def wrong(model, *args):
        variables = jax.tree.map(np.array, model.variables)
        variables["params"]["head"]["bias"][:] += 0.02
        return convert(dataclasses.replace(model, variables=variables), *args)

    monkeypatch.setattr(onnx, "convert", wrong)
    model = with_engine(make_model(LAYERS[0], size=64, tile=(64, 64)))
    with pytest.raises(InputError, match=r"differ from those of JAX by [45]\.\de-03"):
        next(windows.predict_sections([noise(64, 64)], model))


@pytest.mark.parametrize("missing", ["openvino", "jax2onnx"])
def test_what_is_not_installed_is_named(monkeypatch, missing):
    if missing == "jax2onnx" and importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    monkeypatch.setitem(sys.modules, missing, None)
    model = make_model(LAYERS[0], size=64, tile=(64, 64))

    def predict():
        next(windows.predict_sections([noise(64, 64)], with_engine(model)))

    with pytest.raises(InputError, match=f"{missing}.* not installed: pip install"):
        predict()


def test_a_cpu_without_bfloat16_is_named(openvino, monkeypatch):
    class Core:
        def get_property(self, device, name):
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return ["FP32", "INT8"]

    library = types.SimpleNamespace(Core=Core)
    monkeypatch.setattr(engine, "import_openvino", lambda: library)
    with pytest.raises(InputError, match="precision=bfloat16: this CPU"):
        OpenVINO("bfloat16")
    OpenVINO("float32")


def test_only_the_first_sizes_are_converted(openvino):
    computed = OpenVINO("float32")
    sizes = [(64, 64 + 16 * i) for i in range(engine.MAX_SIZES + 2)]
    assert [computed.takes(*size) for size in sizes] == [True] * 4 + [False] * 2
    assert computed.takes(*sizes[0])
    assert not computed.takes(*sizes[-1])


@pytest.mark.slow
def test_several_threads_share_a_predictor(openvino):
    model = with_engine(make_model(LAYERS[0], size=64, tile=(64, 64)))
    sections = [noise(64, 64, seed=i) for i in range(4)]

    def predict(section):
        return [next(windows.predict_sections([section], model)) for _ in range(5)]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predict, sections))
    for section, probs in zip(sections, found):
        (expected,) = windows.predict_sections([section], model)
        for prob in probs:
            np.testing.assert_array_equal(prob, expected)


def test_a_damaged_package_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "openvino.py").write_text("import library_of_openvino")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "openvino", raising=False)
    with pytest.raises(InputError, match=r"cannot be imported: No module .*lib"):
        engine.import_openvino()


def test_converters_of_equinox_are_not_imported(openvino):
    code = (
        "import sys; from saltjax.inference import onnx; onnx._import_jax2onnx(); "
        "assert 'jax2onnx.plugins.flax.linen.conv' in sys.modules; "
        "assert 'equinox' not in sys.modules; import equinox"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_telemetry_is_not_imported(openvino):
    code = (
        "import sys; from saltjax.inference.engine import import_openvino; import_openvino(); "
        "assert 'openvino' in sys.modules; assert 'openvino_telemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "onnx"}, "engine='onnx'; expected one of jax, openvino"),
        (
            {"precision": "half"},
            "precision='half'; expected one of float32, bfloat16",
        ),
    ],
)
def test_other_values_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        saltjax.load("tgs", **options)


def test_precision_of_jax():
    section = noise(40, 50)[:, :, 0]
    exact, rounded = (
        saltjax.load("tgs", precision=precision).predict(section)
        for precision in (None, "bfloat16")
    )
    assert saltjax.load("tgs").precision == "float32"
    assert 1e-5 < np.abs(rounded - exact).max() < 0.1
