"""Tests of all KerasSpiking API page examples, with ``import kspike_tf as keras_spiking``.

Only changes that Keras 3 itself requires differ from the page; they are marked ``# Keras 3``.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf as keras_spiking
from kspike_energy import registry


@pytest.fixture(autouse=True)
def _fresh_names():
    """Name layers as in a new process: "dense", "dense_1"."""
    keras.utils.clear_session(free_memory=False)


@pytest.mark.parametrize("case", ["spiking", "lowpass", "alpha"])
def test_cells_in_an_rnn(case):
    if case == "spiking":
        my_layer = tf.keras.layers.RNN(
            keras_spiking.SpikingActivationCell(size=10, activation=tf.nn.relu)
        )
    elif case == "lowpass":
        my_layer = tf.keras.layers.RNN(keras_spiking.LowpassCell(size=10, tau_initializer=0.01))
    else:
        my_layer = tf.keras.layers.RNN(keras_spiking.AlphaCell(size=10, tau_initializer=0.01))
    y = my_layer(np.full((3, 20, 10), 100.0, np.float32))
    assert y.shape == (3, 10)
    assert np.isfinite(y).all()


@pytest.mark.slow
def test_percentile():
    tf.keras.utils.set_random_seed(0)

    # The page takes 1024 * 100 examples; half of them are enough to reach the range.
    train_x = np.random.uniform(-1, 1, size=(1024 * 50, 2))  # noqa: NPY002 (as on the page)
    train_y = train_x[:, :1] * train_x[:, 1:]
    test_x = np.random.uniform(-1, 1, size=(128, 2))  # noqa: NPY002
    test_y = test_x[:, :1] * test_x[:, 1:]

    # train using one timestep, to speed things up
    train_seq = train_x[:, None]

    # test using 10 timesteps
    n_steps = 10
    test_seq = np.tile(test_x[:, None], (1, n_steps, 1))

    inp = x = tf.keras.Input((None, 2))
    x = tf.keras.layers.TimeDistributed(tf.keras.layers.Dense(50))(x)
    x = spikes = keras_spiking.SpikingActivation(
        "relu",
        dt=1,
        activity_regularizer=keras_spiking.regularizers.Percentile(target=(5, 10), l2=0.01),
    )(x)
    x = tf.keras.layers.GlobalAveragePooling1D()(x)
    x = tf.keras.layers.Dense(1)(x)

    model = tf.keras.Model(inp, (x, spikes))

    model.compile(
        optimizer="rmsprop",
        loss={"dense_1": "mse", "spiking_activation": None},  # Keras 3: name every output
        metrics={"dense_1": "mae"},
    )
    model.fit(train_seq, (train_y, None), epochs=5, verbose=0)  # Keras 3: one target per output

    outputs, spikes = model.predict(test_seq, verbose=0)

    # estimate rates by averaging over time
    rates = spikes.mean(axis=1)
    max_rates = rates.max(axis=0)
    error = np.mean(np.abs(outputs - test_y))

    # "we use Percentile to ensure the neuron activities fall in the desired range of 5-10 Hz":
    # the penalty is soft, so the mean only just gets there; untrained, it is 0.3.
    assert 4.5 < max_rates.mean() < 10
    assert np.quantile(max_rates, 0.1) > 4
    # a model that always outputs 0 has an error of 0.25, the mean of abs(test_y)
    assert error < 0.1


def test_dt_scheduler():
    dt = tf.Variable(1.0)

    inp = tf.keras.Input((None, 10))
    x = keras_spiking.SpikingActivation("relu", dt=dt)(inp)
    x = keras_spiking.Lowpass(0.1, dt=dt)(x)
    model = tf.keras.Model(inp, x)

    callback = keras_spiking.callbacks.DtScheduler(
        dt, tf.optimizers.schedules.ExponentialDecay(1.0, decay_steps=5, decay_rate=0.9)
    )

    model.compile(loss="mse", optimizer="sgd")
    model.fit(
        np.ones((100, 2, 10)),
        np.ones((100, 2, 10)),
        epochs=10,
        batch_size=20,
        callbacks=[callback],
    )
    # 50 steps: the last dt is that of step 49, and stays
    assert float(dt) == pytest.approx(0.9 ** (49 / 5), rel=1e-6)  # float32


@pytest.fixture
def _own_devices(monkeypatch):
    """Forget the devices that an example registers."""
    monkeypatch.setattr(registry.DEVICES, "_devices", dict(registry.DEVICES._devices))


def numbers(line):
    """Return the entries of a table row."""
    return [entry.strip() for entry in line.split("|")]


@pytest.mark.usefixtures("_own_devices")
def test_model_energy(capsys):
    inp = tf.keras.Input((784,))  # Keras 3: was tf.keras.Input(784)
    dense = tf.keras.layers.Dense(units=128, activation="relu")(inp)
    model = tf.keras.Model(inp, dense)

    energy = keras_spiking.ModelEnergy(model)
    energy.summary(line_length=80)

    lines = capsys.readouterr().out.splitlines()
    # Keras 3 names the layers input_layer and dense, not input_3 and dense_2.
    assert numbers(lines[0]) == [
        "Layer (type)",
        "Output shape",
        "Param #",
        "Conn #",
        "Neuron #",
        "J/inf (cpu)",
    ]
    assert numbers(lines[2]) == [
        "input_layer (InputLayer)",
        "[(None, 784)]",
        "0",
        "0",
        "0",
        "0",
    ]
    assert numbers(lines[3]) == [
        "dense (Dense)",
        "(None, 128)",
        "100480",
        "100352",
        "128",
        "0.00086",
    ]
    assert "Total energy per inference [Joules/inf] (cpu): 8.64e-04" in lines

    keras_spiking.ModelEnergy.register_device(
        "my-cpu", energy_per_synop=1e-10, energy_per_neuron=2e-9, spiking=False
    )
    energy.summary(columns=("name", "energy cpu", "energy my-cpu"), line_length=80)

    lines = capsys.readouterr().out.splitlines()
    assert numbers(lines[0]) == ["Layer (type)", "J/inf (cpu)", "J/inf (my-cpu)"]
    assert numbers(lines[2]) == ["input_layer (InputLayer)", "0", "0"]
    assert numbers(lines[3]) == ["dense (Dense)", "0.00086", "1e-05"]
    assert "Total energy per inference [Joules/inf] (cpu): 8.64e-04" in lines
    assert "Total energy per inference [Joules/inf] (my-cpu): 1.03e-05" in lines


def test_compute_layer_stats(capsys):
    inp = tf.keras.Input([None, 10])
    layer = tf.keras.layers.TimeDistributed(tf.keras.layers.Dense(5, "relu"))
    model = tf.keras.Model(inp, [layer(inp)])  # noqa: F841 (as on the page)
    print(keras_spiking.ModelEnergy.compute_layer_stats(layer))
    assert capsys.readouterr().out == "{'connections': 50, 'neurons': 5, 'spiking': False}\n"


def test_register_layer(capsys, monkeypatch):
    # registered here, and undone after the test
    monkeypatch.setitem(registry.STATISTICS, tf.keras.layers.UpSampling2D, None)

    @keras_spiking.ModelEnergy.register_layer(tf.keras.layers.UpSampling2D)
    def upsampling2d_stats(node):
        # note: ignore the batch dimension when computing output size
        output_size = np.prod(node.output_shapes[1:])

        return {"connections": output_size, "neurons": 0}

    # use our registered stat calculator
    inp = tf.keras.Input([4, 4, 3])
    layer = tf.keras.layers.UpSampling2D(size=(2, 2))
    model = tf.keras.Model(inp, [layer(inp)])  # noqa: F841 (as on the page)
    print(keras_spiking.ModelEnergy.compute_layer_stats(layer))
    assert capsys.readouterr().out == "{'connections': 192, 'neurons': 0}\n"


NAMES = {
    "": "SpikingActivation SpikingActivationCell Lowpass LowpassCell Alpha AlphaCell ModelEnergy"
    " layers regularizers constraints callbacks config default model_energy",
    "layers": "KerasSpikingCell KerasSpikingLayer SpikingActivation SpikingActivationCell"
    " Lowpass LowpassCell Alpha AlphaCell",
    "regularizers": "RangedRegularizer L1L2 L1 L2 Percentile",
    "constraints": "Mean",
    "callbacks": "DtScheduler",
    "config": "DefaultManager default",
    "model_energy": "ModelEnergy layer_stats act_stats conv_stats dense_stats"
    " spikingactivation_stats timedistributed_stats",
}


@pytest.mark.parametrize("module", NAMES)
def test_every_name_of_the_page(module):
    where = getattr(keras_spiking, module) if module else keras_spiking
    for name in NAMES[module].split():
        assert hasattr(where, name), name
        assert name in where.__all__


METHODS = {
    keras_spiking.layers.KerasSpikingCell: "call call_training call_inference get_config",
    keras_spiking.layers.KerasSpikingLayer: "build build_cell call reset_states get_config",
    keras_spiking.SpikingActivationCell: "get_initial_state call_training call_inference",
    keras_spiking.LowpassCell: "build get_initial_state call_training call_inference",
    keras_spiking.AlphaCell: "build get_initial_state call_training call_inference",
    keras_spiking.ModelEnergy: "compute_layer_stats register_layer register_device layer_energy"
    " total_energy summary summary_string",
}


@pytest.mark.parametrize("of", METHODS, ids=lambda of: of.__name__)
def test_every_method_of_the_page(of):
    for name in METHODS[of].split():
        assert callable(getattr(of, name)), name
