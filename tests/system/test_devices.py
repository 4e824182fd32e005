import os
import pathlib
import subprocess
import sys

import jax
import pytest

from configs import default
from saltjax.system import devices
from saltjax.system.errors import InputError


@pytest.mark.parametrize(
    ("cpu_devices", "batch_size", "expected"),
    [(3, 32, {3}), (1, 32, {1}), (0, 4, {1}), (0, 32, {2, 4})],
)
def test_the_cpu_is_split_as_asked(cpu_devices, batch_size, expected):
    code = (
        "import os; os.environ['JAX_PLATFORMS'] = 'cpu'\n"
        "from saltjax.system import devices\n"
        f"devices.split_cpu({cpu_devices}, {batch_size})\n"
        "print(devices.data_mesh().size, devices.padded_batch_size(7, devices.data_mesh()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    size, padded = map(int, done.stdout.split())
    assert size in expected
    assert padded % size == 0
    assert 7 <= padded < 7 + size


def test_compiled_programs_are_kept_on_request(tmp_path):
    code = (
        "import os, jax\n"
        "os.environ['JAX_PLATFORMS'] = 'cpu'\n"
        "from configs import default\n"
        "from saltjax.system import devices\n"
        "train = default.get_config().train\n"
        f"train.compile_cache = {str(tmp_path / 'cache')!r}\n"
        "devices.configure(train)\n"
        "def slow_to_compile(x):\n"
        "    for i in range(300): x = x @ x + i\n"
        "    return x\n"
        "jax.jit(slow_to_compile)(jax.numpy.ones((2, 2)))\n"
    )
    command = [sys.executable, "-c", code]
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    root = pathlib.Path(__file__).parents[2]
    subprocess.run(command, check=True, cwd=root, env=env)
    assert any("slow_to_compile" in p.name for p in (tmp_path / "cache").iterdir())


def test_a_compile_cache_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    train = default.get_config().train
    train.compile_cache = str(tmp_path / "file/x")
    with pytest.raises(InputError, match=r"config\.train\.compile_cache=.*file/x"):
        devices.configure(train)


@pytest.mark.parametrize("platform", ["nonsense", "cuda"])
def test_a_platform_that_is_not_there_is_told(platform):
    if platform == "cuda" and jax.default_backend() != "cpu":
        pytest.skip("there may be one")
    command = [sys.executable, "-m", "saltjax.benchmark", "--config=configs/unet.py"]
    env = os.environ | {"JAX_PLATFORMS": platform}
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        command, check=False, cwd=root, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"no device with JAX_PLATFORMS='{platform}'" in done.stderr
    assert "Traceback" not in done.stderr
