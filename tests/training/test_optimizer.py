import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from saltjax.system import devices
from saltjax.training import optimizer


def test_first_step_decays_kernels_only_by_the_learning_rate():
    params = {"kernel": jnp.full((1, 2), 2.0), "bias": jnp.full((2,), 2.0)}
    grads = {"kernel": jnp.full((1, 2), 0.3), "bias": jnp.full((2,), -0.3)}
    tx = optimizer.adam(0.1, True)
    state = optimizer.with_learning_rate(tx.init(params), 0.01)
    updates, _ = tx.update(grads, state, params)
    # Adam's first step has length 1 in the gradient's direction (up to eps).
    changed = optax.apply_updates(params, updates)
    np.testing.assert_allclose(changed["kernel"], 2 - 0.01 * (1 + 0.1 * 2), rtol=1e-6)
    np.testing.assert_allclose(changed["bias"], 2 + 0.01, rtol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_at_changing_rates_are_those_of_adamw(decay):
    """Loshchilov & Hutter 2019, algorithm 2, in numpy; the rate multiplies Adam and decay."""
    rng = np.random.default_rng(0)
    expected = {"kernel": rng.normal(0, 1, (2, 3)), "bias": rng.normal(0, 1, 3)}
    params = jax.tree.map(jnp.float32, expected)
    tx = optimizer.adam(decay, True)
    state = tx.init(params)
    m, v = dict.fromkeys(expected, 0.0), dict.fromkeys(expected, 0.0)
    for t, rate in ((1, 0.02), (2, 0.003)):
        grads = {name: rng.normal(0, 1, x.shape) for name, x in expected.items()}
        state = optimizer.with_learning_rate(state, rate)
        updates, state = tx.update(jax.tree.map(jnp.float32, grads), state, params)
        params = optax.apply_updates(params, updates)
        for name, g in grads.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            mean, variance = m[name] / (1 - 0.9**t), v[name] / (1 - 0.999**t)
            direction = mean / (np.sqrt(variance) + 1e-8)
            if name == "kernel":
                direction = direction + decay * expected[name]
            update = -rate * direction
            np.testing.assert_allclose(updates[name], update, rtol=2e-5, atol=1e-9)
            expected[name] = expected[name] + update
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), params, expected
        )


def test_rate_is_zero_until_one_is_set():
    params = {"kernel": jnp.ones((2, 2))}
    tx = optimizer.adam(0.1, True)
    updates, _ = tx.update(params, tx.init(params), params)
    assert not np.asarray(updates["kernel"]).any()


def run_of(tx, params, grads, rates):
    """Returns the parameters after each step with the gradients and rates."""
    state, found = tx.init(params), []
    for grad, rate in zip(grads, rates):
        state = optimizer.with_learning_rate(state, rate)
        updates, state = tx.update(grad, state, params)
        params = optax.apply_updates(params, updates)
        found.append(jax.device_get(params))
    return found


def draw_steps(count):
    """Returns parameters, the gradients of so many steps and their learning rates."""
    rng = np.random.default_rng(2)
    trees = [
        {
            "kernel": rng.normal(0, 1, (2, 3)).astype(np.float32),
            "bias": rng.normal(0, 1, 3).astype(np.float32),
        }
        for _ in range(count + 1)
    ]
    return trees[0], trees[1:], (0.02, 0.02, 0.003, 0.003, 0.0004)[:count]


def test_coupled_decay_is_l2_regularization_of_all_parameters():
    """Kingma & Ba 2015, algorithm 1, of the loss plus decay / 2 · ‖parameters‖², in numpy."""
    params, grads, rates = draw_steps(5)
    found = run_of(optimizer.adam(0.3, False), params, grads, rates)
    expected = {name: np.float64(x) for name, x in params.items()}
    m, v = dict.fromkeys(params, 0.0), dict.fromkeys(params, 0.0)
    for t, (grad, rate) in enumerate(zip(grads, rates), start=1):
        for name in params:
            g = grad[name] + 0.3 * expected[name]
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g**2
            mean, variance = m[name] / (1 - 0.9**t), v[name] / (1 - 0.999**t)
            expected[name] = expected[name] - rate * mean / (np.sqrt(variance) + 1e-8)
            np.testing.assert_allclose(found[t - 1][name], expected[name], rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_coupled_decay_equals_pytorchs_adam(decay):
    torch = pytest.importorskip("torch")
    params, grads, rates = draw_steps(5)
    found = run_of(optimizer.adam(decay, False), params, grads, rates)
    tensors = {
        name: torch.nn.Parameter(torch.tensor(x, dtype=torch.float64))
        for name, x in params.items()
    }
    adam = torch.optim.Adam(tensors.values(), weight_decay=decay)
    for step, (grad, rate) in enumerate(zip(grads, rates)):
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(grad[name], dtype=torch.float64)
        adam.param_groups[0]["lr"] = rate
        adam.step()
        for name, tensor in tensors.items():
            np.testing.assert_allclose(
                found[step][name], tensor.detach().numpy(), rtol=1e-5
            )


def test_without_decay_both_kinds_are_adam():
    params, grads, rates = draw_steps(3)
    found = (
        run_of(optimizer.adam(0.0, x), params, grads, rates) for x in (True, False)
    )
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_same_arguments_give_the_same_object():
    assert optimizer.adam(0.01, True) is optimizer.adam(0.01, True)
    assert optimizer.adam(0.01, True) is not optimizer.adam(0.02, True)
    assert optimizer.adam(0.01, True) is not optimizer.adam(0.01, False)


def test_rate_keeps_its_sharding():
    params = {"kernel": jnp.ones((2, 2))}
    mesh = devices.data_mesh()
    assert mesh.size == 4
    state = devices.replicate(optimizer.adam(0.0, True).init(params), mesh)
    changed = optimizer.with_learning_rate(state, 0.25)
    before, after = (s.hyperparams["learning_rate"] for s in (state, changed))
    assert float(after) == 0.25
    assert (after.sharding, after.dtype, after.committed) == (
        before.sharding,
        before.dtype,
        before.committed,
    )
    assert changed.inner_state is state.inner_state
    # On the host it stays there.
    host = optimizer.with_learning_rate(jax.device_get(state), 0.25)
    assert isinstance(host.hyperparams["learning_rate"], np.float32)


def test_decay_mask_is_true_for_kernels():
    params = {"conv": {"kernel": np.ones((3, 3, 1, 2)), "bias": np.ones(2)}}
    params["norm"] = {"scale": np.ones(2), "bias": np.ones(2)}
    assert optimizer.decay_mask(params) == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
    }
