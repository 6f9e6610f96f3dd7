"""Tests that converted models compute the same as ordinary ones."""

import logging
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from ordinary_models import assert_same_function, data_for, trained

import kspike_tf
from kspike_tf.conversion.graph import read_graph

layers = keras.layers


@pytest.fixture
def tensorflow_says():
    """Yield a list that collects TensorFlow's warnings."""
    said = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    logger = tf.get_logger()
    logger.addHandler(handler)
    yield said
    logger.removeHandler(handler)


def test_tensorflow_does_not_warn_of_traces(tensorflow_says):
    x = np.random.default_rng(0).uniform(size=(40, 6, 6, 2)).astype("float32")  # batches of 32, 8
    model = trained(sequential())
    for seed in range(4):
        kspike_tf.convert(model, calibration_data=x, seed=seed)
    assert not [text for text in tensorflow_says if "retracing" in text]


def conv_block(x, filters, activation=True, **options):
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False, **options)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if activation else x


def sequential():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(5),
            layers.LeakyReLU(negative_slope=0.1),
            layers.Dense(3, activation="softmax"),
        ]
    )


def residual():
    inputs = keras.Input((6, 6, 2))
    x = conv_block(inputs, 4)
    x = layers.ReLU()(layers.Add()([x, conv_block(x, 4, activation=False)]))
    down = conv_block(x, 8, activation=False, strides=2)
    x = layers.ReLU()(layers.Add()([conv_block(conv_block(x, 8, strides=2), 8, False), down]))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def normalised_sum():
    inputs = keras.Input((6, 6, 2))
    x = layers.Add()([layers.Conv2D(4, 3)(inputs), layers.SeparableConv2D(4, 3)(inputs)])
    x = layers.ReLU()(layers.BatchNormalization()(x))
    parts = [layers.Conv2D(2, 1)(x), layers.DepthwiseConv2D(1)(x)]
    x = layers.AveragePooling2D(2)(layers.Concatenate()(parts))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def mobile():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 1, use_bias=False)(inputs)
    x = layers.ReLU(max_value=6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = layers.Activation("relu6")(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(3, 1)(x))
    x = layers.PReLU(shared_axes=[1, 2])(layers.ZeroPadding2D()(x))
    x = layers.BatchNormalization()(layers.Conv2DTranspose(3, 2, strides=2)(x))
    return keras.Model(inputs, layers.GlobalMaxPooling2D()(layers.ReLU()(x)))


def shared_and_nested():
    encoder = keras.Sequential(
        [keras.Input((5,)), layers.Dense(6), layers.ReLU(), layers.BatchNormalization()]
    )
    head = layers.Dense(4, activation="relu", name="head")
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    left, right = head(encoder(a)), head(encoder(b))
    joined = layers.Concatenate()([left, right])
    inner_in = keras.Input((8,))
    inner = keras.Model(inner_in, layers.Dense(3, "relu")(layers.Dense(8, "relu")(inner_in)))
    outputs = {"sum": layers.Add()([left, right]), "deep": layers.Dense(2)(inner(joined))}
    return keras.Model({"a": a, "b": b}, outputs)


def smooth():
    return keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(6, activation="tanh"),
            layers.Dense(6, activation="gelu"),
            layers.Dense(4, activation="relu"),
            layers.Dense(3, activation="sigmoid"),
        ]
    )


def operations():
    inputs = keras.Input((5,))
    x = keras.ops.relu(layers.Dense(6)(inputs) + 0.5)
    y = keras.ops.tanh(layers.Dense(6)(x))
    x = keras.ops.concatenate([x, y * 2.0], axis=1)
    return keras.Model(inputs, [layers.Dense(2)(x), keras.ops.softmax(layers.Dense(3)(x))])


def unusual():
    inputs = keras.Input((8, 3))
    x = layers.Conv1D(4, 3, padding="causal", activation="relu")(inputs)
    x = layers.UpSampling1D(2)(layers.Cropping1D(1)(x))
    x = layers.LSTM(4)(layers.Permute((1, 2))(layers.Dense(4, "relu")(x)))
    x = layers.LayerNormalization()(layers.Reshape((2, 2))(x))
    x = layers.EinsumDense("abc,cd->abd", (2, 3), activation="relu", bias_axes="d")(x)
    return keras.Model(inputs, layers.Multiply()([x, layers.Dense(3)(x)]))


@keras.saving.register_keras_serializable("tests")
def centred(x):
    """A user-defined activation, which is not elementwise."""
    return x - keras.ops.mean(x, axis=1, keepdims=True)


@keras.saving.register_keras_serializable("tests")
class Squared(layers.ReLU):
    """A user-defined layer through which scales do not pass."""

    def call(self, inputs):
        return super().call(inputs) ** 2


def rare():
    """Layers with several arguments, shared dropout, scalars, user-defined functions."""
    inputs, drop = keras.Input((6, 5)), layers.Dropout(0.2)
    x = layers.Dense(6, activation=tf.nn.relu)(inputs)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 3)(x, x)])
    start = drop(layers.Dense(4, activation=centred)(layers.Flatten()(x)))
    x = layers.GRU(4)(x, initial_state=start)
    x = Squared(name="squared")(layers.Dense(6)(x * x))
    x = drop(layers.Dense(6, activation="relu")(x))
    x = x / (1.0 + keras.ops.mean(x, axis=-1)[:, None])
    return keras.Model(inputs, layers.Dense(3)(drop(layers.Dense(5, activation="relu")(x))))


@keras.saving.register_keras_serializable("tests")
class Shifted(layers.BatchNormalization):
    """A user-defined normalisation, which cannot be folded."""

    def call(self, inputs, training=None):
        return 3 * super().call(inputs, training=training) + 1


@keras.saving.register_keras_serializable("tests")
class HalfAdd(layers.Add):
    """A user-defined sum, through which factors per channel do not pass."""

    def call(self, inputs):
        return super().call(inputs) / 2 + 1


@keras.saving.register_keras_serializable("tests")
class HalfDropout(layers.Dropout):
    """A user-defined dropout, which changes its input at inference."""

    def call(self, inputs, training=False):
        return inputs * 0.5 - 1


@keras.saving.register_keras_serializable("tests")
class Standardised(layers.Conv1D):
    """A user-defined convolution, whose output does not scale with its kernel."""

    def convolution_op(self, inputs, kernel):
        kernel = (kernel - keras.ops.mean(kernel)) / keras.ops.std(kernel)
        return super().convolution_op(inputs, kernel)


def derived():
    """Classes derived from layers of Keras that would be folded or scaled."""
    inputs = keras.Input((6, 5))
    x = layers.ReLU()(Shifted()(layers.Dense(4)(inputs)))
    x = layers.BatchNormalization()(HalfAdd()([layers.Dense(4)(x), layers.Dense(4)(x)]))
    x = layers.BatchNormalization()(HalfDropout(0.5)(layers.Dense(4)(layers.ReLU()(x))))
    x = layers.ReLU()(Standardised(4, 2)(layers.ReLU()(x)))
    x = keras.ops.max(x, axis=1, initial=0.5)
    return keras.Model(inputs, layers.Dense(3)(layers.ReLU()(layers.Dense(4)(x))))


def categories():
    """An adapted layer whose configuration holds what it has learned."""
    bins = layers.Discretization(num_bins=4)
    bins.adapt(np.random.default_rng(0).normal(0, 1, (64, 6)))
    embedding = layers.Embedding(4, 3)
    return keras.Sequential(
        [keras.Input((6,)), bins, embedding, layers.Flatten(), layers.Dense(8, "relu")]
    )


def preprocessed():
    scaled = layers.Normalization(name="adapted")
    scaled.adapt(np.random.default_rng(0).normal(0.2, [0.5, 2], (50, 6, 6, 2)))
    return keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.RandomFlip("horizontal"),
            layers.Lambda(lambda images: 2.0 * images - 1),
            scaled,
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
            layers.Softmax(),
        ]
    )


MODELS = {
    make.__name__: make
    for make in (
        sequential,
        residual,
        normalised_sum,
        mobile,
        shared_and_nested,
        smooth,
        operations,
        unusual,
        rare,
        derived,
        categories,
        preprocessed,
    )
}


@pytest.mark.parametrize("trainable_rates", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_function_stays_the_same(name, trainable_rates):
    """With many spikes per step, rates are exact, and so are the outputs."""
    model = trained(MODELS[name]())
    x = data_for(model)
    before = model.get_weights()
    conversion = kspike_tf.convert(
        model,
        calibration_data=x,
        max_rate=1e8,  # 1e5 spikes per step: quantised to 1e-5 of the largest activations
        synapse=None,
        timesteps=2,
        trainable_rates=trainable_rates,
    )
    assert_same_function(conversion, model, x)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert conversion.report.output_error < 2e-3


def test_normalisation_that_stays_trains():
    """In training, batch statistics give the same outputs as in the ordinary model."""
    model = trained(
        keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                layers.Conv2D(4, 3, activation="relu"),
                layers.BatchNormalization(),
                layers.Flatten(),
                layers.Dense(3),
            ]
        )
    )
    x = data_for(model)
    spiking = kspike_tf.convert(model, calibration_data=x, max_rate=1e8, synapse=None).model
    shown = np.repeat(x[:, None], 3, axis=1)
    expected = keras.ops.convert_to_numpy(model(x, training=True))
    np.testing.assert_allclose(spiking(shown, training=True), expected, atol=2e-3)


@pytest.mark.parametrize("kind", [layers.Dropout, layers.SpatialDropout2D])
def test_dropout_is_the_same_at_all_steps(kind):
    model = keras.Sequential([keras.Input((6, 6, 2)), kind(0.5, name="drop"), layers.ReLU()])
    spiking = kspike_tf.convert(model, calibration_data=data_for(model)).model
    found = np.array(spiking.get_layer("drop")(np.ones((8, 5, 6, 6, 2)), training=True))
    expected = found[:, :1] if kind is layers.Dropout else found[:, :1, :1, :1]
    np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))
    assert {0.0, 2.0} == set(np.ravel(expected))


def test_alpha_dropout_is_the_same_at_all_steps():
    drop = layers.AlphaDropout(0.5, name="drop")
    model = keras.Sequential([keras.Input((6,)), drop, layers.ReLU()])
    spiking = kspike_tf.convert(model, calibration_data=data_for(model)).model
    found = np.array(spiking.get_layer("drop")(np.ones((8, 5, 6)), training=True))
    assert len(np.unique(found)) == 2
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1], found.shape))


def test_what_does_not_spike_is_named():
    model = trained(rare())
    x = data_for(model)
    names = {type(each).__name__: each.name for each in model.operations}
    report = kspike_tf.convert(model, calibration_data=x).report
    own = next(each.name for each in model.layers if getattr(each, "activation", None) is centred)
    own_or_weighted = {names["MultiHeadAttention"], names["GRU"], own, "squared"}
    assert set(report.kept) == {*own_or_weighted, names["Multiply"], names["TrueDivide"]}
    with pytest.raises(ValueError, match="its activation is none of Keras' functions"):
        kspike_tf.convert(model, calibration_data=x, other_activations="refuse")


def test_structure_of_outputs():
    model = trained(shared_and_nested())
    x = data_for(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*keys in the dict must match the names")
        found = kspike_tf.convert(model, calibration_data=x).predict(x, 5, verbose=0)
    assert {key: value.shape for key, value in found.items()} == {"sum": (24, 4), "deep": (24, 2)}


def test_normalisation_is_folded_where_it_can_be():
    model = trained(residual())
    report = kspike_tf.convert(model, calibration_data=data_for(model)).report
    assert all(outcome.startswith("folded") for outcome in report.normalisation.values())
    model = trained(sequential())
    report = kspike_tf.convert(model, calibration_data=data_for(model)).report
    assert [o.split(":")[0] for o in report.normalisation.values()] == ["kept"]  # after a ReLU
    model = trained(normalised_sum())
    report = kspike_tf.convert(model, calibration_data=data_for(model)).report
    first, second = report.normalisation.values()
    assert first.count(",") == second.count(",") == 1  # each into both branches


def test_layers_that_are_added_have_one_scale():
    model = trained(residual())
    report = kspike_tf.convert(model, calibration_data=data_for(model)).report
    scales = [layer.scale for layer in report.layers]
    assert scales[0] == scales[1]
    assert scales[2] != scales[1]


def test_readout():
    model = trained(sequential())
    x = data_for(model)
    expected = model.predict(x, verbose=0)
    found = {}
    for readout in ("last", "mean", "sequence"):
        conversion = kspike_tf.convert(model, calibration_data=x, max_rate=1e8, readout=readout)
        found[readout] = conversion.predict(x, 200, verbose=0)  # many time constants: settled
    assert found["sequence"].shape == (24, 200, 3)
    np.testing.assert_allclose(found["sequence"][:, -1], found["last"], atol=1e-6)  # order of sums
    np.testing.assert_allclose(found["last"], expected, atol=2e-3)
    np.testing.assert_allclose(found["mean"], expected, atol=0.2)  # a mean includes the start


@pytest.mark.parametrize("rate", [3.0, 40.0, 333.3, 1700.0])
@pytest.mark.parametrize("timesteps", [1, 7, 50])
def test_error_is_below_one_spike(rate, timesteps):
    """With constant input and no filter, spikes equal the integral to within one spike."""
    units = 50
    model = keras.Sequential([keras.Input((units,)), layers.ReLU()])
    x = np.random.default_rng(0).uniform(-0.2, 1, (4, units)).astype("float32")
    conversion = kspike_tf.convert(
        model, calibration_data=x, scale=rate, synapse=None, timesteps=1, readout="mean"
    )
    means = conversion.predict(x, timesteps, verbose=0)
    spikes_off = (means - np.maximum(x, 0)) * rate * 0.001 * timesteps
    assert np.abs(spikes_off).max() < 1 + 1e-4  # float32 activations of up to 85 spikes
    assert np.abs(spikes_off).max() > 0


def test_means_converge_only_behind_filters():
    """A ReLU of single spikes is too large on average, for any number of steps; see the guide."""
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(32, "relu", name=name) for name in ("one", "two")]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(4)])
    x = data_for(model, 6)
    expected = model.predict(x, verbose=0)
    errors, reports = {}, {}
    for synapse in (None, 0.01):
        conversion = kspike_tf.convert(
            model, calibration_data=x, max_rate=1000, synapse=synapse, readout="sequence"
        )
        found = conversion.predict(x, 800, verbose=0)[:, 200:]  # filters have settled
        means = np.stack([found[:, :100].mean(1), found.mean(1)])
        off = np.sqrt(np.mean((means - expected) ** 2, axis=(1, 2)))
        errors[synapse] = off / np.sqrt(np.mean(expected**2))
        reports[synapse] = conversion.report
    assert errors[None][1] > 0.9 * errors[None][0] > 0.2
    assert errors[0.01][1] < 0.02
    assert reports[None].unfiltered == ("two",)  # constant input reaches the first
    assert "single spikes reach two: means over time do not converge" in str(reports[None])
    assert reports[0.01].unfiltered == ()
    assert "do not converge" not in str(reports[0.01])


def test_max_pooling():
    model = trained(sequential())
    x = data_for(model)
    conversion = kspike_tf.convert(model, calibration_data=x, max_pooling="average")
    (outcome,) = conversion.report.max_pooling.values()
    assert "average" in outcome
    assert 0 <= conversion.report.pooling_agreement <= 1
    inner = [getattr(layer, "layer", layer) for layer in conversion.model.layers]
    assert not any(isinstance(layer, layers.MaxPooling2D) for layer in inner)
    assert any(isinstance(layer, layers.AveragePooling2D) for layer in inner)
    with pytest.raises(ValueError, match=r"max_pooling2d.*: max pooling"):
        kspike_tf.convert(model, calibration_data=x, max_pooling="refuse")


def test_other_activations():
    model = trained(smooth())
    x = data_for(model)

    def spiking(conversion):
        return [
            layer.name
            for layer in conversion.model.layers
            if isinstance(layer, kspike_tf.SpikingActivation)
        ]

    assert len(spiking(kspike_tf.convert(model, calibration_data=x))) == 3
    kept = kspike_tf.convert(model, calibration_data=x, other_activations="keep")
    assert len(spiking(kept)) == 1
    assert len(kept.report.kept) == 3
    with pytest.raises(ValueError, match=r"(?s)dense.*tanh is not a rect.*gelu.*sigmoid"):
        kspike_tf.convert(model, calibration_data=x, other_activations="refuse")


def test_scale_by_name():
    model = trained(residual())
    x = data_for(model)
    names = [layer.name for layer in kspike_tf.convert(model, calibration_data=x).report.layers]
    report = kspike_tf.convert(model, calibration_data=x, scale={names[0]: 12.5}).report
    assert [layer.scale for layer in report.layers][:2] == [12.5, 12.5]
    report = kspike_tf.convert(model, calibration_data=x, scale=7).report
    assert {layer.scale for layer in report.layers} == {7}
    with pytest.raises(ValueError, match="scale must be the same"):
        kspike_tf.convert(model, calibration_data=x, scale={names[0]: 1.0, names[1]: 2.0})
    with pytest.raises(ValueError, match="scale must name"):
        kspike_tf.convert(model, calibration_data=x, scale={"nobody": 1.0})
    with pytest.raises(ValueError, match="scale must be positive"):
        kspike_tf.convert(model, calibration_data=x, scale=-1.0)
    with pytest.raises(ValueError, match=r"scale\['b'\] must be positive .* scale\['b'\]=-1.0"):
        kspike_tf.convert(model, calibration_data=x, scale={"a": 1.0, "b": -1.0})


def test_new_weights():
    model = trained(sequential())
    x = data_for(model)
    conversion = kspike_tf.convert(model, calibration_data=x, copy_weights=False)
    assert conversion.report.normalisation == {}  # nothing to fold yet
    old, new = (np.ravel(m.weights[0]) for m in (model, conversion.model))
    assert old.shape == new.shape
    assert abs(np.corrcoef(old, new)[0, 1]) < 0.9  # not even proportional


def test_fine_tuning():
    model = trained(sequential())
    x = data_for(model, 64)
    conversion = kspike_tf.convert(model, calibration_data=x)
    target = model.predict(x, verbose=0).argmax(-1)
    spiking = conversion.model
    spiking.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    shown = np.repeat(x[:, None], 20, axis=1)
    history = spiking.fit(shown, target, epochs=5, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_saved_and_loaded(tmp_path):
    for name in ("sequential", "shared_and_nested", "operations"):
        model = trained(MODELS[name]())
        x = data_for(model)
        conversion = kspike_tf.convert(model, calibration_data=x)
        conversion.model.save(tmp_path / "spiking.keras")
        loaded = keras.models.load_model(tmp_path / "spiking.keras")
        shown = keras.tree.map_structure(lambda a: np.repeat(a[:, None], 9, axis=1), x)
        pairs = zip(
            keras.tree.flatten(loaded.predict(shown, verbose=0)),
            keras.tree.flatten(conversion.predict(x, 9, verbose=0)),
            strict=True,
        )
        for one, other in pairs:
            np.testing.assert_array_equal(one, other)


def test_original_is_only_read():
    model = trained(shared_and_nested())
    nodes = [len(layer._inbound_nodes) for layer in model.layers]
    read_graph(model)
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes


def test_bad_input():
    model = trained(sequential())
    x = data_for(model)
    cases = [
        ({"calibration_data": x[:, None]}, ValueError, "without a time axis"),
        ({"calibration_data": x[..., :1]}, ValueError, r"\(batch, 6, 6, 2\)"),
        ({"calibration_data": x[:0]}, ValueError, "must not be empty"),
        ({"calibration_data": [x, x]}, ValueError, "calibration_data"),
        ({"calibration_data": x * np.nan}, ValueError, "must be finite"),
        ({"calibration_data": np.full(x.shape, "a")}, ValueError, "must be numbers"),
        ({"dt": 0.0}, ValueError, "dt must be positive"),
        ({"max_rate": "fast"}, TypeError, "max_rate must be a number"),
        ({"percentile": 101.0}, ValueError, "percentile must be at most 100"),
        ({"synapse": -1.0}, ValueError, "synapse must be positive"),
        ({"max_pooling": "median"}, ValueError, "max_pooling must be one of"),
        ({"readout": "last", "synapse": None}, ValueError, "Use readout='mean'"),
        ({"timesteps": 0}, ValueError, "timesteps must be positive"),
        ({"timesteps": 1.5}, TypeError, "timesteps must be an integer"),
    ]
    for options, error, message in cases:
        with pytest.raises(error, match=message):
            kspike_tf.convert(model, **{"calibration_data": x, **options})


def test_models_that_cannot_be_converted():
    x = np.ones((4, 5), "float32")
    with pytest.raises(TypeError, match="Sequential or Functional"):
        kspike_tf.convert(layers.Dense(1), calibration_data=x)
    with pytest.raises(ValueError, match="must have been built"):
        kspike_tf.convert(keras.Sequential([layers.Dense(1)]), calibration_data=x)
    linear = keras.Sequential([keras.Input((5,)), layers.Dense(1)])
    with pytest.raises(ValueError, match="activation that can spike"):
        kspike_tf.convert(linear, calibration_data=x)
    dead = keras.Sequential([keras.Input((5,)), layers.Dense(2, "relu", name="dead")])
    dead.layers[0].set_weights([-np.ones((5, 2)), np.zeros(2)])
    with pytest.raises(ValueError, match="activations are zero in: dead"):
        kspike_tf.convert(dead, calibration_data=x)

    class Doubled(keras.Model):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs, training=training)

    doubled = Doubled(linear.inputs, layers.ReLU()(linear.outputs[0]))
    with pytest.raises(TypeError, match="its own call"):
        kspike_tf.convert(doubled, calibration_data=x)
    steady = layers.GRU(2, stateful=True, name="steady")
    keeps = keras.Sequential([keras.Input(batch_shape=(4, 3, 5)), steady, layers.ReLU()])
    with pytest.raises(ValueError, match="steady: it is stateful"):
        kspike_tf.convert(keeps, calibration_data=x[:, None].repeat(3, axis=1))
    sick = keras.Sequential(
        [
            keras.Input((None,)),
            layers.Embedding(3, 2, mask_zero=True, name="words"),
            layers.Dense(2, "relu", name="sick"),
            layers.RNN(kspike_tf.LowpassCell(2, 0.1), return_sequences=True, name="cells"),
            kspike_tf.Lowpass(0.1, name="filter"),
        ]
    )
    sick.get_layer("sick").kernel.assign(np.full((2, 2), np.nan))
    reasons = r"(?s)words: .*mask.*sick: .*finite.*cells: .*time axis.*filter: .*time axis"
    with pytest.raises(ValueError, match=reasons):
        kspike_tf.convert(sick, calibration_data=x)
    small = keras.Sequential([keras.Input((5,)), layers.Dense(2, "relu", name="small")])
    small.get_layer("small").quantize("int8")
    with pytest.raises(ValueError, match=r"small: it is quantised \(int8\); convert .* before"):
        kspike_tf.convert(small, calibration_data=x)


def test_too_few_spikes_are_told_once():
    model = trained(sequential())
    x = data_for(model)
    conversion = kspike_tf.convert(model, calibration_data=x, max_rate=20.0, timesteps=10)
    assert "less than one expected spike for each active neuron in 10 ms" in str(conversion.report)
    shown = [layer.active_rate * 0.01 for layer in conversion.report.layers]
    assert max(shown) < 1
    with pytest.warns(kspike_tf.FewSpikesWarning, match="Raise max_rate or show the input longer"):
        conversion.predict(x, 10, verbose=0)
    enough = int(1 / min(layer.active_rate for layer in conversion.report.layers) / 0.001) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", kspike_tf.FewSpikesWarning)
        conversion.predict(x, 10, verbose=0)
        again = kspike_tf.convert(model, calibration_data=x, max_rate=20.0, timesteps=enough)
        again.predict(x, enough, verbose=0)
    assert "less than one" not in str(again.report)


def test_compiled_predict_tells_of_too_few_spikes_once():
    model = trained(sequential())
    x = data_for(model)
    shown = np.repeat(x[:, None], 10, axis=1)
    conversion, trains = (
        kspike_tf.convert(model, calibration_data=x, max_rate=20.0, timesteps=10) for _ in range(2)
    )
    with pytest.warns(kspike_tf.FewSpikesWarning, match="for each active neuron in 10 ms") as told:
        conversion.model.predict(shown, verbose=0)
    (warning,) = [each for each in told if each.category is kspike_tf.FewSpikesWarning]
    assert warning.filename == __file__  # not a line of Keras
    enough = int(1 / min(layer.active_rate for layer in conversion.report.layers) / 0.001) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", kspike_tf.FewSpikesWarning)
        conversion.model.predict(shown, batch_size=5, verbose=0)
        conversion.predict(x, 10, verbose=0)
        trains.model.predict(np.repeat(x[:, None], enough, axis=1), verbose=0)
        trains.model.compile("sgd", "mse")
        trains.model.fit(shown, conversion.model.predict(shown, verbose=0), verbose=0)


def test_conversion_compiles_nothing(monkeypatch):
    """Compiling a function per model would be slower, and TensorFlow warns about too many."""

    def refuse(model, *arguments, **options):
        raise AssertionError(f"{model.name} is compiled")

    model = trained(sequential())
    monkeypatch.setattr(keras.Model, "make_predict_function", refuse)
    conversion = kspike_tf.convert(model, calibration_data=data_for(model), timesteps=20)
    assert conversion.report.agreement is not None
    with pytest.raises(AssertionError, match="is compiled"):
        conversion.model.predict(np.zeros((1, 2, *model.input_shape[1:])), verbose=0)
