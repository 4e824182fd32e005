import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("cpu_devices", "batch_size", "expected"),
    [(3, 32, {3}), (1, 32, {1}), (0, 4, {1}), (0, 32, {2, 4})],
)
def test_the_cpu_is_split_as_asked(cpu_devices, batch_size, expected):
    code = (
        "import os; os.environ['JAX_PLATFORMS'] = 'cpu'\n"
        "from saltjax import devices\n"
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
