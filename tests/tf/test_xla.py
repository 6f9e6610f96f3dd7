"""Tests of the kernels in programs that XLA compiles: surrounding operations, and errors."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf import scan
from kspike_tf.scan.cpu import observers

LAYERS = {
    "spiking": lambda: kspike_tf.SpikingActivation("relu", dt=0.01, seed=0),
    "lowpass": lambda: kspike_tf.Lowpass(0.1, dt=0.01),
    "alpha": lambda: kspike_tf.Alpha(0.1, dt=0.01),
}


def inputs(*shape):
    return np.random.default_rng(0).normal(0, 100, shape).astype(np.float32)


# The operations around the call prefer another memory layout.
AROUND = {
    "transposed after": lambda layer, x: tf.transpose(layer(x), [1, 0, 2]),
    "reversed after": lambda layer, x: tf.transpose(layer(x), [2, 1, 0]) + 1,
    "transposed before": lambda layer, x: layer(
        tf.transpose(tf.transpose(x, [2, 0, 1]) * 2, [1, 2, 0])
    ),
    "products over time": lambda layer, x: tf.matmul(layer(x), layer(x), transpose_a=True),
    "product before": lambda layer, x: layer(tf.einsum("btu,tv->vtu", x, x[0])),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", LAYERS)
def test_orders_of_memory_around_a_call(name, around):
    layer, x = LAYERS[name](), tf.constant(inputs(7, 11, 7))
    layer(x)

    def outputs_and_gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = AROUND[around](layer, x)
            weight = tf.cos(tf.range(tf.size(y), dtype=tf.float32))
            value = tf.reduce_sum(y * tf.reshape(weight, tf.shape(y)))
        weights = [each.value for each in layer.trainable_variables]
        return y, *tape.gradient(value, [x, *weights], unconnected_gradients="zero")

    found = tf.function(outputs_and_gradients, jit_compile=True)(x)
    for mine, expected in zip(found, outputs_and_gradients(x), strict=True):
        # Products of 11 terms in float32, summed in another order.
        scale = np.abs(expected).max(initial=1e-30)
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("steps", [1, 2])
def test_fit_and_predict_with_a_partial_batch(steps):
    x = np.abs(inputs(10, 6, 3))

    def trained(jit_compile):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((None, 3)), *[make() for make in LAYERS.values()]])
        model.compile(
            keras.optimizers.SGD(1e-9), "mse", jit_compile=jit_compile, steps_per_execution=steps
        )
        first = model.get_weights()
        losses = model.fit(x, x, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
        moved = [now - then for now, then in zip(model.get_weights(), first, strict=True)]
        return losses, model.predict(x, batch_size=4, verbose=0), moved

    (losses, answers, moved), (their_losses, their_answers, theirs) = trained(True), trained(False)
    # Means of float32, summed in another order.
    np.testing.assert_allclose(losses, their_losses, rtol=1e-5)
    np.testing.assert_allclose(answers, their_answers, rtol=1e-5)
    for mine, expected in zip(moved, theirs, strict=True):
        assert np.abs(expected).min() > 0
        # Weights up to 0.1 in float32: the change in a step is rounded to 1e-8.
        np.testing.assert_allclose(mine, expected, rtol=1e-5, atol=3e-8)


@pytest.mark.xla_calls
def test_lengths_that_only_values_tell_are_refused():
    @tf.function(jit_compile=True)
    def selected(x):
        x = tf.boolean_mask(x, x[:, 0, 0] > 0)
        voltage = tf.zeros([tf.shape(x)[0], 3], tf.float64)
        return tf.reduce_sum(scan.spikes(x, voltage, np.float64(0.01))[0])

    with pytest.raises(tf.errors.UnimplementedError, match="dynamic dimension"):
        selected(inputs(4, 5, 3))


class Observer:
    """Counts sequences, and approves of none."""

    def __init__(self):
        self.count = 0

    def see(self, x, dt):
        self.count += 1
        return x.shape[1] + 1


ELSEWHERE = """
import sys
import numpy as np, tensorflow as tf
from kspike_tf.scan.cpu import observers

class Observer:
    def see(self, x, dt):
        raise ValueError("seen")

run = tf.saved_model.load(sys.argv[1]).run
x = np.ones((2, 5, 3), "f")
observer = Observer()
while (number := observers.number_of(observer)) % observers.MOST < int(sys.argv[2]):
    pass
assert number % observers.MOST == int(sys.argv[2])
assert np.array_equal(run(x), x * [[0], [2], [0], [2], [0]])
print("as before")
"""


@pytest.mark.xla_calls
def test_saved_functions_do_not_call_the_observers_of_another_process(tmp_path):
    observer, module = Observer(), tf.Module()
    number = observers.number_of(observer)

    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec((None, None, 3))])
    def run(x):
        voltage = tf.zeros([tf.shape(x)[0], 3], tf.float64)
        return scan.spikes(x, voltage, np.float64(0.5), number)[0]

    x = np.ones((2, 5, 3), np.float32)
    np.testing.assert_array_equal(run(x), x * [[0], [2], [0], [2], [0]])
    assert observer.count == 1
    module.run = run
    tf.saved_model.save(module, tmp_path / "saved")
    index = str(number % observers.MOST)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "saved"), index],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert "as before" in done.stdout, done.stderr
