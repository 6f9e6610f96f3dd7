"""Tests of `kspike_energy` through both adapters, and against counts of kspike_ref's kernels.

The two counts share no code: kspike_energy multiplies measured events by the fan-out of its
formulas; kspike_ref counts while it multiplies.
"""

import warnings

import keras
import numpy as np
import pytest
import versions
from entries import ENTRIES, OPERATIONS

import kspike_ref
import kspike_tf
from kspike_energy import ModelEnergy
from kspike_energy.registry import forget_statistics

L = keras.layers


def spiking(name, **kwargs):
    return kspike_tf.SpikingActivation("relu", seed=3, name=name, **kwargs)


def digits():
    inp = keras.Input((None, 24))
    firing = keras.initializers.Constant(80.0)  # Hz: spikes even where the input is weak
    x = spiking("spikes")(L.Dense(16, bias_initializer=firing, name="hidden")(inp))
    x = kspike_tf.Lowpass(0.01, name="filter")(L.Dense(8, name="second")(x))
    x = kspike_tf.Alpha(0.01, return_sequences=False, name="alpha")(x)
    return keras.Model(inp, L.Dense(5, name="scores")(x)), (6, 15, 24)


def convolutional():
    inp = keras.Input((None, 9, 8, 2))
    firing = {"bias_initializer": keras.initializers.Constant(80.0)}  # Hz: no layer is silent
    each = L.TimeDistributed
    x = spiking("s1")(each(L.Conv2D(4, 3, padding="same", strides=2, **firing), name="c1")(inp))
    x = each(L.Conv2D(6, (3, 2), padding="same", groups=2, **firing), name="c2")(x)
    x = each(L.Conv2D(4, 2, dilation_rate=2, **firing), name="c3")(spiking("s2")(x))
    x = each(L.DepthwiseConv2D(2, depth_multiplier=2, **firing), name="c4")(spiking("s3")(x))
    x = each(L.Conv2DTranspose(3, 3, strides=2, **firing), name="c5")(spiking("s4")(x))
    x = each(L.Flatten(), name="flat")(spiking("s5")(x))
    return keras.Model(inp, L.Dense(3, name="scores")(x)), (3, 15, 9, 8, 2)


def ordinary():
    inp = keras.Input((12, 10, 3))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="c1")(inp)
    x = L.BatchNormalization(name="n1")(L.Conv2D(4, 3, padding="same", name="c2")(x))
    x = L.ReLU(name="r")(L.Add(name="sum")([x, inp[..., :1]]))
    x = L.SeparableConv2D(6, 3, padding="same", name="sep")(L.MaxPooling2D(name="max")(x))
    x = L.Conv2DTranspose(2, 3, strides=2, name="up")(L.LayerNormalization(name="n2")(x))
    x = L.GlobalAveragePooling2D(name="mean")(L.UpSampling2D(name="twice")(x) + 1.0)
    return keras.Model(inp, L.Dense(3, "softmax", name="out")(x)), (2, 12, 10, 3)


def recurrent():
    inp = keras.Input((7, 5))
    x = L.Bidirectional(L.LSTM(4, return_sequences=True), name="both")(inp)
    x = L.GRU(6, return_sequences=True, name="gru")(x)
    x = L.RNN([L.SimpleRNNCell(3), L.SimpleRNNCell(2)], name="stack")(x)
    return keras.Model(inp, x), (3, 7, 5)


def shared_and_nested():
    inner_in = keras.Input((6,))
    inner = keras.Model(inner_in, L.Dense(6, "relu", name="d")(inner_in), name="inner")
    inp = keras.Input((6,))
    shared = L.Dense(6, name="shared")
    x = inner(shared(inner(shared(inp))))
    return keras.Model(inp, L.EinsumDense("ab,bc->ac", 2, name="einsum")(x)), (4, 6)


def words():
    inp = keras.Input((7,), dtype="int32")
    x = L.Embedding(20, 5, name="embed")(inp)
    x = L.Conv1D(4, 3, padding="causal", name="conv")(x)
    return keras.Model(inp, L.GlobalMaxPooling1D(name="max")(x)), (4, 7)


def at_each_step():
    inner = keras.Sequential([keras.Input((6, 6, 1)), L.Conv2D(2, 3, name="c"), L.Flatten()])
    inp = keras.Input((5, 6, 6, 1))  # fixed number of steps
    x = L.TimeDistributed(inner, name="each")(spiking("spikes")(inp))
    return keras.Model(inp, L.Dense(3, name="scores")(x)), (3, 5, 6, 6, 1)


def operations():
    ops = keras.ops
    inp = keras.Input((4, 6))
    x = ops.multiply(ops.relu(inp - 0.5), ops.clip(inp, 0.0, 0.8)) + np.arange(6, dtype="float32")
    x = ops.concatenate([ops.square(x), ops.prod(inp, axis=-1, keepdims=True)], axis=-1)
    x = ops.softmax(ops.mean(ops.transpose(x, (0, 2, 1)), axis=-1))
    return keras.Model(inp, L.Dense(3, name="out")(x)), (3, 4, 6)


MODELS = [
    digits,
    convolutional,
    ordinary,
    recurrent,
    shared_and_nested,
    words,
    at_each_step,
    operations,
]


@pytest.fixture(params=MODELS, ids=lambda build: build.__name__)
def case(request, tmp_path):
    keras.utils.set_random_seed(5)
    model, shape = request.param()
    model.save(tmp_path / "model.keras")
    reference = kspike_ref.load_model(tmp_path / "model.keras")
    rng = np.random.default_rng(7)
    if model.inputs[0].dtype == "int32":
        data = rng.integers(0, 20, shape)
    else:
        # The rates are high enough that spiking layers spike, and no value saturates a sigmoid:
        # there the last bits would decide whether a value is zero, and so an event.
        largest = 1 if request.param in (recurrent, operations) else 300
        data = rng.uniform(0, largest, shape).astype("float32") * (rng.random(shape) < 0.4)
    return model, reference, data


def rows(energy):
    return [
        (layer.name, layer.connections, layer.neurons, layer.spiking, layer.params, layer.dt)
        for layer in energy.network.layers
    ]


@pytest.mark.parametrize("padding", ["excluded", "counted"])
def test_both_adapters_count_the_same(case, padding):
    model, reference, _ = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # neither adapter may report a gap
        counts = [rows(ModelEnergy(m, padding=padding)) for m in (model, reference)]
    assert sorted(map(str, counts[0])) == sorted(map(str, counts[1]))


@pytest.mark.parametrize("events", ["mean", "exact"])
def test_both_adapters_estimate_the_same(case, events):
    model, reference, data = case
    through_keras, through_reference = (
        ModelEnergy(m, data, events=events, batch_size=2) for m in (model, reference)
    )
    for layer in through_keras.network.layers:
        # 1e-6: with the same spikes, only the last bits of float32 products differ. Rates that are
        # sums of such bits around zero are compared with the largest.
        got = through_reference.layer_energy(layer.name, "loihi", 10)
        assert got == pytest.approx(through_keras.layer_energy(layer, "loihi", 10), rel=1e-6)
    for device in ("cpu", "loihi", "spinnaker2"):
        assert through_reference.total_energy(device, 10) == pytest.approx(
            through_keras.total_energy(device, 10), rel=1e-6
        )


@pytest.mark.parametrize("build", [digits, convolutional], ids=lambda build: build.__name__)
@pytest.mark.parametrize("scale", [1.0, 0.05], ids=["busy", "calm"])  # dense and event-driven
def test_exact_events_are_what_the_kernels_counted(build, scale, tmp_path):
    keras.utils.set_random_seed(5)
    model, shape = build()
    model.save(tmp_path / "model.keras")
    reference = kspike_ref.load_model(tmp_path / "model.keras")
    data = np.random.default_rng(7).uniform(0, 300 * scale, shape).astype("float32")
    reference.predict(data)
    counted = {name: run for name, run in reference.last_run.items() if run.synops is not None}
    assert set(counted) >= ({"second"} if build is digits else {"c2", "c3", "scores"})
    assert all(run.synops for run in counted.values())  # no layer is silent
    for source in (reference, model):
        energy = ModelEnergy(source, data, events="exact", batch_size=2)
        for name, run in counted.items():
            layer = next(x for x in energy.network.layers if x.name == name)
            assert isinstance(layer.operations, int)
            assert layer.operations == run.synops


def every_operation():
    """Return a model with every ``keras.ops`` operation that kspike_ref knows."""
    ops = keras.ops
    inp, other = keras.Input((4, 6)), keras.Input((4, 6))
    pairs = "add subtract multiply true_divide divide floor_divide mod power maximum minimum"
    questions = "greater greater_equal less less_equal equal not_equal"
    single = """
        negative absolute abs square sqrt exp expm1 log log1p sin cos tanh sign floor ceil rsqrt
        reciprocal relu relu6 sigmoid silu softplus softsign hard_sigmoid hard_silu selu
        zeros_like ones_like
    """
    outputs = [getattr(ops, name)(inp) for name in single.split()]
    for function in (getattr(ops, name) for name in pairs.split()):
        outputs += [function(inp, other), function(inp, 2.0), function(2.0, inp)]
    answers = [getattr(ops, name)(inp, other) for name in questions.split()]
    outputs += [*answers, ops.logical_and(*answers[:2]), ops.logical_or(*answers[:2])]
    outputs += [ops.logical_not(answers[0]), ops.any(answers[1], -1), ops.all(answers[2], -1)]
    for function in (getattr(ops, name) for name in ("mean", "sum", "max", "min", "prod")):
        outputs += [function(inp, axis=-1), function(inp, axis=(1, 2), keepdims=True)]
    outputs += [
        ops.reshape(inp, (-1, 24)),
        ops.transpose(inp, (0, 2, 1)),
        ops.squeeze(ops.expand_dims(inp, 1), 1),
        ops.concatenate([inp, other], axis=1),
        ops.stack([inp, other], axis=1),
        ops.clip(inp, 0.0, 1.0),
        ops.softmax(inp, axis=-1),
        inp[:, 1:3],
    ]
    return keras.Model([inp, other], outputs)


def test_every_operation_counts_the_same(tmp_path):
    model = every_operation()
    model.save(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # neither adapter may report a gap
        through_keras = rows(ModelEnergy(model))
        through_reference = rows(ModelEnergy(kspike_ref.load_model(tmp_path / "model.keras")))
    assert sorted(map(str, through_keras)) == sorted(map(str, through_reference))
    # The model must use every operation; Keras saves "Abs" as "Absolute".
    used = {"Abs"} | {layer.__class__.__name__ for layer in model.operations}
    # Operations without a rule are reported as gaps: see the test below.
    assert used >= {key.removeprefix("ops:") for key in OPERATIONS} - {"Cast"}


@versions.whole_table
def test_none_of_all_operations_fails_and_both_adapters_count_the_same(tmp_path):
    from kspike_ref.layers.registry import _registry

    found = {key: entry for key, entry in ENTRIES.items() if key.startswith("ops:")}
    assert found.keys() == {key for key in _registry if key.startswith("ops:")}
    shapes = sorted({(shape, e.within is not None) for e in found.values() for shape in e.shapes})
    inputs = {
        (shape, whole, i): keras.Input(shape, dtype="int32" if len(shape) == 1 else "float32")
        for shape, whole in shapes
        for i in range(2)
    }
    outputs = []
    for key, entry in found.items():
        whole = entry.within is not None
        made = entry.build(*(inputs[shape, whole, i] for i, shape in enumerate(entry.shapes)))
        assert made._keras_history.operation is not None, key
        outputs.append(made)
    model = keras.Model(list(inputs.values()), outputs)
    model.save(tmp_path / "model.keras")
    reference = kspike_ref.load_model(tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    data = [rng.integers(1, 4, (2, *shape)).astype(t.dtype) for (shape, *_), t in inputs.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about operations without a rule and about constants
        through = [ModelEnergy(one, data) for one in (model, reference)]
    assert sorted(map(str, rows(through[0]))) == sorted(map(str, rows(through[1])))
    assert len(rows(through[0])) >= len(found)
    for device in ("cpu", "loihi"):
        one, other = (energy.total_energy(device, 1) for energy in through)
        assert one == pytest.approx(other, rel=1e-6)


@keras.saving.register_keras_serializable("energy_test")
class Twice(L.Layer):
    def call(self, x):
        return 2 * x

    def compute_output_shape(self, shape):
        return shape


def test_statistics_registered_by_the_saved_name_serve_both(tmp_path, request):
    @kspike_ref.register_layer("energy_test>Twice")
    class _(kspike_ref.Layer):
        pointwise_from = 2

        def call(self, x):
            return 2 * x

    saved = "energy_test>Twice"
    ModelEnergy.register_layer(saved)(lambda node: {"connections": node.input_shapes[-1]})
    request.addfinalizer(lambda: forget_statistics(saved))
    inp = keras.Input((None, 4))
    model = keras.Model(inp, L.TimeDistributed(Twice(), name="inside")(Twice(name="alone")(inp)))
    model.save(tmp_path / "model.keras")
    for source in (model, kspike_ref.load_model(tmp_path / "model.keras")):
        counted = {layer.name: layer.connections for layer in ModelEnergy(source).network.layers}
        assert counted["alone"] == counted["inside"] == 4


def of_any_size():
    """Return a model of open image size that contains another model."""
    inner_in = keras.Input((None, None, 3))
    inner = keras.Model(inner_in, L.Conv2D(4, 3, padding="same", name="c1")(inner_in), name="inner")
    image, gain = keras.Input((None, None, 3), name="image"), keras.Input((4,), name="gain")
    x = L.MaxPooling2D(name="max")(inner(image))
    x = L.GlobalAveragePooling2D(name="mean")(L.Concatenate(name="both")([x, x * 2.0]))
    return keras.Model([image, gain], L.Dense(3, name="out")(L.Concatenate(name="all")([x, gain])))


def saved_and_loaded(model, folder):
    model.save(folder / "model.keras")
    return kspike_ref.load_model(folder / "model.keras")


@pytest.mark.parametrize("as_data", [False, True])
def test_shapes_that_a_model_leaves_open(as_data, tmp_path):
    model = of_any_size()
    shapes = [(None, 12, 10, 3), (None, 4)]
    data = [np.ones((2, *shape[1:]), np.float32) for shape in shapes] if as_data else None
    settings = {} if as_data else {"input_shape": shapes}
    expected = ModelEnergy(model, data, **settings)
    assert not expected.network.gaps
    assert expected.network.connections > 12 * 10 * 3
    found = ModelEnergy(saved_and_loaded(model, tmp_path), data, **settings)
    assert sorted(map(str, rows(found))) == sorted(map(str, rows(expected)))


def test_a_shape_that_does_not_fit_a_loaded_model(tmp_path):
    model = saved_and_loaded(of_any_size(), tmp_path)
    with pytest.raises(ValueError, match=r"input_shape must fit .*'image'.*\(None, 12, 10, 4\)"):
        ModelEnergy(model, input_shape=[(None, 12, 10, 4), (None, 4)])
    with pytest.raises(ValueError, match="input_shape must hold 2 shapes"):
        ModelEnergy(model, input_shape=(None, 12, 10, 3))
