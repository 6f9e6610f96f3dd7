"""Tests of the memory model against cases worked out by hand."""

import keras
import numpy as np
import pytest

import kspike_ref
import kspike_tf
from kspike_energy import Device, Layer, ModelEnergy, Network
from kspike_energy.devices.memory import HOROWITZ, Memory
from kspike_energy.storage import Storage

ORDINARY, SPIKING = "45nm-int32-sram", "45nm-int32-sram-spiking"
PJ = 1e-12
ADD, MAC = 0.1, 3.2  # pJ


def access(numbers):
    """Return the pJ of an access to a memory of at most 8 KiB that holds 32-bit numbers."""
    assert numbers <= 2048
    return 10 * numbers / 2048


def test_energy_of_an_access():
    at = {numbers: HOROWITZ.access(numbers) / PJ for numbers in (0, 1024, 2048, 8192, 262144)}
    assert at == pytest.approx({0: 0, 1024: 5, 2048: 10, 8192: 20, 262144: 100})
    assert HOROWITZ.access(5120) == pytest.approx(15 * PJ)
    # above 1 MiB the last segment continues: 80 pJ for 992 KiB
    assert HOROWITZ.access(2 * 262144) == pytest.approx((100 + 80 * 1024 / 992) * PJ)
    line = [HOROWITZ.access(n, by_line=True) / PJ for n in (0, 2048)]
    assert line == pytest.approx([13.2, 13.2 + 1.09e-5 * 8 * 8192])


@pytest.fixture
def dense():
    inp = keras.Input((None, 100))
    x = keras.layers.Dense(20, name="dense")(inp)
    x = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")(x)
    return keras.Model(inp, x), np.full((2, 5, 100), 30.0)  # 0.3 spikes per input and step


def test_dense_layer_of_an_ordinary_network(dense):
    model, _ = dense
    energy = ModelEnergy(model)
    io = 100 * access(100) + 20 * access(20)
    weights = (2000 + 20) * access(2020)
    expected = io + weights + 2000 * MAC + 20 * ADD + 2000 * ADD
    assert energy.layer_energy("dense", ORDINARY) == (pytest.approx(expected * PJ), 0)
    assert energy.layer_energy("spikes", ORDINARY) == (0, 0)
    assert energy.total_energy(ORDINARY) == pytest.approx(expected * PJ)


def test_dense_layer_of_a_spiking_network(dense):
    energy = ModelEnergy(*dense)
    spikes, steps = 100 * 30 * 0.01 * 5, 5
    synops, biases = spikes * 20, 20 * steps
    expected = (
        2 * spikes * access(1000)
        + (synops + biases) * access(2020)
        + 2 * synops * access(20)
        + (synops + biases + spikes) * ADD
        + synops * ADD
    )
    assert energy.layer_energy("dense", SPIKING) == (pytest.approx(expected * PJ), 0)
    updates = 2 * 20 * steps * access(20)
    assert energy.layer_energy("spikes", SPIKING) == (0, pytest.approx(updates * PJ))
    assert energy.total_energy(SPIKING) == pytest.approx((expected + updates) * PJ)


@pytest.fixture
def convolution():
    inp = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(3, 3, use_bias=False, name="conv")(inp)
    return keras.Model(inp, x), np.full((1, 6, 6, 2), 100.0)  # 0.1 spikes per input and step


def test_convolution_of_an_ordinary_network(convolution):
    model, _ = convolution
    connections, inputs, outputs, weights = 4 * 4 * 3 * 3 * 3 * 2, 72, 48, 54
    expected = (
        connections * access(inputs)  # every window reads its inputs again
        + connections * access(weights)
        + outputs * access(outputs)
        + connections * MAC
        + (inputs + outputs + 3 * 9) * ADD
    )
    energy = ModelEnergy(model).layer_energy("conv", ORDINARY)
    assert energy == (pytest.approx(expected * PJ), 0)


def test_convolution_of_a_spiking_network(convolution):
    energy = ModelEnergy(*convolution)
    steps = 4
    spikes = 72 * 100 * 0.001 * steps
    synops = 864 * 100 * 0.001 * steps
    expected = (
        2 * spikes * access(1000)
        + synops * access(54)
        + 2 * synops * access(48)
        + (synops + spikes) * ADD
        + synops * ADD
        + 2 * spikes * MAC  # to find the first output of a spike
    )
    assert energy.layer_energy("conv", SPIKING, steps) == (pytest.approx(expected * PJ), 0)


def test_leak_multiplies():
    inp = keras.Input((None, 8))
    model = keras.Model(inp, kspike_tf.Lowpass(0.1, dt=0.001, name="filter")(inp))
    energy = ModelEnergy(model, np.ones((1, 10, 8)))
    expected = 80 * (2 * access(8) + MAC)
    assert energy.layer_energy("filter", SPIKING) == (0, pytest.approx(expected * PJ))


def test_a_layer_described_by_hand_is_taken_as_dense(dense):
    layer = Layer("dense", 2000, 20, rate=30.0, dt=0.01, params=2020)
    by_hand = ModelEnergy(Network([layer]))
    storage = Storage(100, 20, 2020)
    assert layer.stored == storage
    assert Layer("x", 2000, output_shape=(None, 20)).stored == Storage(100, 20, 2000)
    assert by_hand.total_energy(ORDINARY) > 0
    with pytest.raises(ValueError, match=r"output_shape of layer 'x' must be stated.*sram"):
        ModelEnergy(Network([Layer("x", 2000)])).total_energy(ORDINARY)


def test_sizes_of_keras_layers():
    inp = keras.Input((8, 8, 4))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep")(inp)
    x = keras.layers.MaxPooling2D(name="pool")(x)
    model = keras.Model(inp, keras.layers.Dense(5, name="dense")(x))
    sizes = {layer.name: layer.storage for layer in ModelEnergy(model).network.layers}
    deep = Storage(256, 6 * 6 * 8, 80, biased=True, windows=True, kernel=2 * 9)
    assert sizes["deep"] == deep
    assert sizes["pool"] == Storage(288, 72, 0)
    assert sizes["dense"] == Storage(72, 45, 45, biased=True)


def test_sizes_of_groups_and_of_a_bias_along_some_axes():
    inp = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(6, 3, groups=2, name="groups")(inp)
    einsum = keras.layers.EinsumDense("bhwc,cd->bhwd", (None, None, 5), bias_axes="d", name="e")
    model = keras.Model(inp, einsum(x))
    sizes = {layer.name: layer.storage for layer in ModelEnergy(model).network.layers}
    assert sizes["groups"].kernel == 3 * 9  # each input channel has the filters of its group
    assert sizes["e"] == Storage(6 * 6 * 6, 6 * 6 * 5, 6 * 5 + 5, biased=True)


def test_depthwise_convolution_of_an_ordinary_network():
    inp = keras.Input((6, 6, 2))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="deep")(inp)
    inputs, outputs, weights = 72, 4 * 4 * 4, 2 * 2 * 9
    connections = outputs * 9
    expected = (
        connections * (access(inputs) + access(weights + 4))
        + outputs * (access(weights + 4) + access(outputs))
        + connections * MAC
        + outputs * ADD
        + (inputs + outputs + 2 * 9) * ADD
    )
    energy = ModelEnergy(keras.Model(inp, x)).layer_energy("deep", ORDINARY)
    assert energy == (pytest.approx(expected * PJ), 0)


def test_range_spans_both_readings(dense):
    energy = ModelEnergy(*dense)
    low, high = energy.energy_range(SPIKING)
    assert low == energy.total_energy(SPIKING)  # small memories: the line starts at 13.2 pJ
    spikes, steps = 100 * 30 * 0.01 * 5, 5
    synops, biases = spikes * 20, 20 * steps

    def line(numbers):
        return 13.2 + 1.09e-5 * 32 * numbers

    expected = (
        2 * spikes * line(1000)
        + (synops + biases) * line(2020)
        + 2 * (synops + 20 * steps) * line(20)
        + (2 * synops + biases + spikes) * ADD
    )
    assert high == pytest.approx(expected * PJ)


def test_at_the_break_even_rate_both_need_the_same():
    def network(rate):
        return ModelEnergy(Network([Layer("x", 1000, 10, rate=rate)]))

    comparison = network(1.0).compare([SPIKING], timesteps=10, baseline=ORDINARY)
    (row,) = comparison.layers
    there = network(row.break_even_rate)
    assert there.total_energy(SPIKING, 10) == pytest.approx(there.total_energy(ORDINARY))


def test_reports_say_what_it_is(dense):
    text = ModelEnergy(*dense).summary_string(("name", f"energy {SPIKING}"))
    flat = " ".join(text.split())
    assert "Lemaire et al. (2022), with 32-bit integers in 45 nm" in flat
    assert "(readings of published figures: " in flat
    assert "Only arithmetic is estimated" not in flat
    inp = keras.Input((8, 8, 4))
    pool = ModelEnergy(keras.Model(inp, keras.layers.MaxPooling2D(name="pool")(inp)))
    flat = " ".join(pool.summary_string(("name", f"energy {ORDINARY}")).split())
    assert "its formulas are applied to the counts of these too: pool." in flat
    x = keras.layers.Conv2D(4, 3, name="conv")(inp)
    x = keras.layers.DepthwiseConv2D(3, name="deep")(x)
    x = keras.layers.LayerNormalization(name="norm")(x)
    x = keras.layers.Dense(3, name="dense")(x)
    x = keras.layers.Conv2DTranspose(2, 3, name="transpose")(x)
    flat = " ".join(
        ModelEnergy(keras.Model(inp, x)).summary_string(("name", f"energy {ORDINARY}")).split()
    )
    assert "the counts of these too: norm, transpose." in flat


def test_memories_beyond_the_published_ones_are_named():
    network = Network(
        [
            Layer("small", 512 * 512, 512, params=512 * 512),  # 1 MiB
            Layer("large", 512 * 513, 513, params=512 * 513),
        ]
    )
    flat = " ".join(ModelEnergy(network).summary_string(("name", f"energy {ORDINARY}")).split())
    assert "extrapolated to the larger memories of large." in flat


def test_both_adapters_find_the_same_sizes(tmp_path):
    inp = keras.Input((None, 8, 8, 2))
    x = keras.layers.TimeDistributed(keras.layers.Conv2D(3, 3, strides=2))(inp)
    x = keras.layers.TimeDistributed(keras.layers.Flatten())(x)
    x = kspike_tf.Lowpass(0.1)(kspike_tf.SpikingActivation("relu", seed=0)(x))
    shared = keras.layers.Dense(27)
    model = keras.Model(inp, keras.layers.LSTM(5)(shared(shared(x))))
    model.save(tmp_path / "model.keras")
    data = np.ones((1, 4, 8, 8, 2), "float32")
    mine = ModelEnergy(model, data)
    other = ModelEnergy(kspike_ref.load_model(tmp_path / "model.keras"), data)
    sizes = {layer.name: layer.storage for layer in mine.network.layers}
    assert sizes == {layer.name: layer.storage for layer in other.network.layers}
    assert sizes[shared.name].uses == 2
    for device in (ORDINARY, SPIKING):
        total = mine.total_energy(device)
        assert other.total_energy(device) == pytest.approx(total, rel=1e-6)


def test_bad_memory():
    with pytest.raises(TypeError, match=r"memory must be a Memory of energies. Received: memory=3"):
        Device("x", 0.0, 0.0, False, memory=3)
    for name in ("add", "multiply"):
        with pytest.raises(ValueError, match=rf"{name} must not be negative or infinite"):
            Memory(**{"add": 1.0, "multiply": 1.0, name: -1.0}, accesses=((1, 1.0),), line=(0, 0))
    for points in ((), ((2, 1.0), (1, 2.0)), ((1, float("nan")),)):
        with pytest.raises(ValueError, match=r"accesses must (be|not be)"):
            Memory(1.0, 1.0, points, (0.0, 0.0))
