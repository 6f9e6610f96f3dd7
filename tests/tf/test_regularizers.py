"""Tests of regularizers: values, gradients, serialisation, and their use on layers."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf import regularizers

GOLDEN = Path(__file__).parents[1] / "golden" / "training.json"
CASES = json.loads(GOLDEN.read_text())["regularizers"]


def make(case):
    return getattr(regularizers, case["regularizer"])(**case["arguments"])


def naive(x, target=0, l1=0.0, l2=0.0, percentile=None, axis=0):
    """Compute the same penalties with NumPy in float64."""
    if percentile is not None:
        x = np.percentile(x, percentile, axis=axis)
    low, high = target if isinstance(target, tuple) else (target, target)
    distance = np.maximum(x - high, 0) + np.maximum(low - x, 0)
    return l1 * distance.sum() + l2 * np.square(distance).sum()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["regularizer"])
def test_values_equal_the_golden_ones(golden, case):
    x = np.load(golden / "regularizer_input.npy")
    # float32 sums of a few hundred terms: 1e-6, and the golden values are float32 too
    assert float(make(case)(x)) == pytest.approx(case["value"], rel=1e-5)


def test_defaults():
    assert regularizers.RangedRegularizer().target == 0
    assert regularizers.RangedRegularizer().regularizer.l2 == 0.01
    assert regularizers.RangedRegularizer().regularizer.l1 == 0
    assert regularizers.L1L2().get_config() == {"l1": 0, "l2": 0, "target": 0}
    assert regularizers.L1().get_config() == {"l1": 0.01, "target": 0}
    assert regularizers.L2().get_config() == {"l2": 0.01, "target": 0}
    assert regularizers.Percentile(l2=1).get_config() == {
        "percentile": 100,
        "axis": 0,
        "target": 0,
        "l1": 0,
        "l2": 1,
    }


@pytest.mark.parametrize("percentile", [0, 1, 12.5, 50, 90, 99.9, 100])
@pytest.mark.parametrize("axis", [0, -1, (0, 1), (2, 0), (0, 1, 2)])
def test_any_percentile_over_any_axes(percentile, axis):
    # float64, and arguments that float32 holds exactly: only sums are rounded
    x = np.random.default_rng(0).normal(size=(7, 5, 3))
    regularizer = regularizers.Percentile(percentile, axis, target=(-0.125, 0.25), l1=0.5, l2=2)
    expected = naive(x, (-0.125, 0.25), 0.5, 2, percentile, axis)
    assert float(regularizer(x)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("percentile", [30, 100])
def test_percentile_of_unknown_shapes(percentile):
    regularizer = regularizers.Percentile(percentile, axis=(0, 1), target=(-0.5, 0.5), l2=1)
    compiled = tf.function(
        regularizer, input_signature=[tf.TensorSpec((None, None, 3), tf.float32)]
    )
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    # float32 against float64
    assert float(compiled(x)) == pytest.approx(
        naive(x.astype(np.float64), (-0.5, 0.5), 0, 1, percentile, (0, 1)), rel=1e-5
    )


@pytest.mark.parametrize("percentile", [0, 30, 50, 100])
def test_percentile_gradient_is_that_of_finite_differences(percentile):
    x = np.random.default_rng(1).normal(size=(6, 4))
    regularizer = regularizers.Percentile(percentile, target=(0.125, 0.25), l1=0.25, l2=0.5)
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = regularizer(variable)
    gradient = tf.convert_to_tensor(tape.gradient(loss, variable)).numpy()
    assert np.abs(gradient).max() > 0
    step = 1e-6
    for index in np.ndindex(x.shape):
        shifted = [x.copy(), x.copy()]
        shifted[0][index] += step
        shifted[1][index] -= step
        up, down = (naive(each, (0.125, 0.25), 0.25, 0.5, percentile) for each in shifted)
        # central differences of a piecewise quadratic: rounding only, 1e-16 / 1e-6
        assert gradient[index] == pytest.approx((up - down) / (2 * step), abs=1e-8)


def test_no_penalty_and_no_gradient_inside_the_range():
    x = tf.Variable([5.0, 7.5, 10.0])
    with tf.GradientTape() as tape:
        loss = regularizers.L1L2(1.0, 1.0, target=(5, 10))(x)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, x), 0)


def test_an_open_range():
    regularizer = regularizers.L1(1.0, target=(5, float("inf")))
    assert float(regularizer(np.array([3.0, 1e6]))) == 2


def test_a_custom_regularizer_gets_signed_distances():
    class Signed(keras.regularizers.Regularizer):
        def __call__(self, x):
            return keras.ops.sum(x)

    regularizer = regularizers.RangedRegularizer((0, 1), Signed())
    assert float(regularizer(np.array([-2.0, 0.5, 4.0]))) == 1


def test_a_regularizer_by_name():
    assert float(regularizers.RangedRegularizer(1, "l2")(np.array([3.0]))) == pytest.approx(0.04)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_small_types_are_regularized_in_float32(dtype):
    x = keras.ops.cast(np.full((2, 3), 1000), dtype)  # its square is beyond the largest float16
    for regularizer in (regularizers.L2(1.0), regularizers.Percentile(90, l2=1.0)):
        penalty = regularizer(x)
        assert penalty.dtype == tf.float32
        assert np.isfinite(penalty)
    assert float(regularizers.L2(1.0)(x)) == 6 * float(x[0, 0]) ** 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["regularizer"])
def test_round_trips(golden, case):
    x = np.load(golden / "regularizer_input.npy")
    regularizer = make(case)
    text = json.dumps(keras.regularizers.serialize(regularizer))
    loaded = keras.regularizers.get(json.loads(text))
    assert type(loaded) is type(regularizer)
    assert loaded.get_config() == regularizer.get_config()
    assert float(loaded(x)) == float(regularizer(x))
    assert json.loads(text)["registered_name"] == f"kspike_tf>{case['regularizer']}"


@pytest.mark.parametrize("name", ["L1", "L2", "L1L2", "RangedRegularizer", "Percentile"])
@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ("1", TypeError, r"target must be a real number. Received: target='1'"),
        (None, TypeError, r"target must be a real number. Received: target=None"),
        ((1, "2"), TypeError, r"target must be a real number. Received: target='2'"),
        (float("nan"), ValueError, r"target must not be NaN. Received: target=nan"),
        ((1, 2, 3), ValueError, r"target must be a number or \(min, max\). .*\(1, 2, 3\)"),
        ((2, 1), ValueError, r"target \(min, max\) must have min <= max. .*\(2, 1\)"),
    ],
)
def test_bad_targets_are_rejected(name, target, error, message):
    with pytest.raises(error, match=message):
        getattr(regularizers, name)(target=target)


@pytest.mark.parametrize(
    ("name", "weight"), [("L1", "l1"), ("L2", "l2"), ("L1L2", "l1"), ("Percentile", "l2")]
)
def test_bad_weights_are_rejected(name, weight):
    make_one = getattr(regularizers, name)
    with pytest.raises(ValueError, match=rf"{weight} must be finite and not negative. .*=-1"):
        make_one(**{weight: -1})
    with pytest.raises(ValueError, match=rf"{weight} must be finite and not negative. .*=inf"):
        make_one(**{weight: float("inf")})
    with pytest.raises(TypeError, match=rf"{weight} must be a real number. Received: {weight}='1'"):
        make_one(**{weight: "1"})


def test_other_bad_arguments_are_rejected():
    with pytest.raises(ValueError, match=r"percentile must be from 0 to 100. .*percentile=101"):
        regularizers.Percentile(101)
    with pytest.raises(TypeError, match=r"percentile must be a real number. .*percentile=None"):
        regularizers.Percentile(None)
    with pytest.raises(TypeError, match=r"axis must be an integer or a tuple .*axis=1.0"):
        regularizers.Percentile(axis=1.0)
    with pytest.raises(TypeError, match=r"axis must be an integer or a tuple .*axis=\(0, True\)"):
        regularizers.Percentile(axis=(0, True))
    with pytest.raises(ValueError, match=r"axis must name at least one axis. .*axis=\(\)"):
        regularizers.Percentile(axis=())
    with pytest.raises(ValueError, match=r"axis must be among the 2 axes .*axis=2 .*\(3, 4\)"):
        regularizers.Percentile(axis=2, l1=1)(np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"axis must not repeat an axis. .*axis=\(0, -2\)"):
        regularizers.Percentile(axis=(0, -2), l1=1)(np.ones((3, 4)))
    with pytest.raises(TypeError, match=r"regularizer must be a Keras regularizer. Received: None"):
        regularizers.RangedRegularizer(regularizer=None)
    with pytest.raises(TypeError, match=r"L1L2 takes l1, l2, target.*l3"):
        regularizers.L1L2(l3=1)


def test_they_stand_where_code_for_keras_spiking_expects_them():
    assert kspike_tf.regularizers is regularizers


@pytest.mark.parametrize("over_batch", [True, False])
@pytest.mark.parametrize("time_axis", [0, 1])
def test_mean_rates(over_batch, time_axis):
    x = np.random.default_rng(0).uniform(0, 100, (4, 6, 5)).astype("float32")
    regularizer = regularizers.MeanRates((45, 55), 0.5, 2, over_batch, time_axis)
    rates = x.astype("float64").mean(axis=time_axis)
    if over_batch:
        rates = rates.mean(axis=0, keepdims=True)
    distances = rates - rates.clip(45, 55)
    expected = (0.5 * np.abs(distances) + 2 * distances**2).sum() / len(rates)
    assert float(regularizer(x)) == pytest.approx(expected, rel=1e-5)  # float32 sums
    again = regularizers.MeanRates.from_config(regularizer.get_config())
    assert again.get_config() == regularizer.get_config()


def test_mean_rates_see_what_percentiles_of_spikes_do_not():
    """Neurons of 30 Hz, inside the target, cost nothing at a time step of 1 ms."""
    layer = kspike_tf.SpikingActivation("relu", dt=0.001, seed=0)
    spikes = layer(np.full((2, 1000, 8), 30.0, "float32"))
    assert float(regularizers.MeanRates((10, 50), l2=1.0)(spikes)) == 0
    assert float(regularizers.Percentile(99, axis=0, target=(10, 50), l2=1e-3)(spikes)) > 100


def test_mean_rates_drive_rates_into_the_range():
    layer = kspike_tf.SpikingActivation(
        "relu", dt=0.005, seed=0, activity_regularizer=regularizers.MeanRates((40, 60), l2=1e-3)
    )
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(16), layer])
    model.compile(keras.optimizers.Adam(0.5), loss=None)
    x = np.random.default_rng(0).uniform(50, 100, (32, 4)).astype("float32")
    shown = np.repeat(x[:, None], 40, axis=1)

    def high():
        return kspike_tf.rate_report(model, shown).layers[0].high_rate

    model.layers[0].set_weights([np.full((4, 16), 1.0), np.zeros(16)])
    assert high() > 200
    history = model.fit(
        shown, epochs=60, verbose=0, callbacks=[kspike_tf.callbacks.RateLogger(shown)]
    )
    assert high() < 75
    rates = history.history[f"{layer.name} Hz"]
    assert len(rates) == 60
    assert rates[0] > rates[-1]


def test_mean_rates_refuse_what_they_cannot_take():
    with pytest.raises(ValueError, match="time axis"):
        regularizers.MeanRates(30, l1=1)(np.ones((3, 4)))
    with pytest.raises(ValueError, match="time_axis must be 0 or 1"):
        regularizers.MeanRates(30, l1=1, time_axis=2)
