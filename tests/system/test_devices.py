import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from saltjax.system import devices
from saltjax.system.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("cpu_devices", "batch_size", "cores", "expected"),
    [
        (3, 32, 2, 3),
        (1, 32, 2, 1),
        # A device for each 8 tiles, at least one and at most two a core.
        (0, 4, 2, 1),
        (0, 24, 2, 3),
        (0, 32, 2, 4),
        (0, 32, 1, 2),
        (0, 1000, 16, 32),
    ],
)
def test_number_of_cpu_devices(monkeypatch, cpu_devices, batch_size, cores, expected):
    changes = []
    monkeypatch.setattr(jax.config, "update", lambda *args: changes.append(args))
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False
    )
    devices.split_cpu(cpu_devices, batch_size)
    assert changes == [("jax_num_cpu_devices", expected)]


def test_cpu_is_split_into_that_many_devices():
    code = (
        "from saltjax.system import devices\n"
        "devices.split_cpu(3, 32)\n"
        "mesh = devices.data_mesh()\n"
        "print(mesh.size, devices.is_cpu(mesh))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.stdout.split() == ["3", "True"]


def run_with_two_devices(code):
    """Returns what a process prints in which JAX is in use, with two CPU devices."""
    start = "import jax; jax.config.update('jax_num_cpu_devices', 2); jax.devices()\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("cpu_devices", [2, 3])
def test_devices_in_use_are_kept(cpu_devices):
    code = (
        "from saltjax.system import console, devices\n"
        "console.show()\n"
        f"devices.configure({cpu_devices}, 32, '')\n"
        "print(devices.data_mesh().size)"
    )
    said = "JAX is in use already: its 2 CPU devices are taken, not 3"
    assert run_with_two_devices(code) == ([said] if cpu_devices == 3 else []) + ["2"]


def test_computations_on_the_cpu_take_its_first_device():
    with jax.default_device(jax.devices()[2]):
        assert jnp.zeros(1).devices() == {jax.devices()[2]}
        with devices.on_the_cpu():
            assert jnp.zeros(1).devices() == {jax.devices("cpu")[0]}
    code = (
        "import os; os.environ['JAX_PLATFORMS'] = 'cuda'\n"
        "import jax.numpy as jnp\n"
        "from saltjax.system import devices\n"
        "with devices.on_the_cpu(): print(jnp.zeros(1).devices())"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "{CpuDevice(id=0)}\n"


@pytest.mark.parametrize(("count", "expected"), [(1, 7), (2, 8), (3, 9), (4, 8)])
def test_batches_are_padded_to_a_multiple_of_the_devices(count, expected):
    mesh = devices.local_mesh(count)
    assert mesh.size == count
    assert devices.padded_batch_size(7, mesh) == expected
    assert devices.padded_batch_size(expected, mesh) == expected


@pytest.mark.slow
def test_compiled_programs_are_kept_in_the_given_directory(tmp_path):
    code = (
        "import jax\n"
        "from saltjax.system import devices\n"
        f"devices.configure(1, 8, {str(tmp_path / 'cache')!r})\n"
        "def slow_to_compile(x):\n"
        "    for i in range(100): x = x @ x + i\n"
        "    return x\n"
        "jax.jit(slow_to_compile)(jax.numpy.ones((2, 2)))\n"
    )
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    env["JAX_PLATFORMS"] = "cpu"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=env)
    assert any("slow_to_compile" in p.name for p in (tmp_path / "cache").iterdir())


def test_error_names_compile_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"config\.train\.compile_cache=.*file/x"):
        devices.configure(1, 8, str(tmp_path / "file/x"))


@pytest.mark.parametrize("platform", ["nonsense", "cuda"])
def test_error_names_missing_platform(platform):
    if platform == "cuda" and jax.default_backend() != "cpu":
        pytest.skip("there may be one")
    command = [sys.executable, "-m", "saltjax.benchmark", "--config=configs/unet.py"]
    env = os.environ | {"JAX_PLATFORMS": platform}
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"no device with JAX_PLATFORMS='{platform}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_freed_memory_is_kept_where_the_c_library_can(monkeypatch):
    options = {}

    class Glibc:
        def mallopt(self, option, value):
            options[option] = value

    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: Glibc())
    devices.keep_freed_memory()
    # In glibc's malloc.h: -1 M_TRIM_THRESHOLD, -2 M_TOP_PAD, -4 M_MMAP_MAX, -8 M_ARENA_MAX.
    assert options == {-1: 2**31 - 1, -2: 2**28, -4: 0, -8: 1}
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: object())
    devices.keep_freed_memory()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "--xla_gpu_deterministic_ops=true"),
        ("", "--xla_gpu_deterministic_ops=true"),
        ("--xla_dump_to=a", "--xla_dump_to=a --xla_gpu_deterministic_ops=true"),
        ("--xla_gpu_deterministic_ops=false", "--xla_gpu_deterministic_ops=false"),
        ("flags.txt", "flags.txt"),  # a file that holds them
    ],
)
def test_deterministic_kernels_are_requested_unless_the_user_decides(
    monkeypatch, before, after
):
    if before is None:
        monkeypatch.delenv("XLA_FLAGS", raising=False)
    else:
        monkeypatch.setenv("XLA_FLAGS", before)
    devices.request_determinism()
    devices.request_determinism()
    assert os.environ["XLA_FLAGS"] == after


def test_this_jaxlib_knows_the_flag_of_determinism():
    """An unknown flag in XLA_FLAGS would abort every training."""
    code = (
        "from saltjax.system import devices\n"
        "devices.request_determinism()\n"
        "import jax\n"
        "print(jax.device_count())"
    )
    env = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=ROOT,
        env=env,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


def test_results_are_passed_on_one_call_late_and_in_order():
    seen = []
    delayed = devices.Delayed(lambda *result: seen.append(result))
    delayed.put(1, "a")
    assert seen == []
    delayed.put(2)
    assert seen == [(1, "a")]
    delayed.put()  # a result of no values is one, too
    delayed.put(None)
    assert seen == [(1, "a"), (2,), ()]
    delayed.flush()
    assert seen == [(1, "a"), (2,), (), (None,)]


def test_flush_passes_each_result_on_once():
    seen = []
    delayed = devices.Delayed(seen.append)
    delayed.flush()
    assert seen == []
    delayed.put(1)
    delayed.flush()
    delayed.flush()
    assert seen == [1]
    delayed.put(2)
    assert seen == [1]
    delayed.flush()
    assert seen == [1, 2]


def test_a_result_that_fails_is_not_passed_on_again():
    seen = []

    def consume(result):
        seen.append(result)
        if result == 1:
            raise ZeroDivisionError

    delayed = devices.Delayed(consume)
    delayed.put(1)
    with pytest.raises(ZeroDivisionError):
        delayed.put(2)
    delayed.flush()
    assert seen == [1, 2]
