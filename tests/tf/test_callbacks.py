"""Tests of `DtScheduler`."""

import copy
import json
import math
import pickle
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf.callbacks import DtScheduler

X = np.ones((8, 2, 3), np.float32)


def make_variable(kind, value=1.0):
    return {"tf": tf.Variable, "keras": keras.Variable}[kind](value)


def make_model(dt, **kwargs):
    inputs = keras.Input((None, 3))
    x = kspike_tf.SpikingActivation("relu", dt=dt, seed=0)(inputs)
    model = keras.Model(inputs, kspike_tf.Lowpass(0.1, dt=dt)(x))
    model.compile(loss="mse", optimizer="sgd", **kwargs)
    return model


class Recorder(keras.callbacks.Callback):
    """Callback that records the value of each minibatch."""

    def __init__(self, dt):
        super().__init__()
        self.dt = dt
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(keras.ops.convert_to_numpy(self.dt)))


def fit(model, dt, scheduler, epochs=1, batch_size=2, **kwargs):
    recorder = Recorder(dt)
    callbacks = [DtScheduler(dt, scheduler, **kwargs), recorder]
    model.fit(X, X, epochs=epochs, batch_size=batch_size, verbose=0, callbacks=callbacks)
    return recorder.seen


@pytest.mark.parametrize("kind", ["tf", "keras"])
def test_schedule_equals_the_golden_one(golden, kind):
    data = json.loads((golden / "training.json").read_text())["dt_scheduler"]
    assert data["schedule"] == "ExponentialDecay(1.0, decay_steps=5, decay_rate=0.9)"
    dt = make_variable(kind)
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, decay_steps=5, decay_rate=0.9)
    seen = fit(make_model(dt), dt, schedule, epochs=3)
    np.testing.assert_allclose(seen, data["dt_at_each_batch"], rtol=1e-6)  # float32 powers


SCHEDULES = keras.optimizers.schedules


@pytest.mark.parametrize(
    "schedule",
    [
        SCHEDULES.CosineDecay(0.5, 10),
        SCHEDULES.CosineDecayRestarts(0.5, 3),
        SCHEDULES.ExponentialDecay(0.5, 4, 0.5, staircase=True),
        SCHEDULES.InverseTimeDecay(0.5, 2, 0.5),
        SCHEDULES.PiecewiseConstantDecay([1, 2], [0.5, 0.25, 0.125]),
        SCHEDULES.PolynomialDecay(0.5, 10, 0.1),
        lambda step: 0.5 / (step + 1),
        lambda step: np.float32(0.5) / (step + 1),
        lambda step: math.exp(-step),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_any_schedule_or_function(schedule):
    dt = tf.Variable(1.0)
    seen = fit(make_model(dt), dt, schedule)
    expected = [float(keras.ops.convert_to_numpy(schedule(step))) for step in range(4)]
    np.testing.assert_array_equal(seen, np.array(expected, np.float32))
    assert float(dt) == seen[-1]  # stays after training


def test_the_layers_use_the_new_value():
    dt = tf.Variable(1.0)
    layer = kspike_tf.SpikingActivation("relu", dt=dt, seed=0)
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layer(inputs))
    model.compile(loss="mse", optimizer="sgd")
    fit(model, dt, lambda step: 0.25)
    x = np.full((1, 40, 3), 2.0, np.float32)
    spikes = model.predict(x, verbose=0)
    assert set(np.unique(spikes)) == {0.0, 4.0}  # spikes of height 1 / 0.25
    np.testing.assert_allclose(spikes.mean(1), 2)  # 20 spikes in 40 steps of 0.25 s


def test_training_is_traced_once():
    dt = tf.Variable(1.0)
    traces = []

    class Counting(keras.layers.Layer):
        def call(self, inputs):
            traces.append(1)
            return inputs

    inputs = keras.Input((2, 3))
    x = Counting()(inputs)
    model = keras.Model(inputs, kspike_tf.SpikingActivation("relu", dt=dt)(x))
    model.compile(loss="mse", optimizer="sgd")
    model.fit(X, X, batch_size=2, verbose=0)
    before = len(traces)
    fit(model, dt, lambda step: 0.5 / (step + 1))
    assert len(traces) == before


def batches(known):
    """Return five minibatches; ``known`` says whether Keras knows their number."""
    five = np.ones((5, 2, 3), np.float32)
    if known:
        return tf.data.Dataset.from_tensor_slices((five, five)).batch(1)
    spec = tf.TensorSpec((2, 3))
    return tf.data.Dataset.from_generator(
        lambda: zip(five, five, strict=True), output_signature=(spec, spec)
    ).batch(1)


@pytest.mark.filterwarnings("ignore:Your input ran out of data", "ignore:.shuffle=True")
@pytest.mark.parametrize(
    ("known", "at_once", "epochs"),
    [
        (True, 1, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
        (True, 2, [[0, 2, 4], [5, 7, 9]]),
        (False, 2, [[0, 2, 4], [5, 7, 9]]),
        (False, 3, [[0, 3], [5, 8]]),
    ],
)
def test_each_fit_counts_minibatches_from_zero(known, at_once, epochs):
    dt = tf.Variable(1.0)
    model = make_model(dt, steps_per_execution=at_once)
    for _ in range(2):
        recorder = Recorder(dt)
        callbacks = [DtScheduler(dt, lambda step: 1.0 + step), recorder]
        model.fit(batches(known), epochs=2, verbose=0, callbacks=callbacks)
        assert np.array(recorder.seen).tolist() == [1.0 + step for each in epochs for step in each]


def test_executions_beyond_the_steps_of_an_epoch_count():
    dt = tf.Variable(1.0)
    model = make_model(dt, steps_per_execution=2)
    recorder = Recorder(dt)
    callbacks = [DtScheduler(dt, lambda step: 1.0 + step), recorder]
    # Keras runs six: three times two.
    model.fit(batches(True).repeat(), epochs=2, steps_per_epoch=5, verbose=0, callbacks=callbacks)
    assert recorder.seen == [1, 3, 5, 7, 9, 11]


@pytest.mark.parametrize("optimizer", ["accumulating", "loss scaling"])
def test_a_step_is_a_minibatch_for_any_optimizer(optimizer):
    sgd = keras.optimizers.SGD(
        gradient_accumulation_steps=2 if optimizer == "accumulating" else None
    )
    if optimizer == "loss scaling":
        sgd = keras.optimizers.LossScaleOptimizer(sgd)
    dt = tf.Variable(1.0)
    model = make_model(dt)
    model.compile(loss="mse", optimizer=sgd)
    seen = [fit(model, dt, lambda step: 1.0 + step) for _ in range(2)]
    assert seen == [[1, 2, 3, 4], [1, 2, 3, 4]]


def test_a_model_without_an_optimizer():
    dt = tf.Variable(1.0)
    scheduler = DtScheduler(dt, lambda step: 1.0 + step)
    callbacks = keras.callbacks.CallbackList([scheduler], model=make_model(dt))
    scheduler.model.optimizer = None
    callbacks.on_train_begin()
    for _ in range(2):
        callbacks.on_epoch_begin(0)
        for batch in range(2):
            callbacks.on_train_batch_begin(batch)
            callbacks.on_train_batch_end(batch)
    assert float(dt) == 4


@pytest.mark.parametrize("verbose", [False, True])
def test_verbose_prints_once_an_epoch(capsys, verbose):
    dt = tf.Variable(1.0)
    fit(make_model(dt), dt, lambda step: 0.5 / (step + 1), 2, batch_size=4, verbose=verbose)
    printed = "\nEpoch 1: DtScheduler sets dt to 0.5.\n"
    printed += "\nEpoch 2: DtScheduler sets dt to 0.166667.\n"
    assert capsys.readouterr().out == (printed if verbose else "")


def test_a_variable_may_be_zero_until_the_schedule_sets_it():
    dt = tf.Variable(0.0)
    model = make_model(dt)
    with pytest.raises(ValueError, match="dt must be positive and finite when a layer uses it"):
        model(X)
    with pytest.raises(tf.errors.InvalidArgumentError, match="dt must be positive and finite when"):
        tf.function(model)(X)
    compiled = tf.function(model, jit_compile=True)
    assert np.isnan(compiled(X)).all()  # XLA has no errors
    assert fit(model, dt, lambda step: 0.5) == [0.5] * 4
    np.testing.assert_array_equal(compiled(X), model(X))


@pytest.mark.parametrize("how", ["saved", "pickled", "copied"])
def test_a_variable_that_no_layer_reads_is_warned_of(how, tmp_path):
    dt = tf.Variable(1.0)
    model = make_model(dt)
    if how == "saved":
        model.save(tmp_path / "model.keras")
        model = keras.models.load_model(tmp_path / "model.keras")
    else:
        model = pickle.loads(pickle.dumps(model)) if how == "pickled" else copy.deepcopy(model)
    with pytest.warns(UserWarning, match=r"no layer of the model .* kspike_tf.config.set_dt"):
        fit(model, dt, lambda step: 0.25)
    kspike_tf.config.set_dt(model, dt)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fit(model, dt, lambda step: 0.25)
    assert all(layer.dt.variable is dt for layer in model.layers[1:])
    short = model.predict(X, verbose=0)
    dt.assign(1.0)
    assert not np.array_equal(model.predict(X, verbose=0), short)


def test_set_dt_reaches_layers_and_cells_within():
    cell = kspike_tf.LowpassCell(3, 0.1)
    spiking = kspike_tf.SpikingActivation("relu")
    inner = keras.Sequential([keras.layers.RNN(cell, return_sequences=True), spiking])
    kspike_tf.config.set_dt(inner, 0.25)
    assert (cell.dt, spiking.dt) == (0.25, 0.25)
    with pytest.raises(ValueError, match="must hold layers of kspike_tf"):
        kspike_tf.config.set_dt(keras.Sequential([keras.layers.Dense(2)]), 0.1)
    with pytest.raises(TypeError, match="must be a Keras model or layer"):
        kspike_tf.config.set_dt(0.1, 0.1)
    with pytest.raises(ValueError, match="dt must be positive"):
        kspike_tf.config.set_dt(inner, -1.0)


def test_bad_arguments_are_rejected():
    with pytest.raises(TypeError, match=r"dt must be a tf.Variable or .* Received: dt=0.1"):
        DtScheduler(0.1, lambda step: 0.1)
    with pytest.raises(TypeError, match=r"scheduler must be a schedule .*scheduler=0.1"):
        DtScheduler(tf.Variable(0.1), 0.1)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (0.0, r"must return a positive and finite dt. Received: dt=0.0 for step 0"),
        (-1, r"must return a positive and finite dt. Received: dt=-1.0 for step 0"),
        (float("nan"), r"must return a positive and finite dt. Received: dt=nan for step 0"),
        ([0.1, 0.2], r"must return one number. Received: .* for step 0"),
        ("soon", r"must return one number. Received: .*soon.* for step 0"),
        (None, r"must return one number. Received: .*None.* for step 0"),
    ],
)
def test_a_bad_schedule_is_noticed(returned, message):
    dt = tf.Variable(1.0)
    with pytest.raises(ValueError, match=message):
        fit(make_model(dt), dt, lambda step: returned)
    assert float(dt) == 1
