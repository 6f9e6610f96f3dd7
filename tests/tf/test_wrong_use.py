"""Tests that error messages about wrong use name the argument and the remedy."""

import inspect
import subprocess
import sys
import textwrap
import warnings
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf import regularizers
from kspike_tf.layers import KerasSpikingLayer

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kspike_tf.Lowpass(tau=0.1), "Lowpass has no option tau.*mean tau_initializer"),
        (lambda: kspike_tf.AlphaCell(3, tau=0.1), "option tau. Did you mean tau_initializer"),
        (lambda: kspike_tf.Alpha(0.1, retrun_state=True), "retrun_state. .*mean return_state"),
        (lambda: kspike_tf.SpikingActivation("relu", spiking_aware=True),
         r"spiking_aware. Did you mean spiking_aware_training\?"),
        (lambda: kspike_tf.SpikingActivation("relu", zzz=1), "no option zzz. It has activation, "),
        (lambda: kspike_tf.TimeFolded(layers=1), "no option layers. Did you mean layer"),
        (lambda: kspike_tf.TimeFolded(keras.layers.Dense(2), nam="x"), "nam. Did you mean name"),
        (lambda: kspike_tf.SpikingActivation("relu", trainabel=1), "Did you mean trainable"),
    ],
)  # fmt: skip
def test_a_misspelt_option_gets_a_suggestion(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("function", "misspelt", "meant"),
    [
        (kspike_tf.convert, "calibration", "calibration_data"),
        (kspike_tf.rate_report, "timestep", "timesteps"),
        (kspike_tf.record, "timestep", "timesteps"),
        (kspike_tf.sweep, "timestep", "timesteps"),
        (kspike_tf.export.to_onnx, "opsett", "opset"),
        (kspike_tf.callbacks.DtScheduler, "schedule", "scheduler"),
        (kspike_tf.callbacks.RateLogger, "timestep", "timesteps"),
        (kspike_tf.ModelEnergy, "exampledata", "example_data"),
        (kspike_tf.ModelEnergy.register_device, "energy_per_synops", "energy_per_synop"),
        *((each, "targt", "target") for each in (
            regularizers.RangedRegularizer, regularizers.L1L2, regularizers.L1, regularizers.L2,
            regularizers.Percentile, regularizers.MeanRates)),
    ],
)  # fmt: skip
def test_a_misspelt_option_of_a_function_gets_a_suggestion(function, misspelt, meant):
    with pytest.raises(TypeError, match=f"takes .*Received: {misspelt}; did you mean '{meant}'"):
        function(**{misspelt: 1})


def test_a_subclass_may_have_options_of_its_own():
    class Own(KerasSpikingLayer):
        def __init__(self, **kwargs):
            self.own = kwargs.pop("own")
            super().__init__(**kwargs)

    assert Own(own=1, stateful=True).own == 1
    with pytest.raises(TypeError, match=r"Own has no option statefull. Did you mean stateful"):
        Own(own=1, statefull=True)


@pytest.mark.parametrize("layer", [kspike_tf.Lowpass(0.1), kspike_tf.SpikingActivation("relu")])
def test_bidirectional_is_refused_in_one_line(layer):
    with pytest.raises(ValueError, match=r"runs forwards only.*keras.ops.flip\(x, axis=1\)$"):
        keras.layers.Bidirectional(layer)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("glu", "Received: 'glu', which returns half as many"),
        (lambda x: x[:, :2], r"it maps \(3,\) to \(2,\)"),
        (keras.layers.Dense(4), r"it maps \(3,\) to \(4,\)"),
    ],
)
def test_an_activation_must_keep_the_shape(activation, message):
    with pytest.raises(ValueError, match=f"activation must return as many values as it.*{message}"):
        kspike_tf.SpikingActivation(activation)(keras.Input((None, 3)))


def test_ragged_sequences_are_padded_and_masked_instead():
    ragged = tf.ragged.constant([[[1.0], [2.0]], [[3.0]]], ragged_rank=1)
    layer = kspike_tf.Lowpass(0.1)
    message = r"not support ragged tensors: pad .* x.to_tensor\(\) and pass mask=tf.sequence_mask"
    inputs = [ragged]
    if "ragged" in inspect.signature(keras.Input).parameters:  # not in Keras 3.8
        inputs.append(keras.Input((None, 1), ragged=True))
    for x in inputs:
        for each in (layer, kspike_tf.TimeFolded(keras.layers.Dense(2))):
            with pytest.raises(ValueError, match=message):
                each(x)
    y = layer(ragged.to_tensor(), mask=tf.sequence_mask(ragged.row_lengths()))
    np.testing.assert_array_equal(y[1, 0], y[1, 1])


@pytest.mark.parametrize("options", [{}, {"return_sequences": False}, {"time_major": True}])
@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_output_shapes_are_known_before_building(name, options):
    layer = getattr(kspike_tf, name)(0.1, return_state=True, **options)
    before = layer.compute_output_shape(X.shape)
    assert not layer.built
    assert before == tuple(tuple(each.shape) for each in layer(X))
    with pytest.raises(ValueError, match="must have at least three axes"):
        getattr(kspike_tf, name)(0.1).compute_output_shape((2, 3))


@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_a_tau_for_each_unit(name, tmp_path):
    cls = getattr(kspike_tf, name)
    layer = cls([0.1, 0.2, 0.3])
    with pytest.raises(AttributeError, match="has none until it is built"):
        _ = layer.tau
    y = layer(X)
    for unit, tau in enumerate((0.1, 0.2, 0.3)):
        np.testing.assert_array_equal(y[..., unit : unit + 1], cls(tau)(X[..., unit : unit + 1]))
    assert layer.tau is layer.layer.cell.tau
    assert layer.initial_level is layer.layer.cell.initial_level
    model = keras.Sequential([keras.Input((None, 3)), layer])
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(X), y)
    np.testing.assert_array_equal(cls.from_config(layer.get_config())(X), y)
    grid = cls(np.arange(1, 7).reshape(2, 3))
    grid(np.ones((1, 4, 2, 3)))
    np.testing.assert_array_equal(np.ravel(grid.tau), np.arange(1, 7))
    with pytest.raises(ValueError, match=r"units' shape \(3,\). Received: .* shape \(2,\)"):
        cls([0.1, 0.2])(X)
    for bad in ([0.1, -0.1], [], [np.nan]):
        with pytest.raises(ValueError, match="tau_initializer must be positive and finite"):
            cls(bad)


def test_a_negative_seed_is_one_of_64_bits():
    layer = kspike_tf.SpikingActivation("relu", seed=-1)
    assert layer.seed == 2**64 - 1
    last = kspike_tf.SpikingActivation("relu", seed=2**64 - 1)
    np.testing.assert_array_equal(layer(X * 500), last(X * 500))


def test_regularizers_without_weights_warn():
    for make in (
        regularizers.L1L2,
        lambda: regularizers.RangedRegularizer(1, keras.regularizers.L1L2()),
    ):
        with pytest.warns(UserWarning, match="without weights has no effect") as caught:
            make()
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (regularizers.RangedRegularizer, regularizers.L1, regularizers.L2):
            make()
        regularizers.Percentile(l1=0.1)
        regularizers.L1(0.0)  # passed, not forgotten
    for make in (regularizers.Percentile, partial(regularizers.MeanRates, 30.0)):
        with pytest.raises(ValueError, match="l1 or l2 must be positive"):
            make()
    config = {"percentile": 90.0, "axis": 0, "target": 1, "l1": 0.0, "l2": 0.0}
    with pytest.warns(UserWarning, match="has no effect"):  # saved by an earlier version
        assert float(regularizers.Percentile.from_config(config)(X)) == 0


def test_a_process_without_threads_computes_all_the_same():
    code = """
        import threading
        import numpy as np
        import tensorflow as tf
        tf.function(lambda x: x + 1)(tf.constant(1.0))  # TensorFlow's own threads are there
        import kspike_tf
        from kspike_tf.scan.cpu import compiled, kernels

        def start(self):
            raise RuntimeError("can't start new thread")

        threading.Thread.start = start
        y = tf.function(kspike_tf.Lowpass(0.1))(np.ones((1, 3, 2), np.float32))
        assert compiled.plan_of(kernels.LOWPASS, "float32")["work"][0]  # machine code
        print(float(y[0, 0, 0]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wanted = kspike_tf.Lowpass(0.1)(np.ones((1, 3, 2), np.float32))
    assert float(done.stdout) == float(wanted[0, 0, 0])
