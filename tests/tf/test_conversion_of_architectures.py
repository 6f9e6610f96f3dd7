"""Tests of conversions: building blocks of well-known networks, layers and operations by kind."""

import functools

import keras
import numpy as np
import pytest
from ordinary_models import assert_same_function, data_for, trained

import kspike_tf
from kspike_tf.conversion.copies import model_with_new_weights

layers, ops = keras.layers, keras.ops
FACTOR = 3.0


def normalised(x, activation="relu"):
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def mobilenet():
    """Depthwise separable convolution, then inverted residuals with ReLU6 (MobileNet 1 and 2)."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(2.0, offset=-1)(inputs)
    x = normalised(layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(x), "relu6")
    x = normalised(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x), "relu6")
    x = layers.BatchNormalization()(layers.Conv2D(4, 1, use_bias=False)(x))
    y = normalised(layers.Conv2D(8, 1, use_bias=False)(x), "relu6")
    y = normalised(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y), "relu6")
    x = layers.Add()([x, layers.BatchNormalization()(layers.Conv2D(4, 1, use_bias=False)(y))])
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(8, 1)(x)))
    return keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))


def squeeze_and_excite():
    """Channels scaled by a small network (MobileNet 3, EfficientNet)."""
    inputs = keras.Input((8, 8, 3))
    x = normalised(layers.Conv2D(6, 3, padding="same")(inputs), "silu")
    s = layers.Conv2D(3, 1, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    x = layers.Multiply()([x, layers.Conv2D(6, 1, activation="hard_sigmoid")(s)])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Conv2D(5, 1)(x))))


def densenet():
    inputs = keras.Input((8, 8, 3))
    x = layers.MaxPooling2D(3, 2, padding="same")(normalised(layers.Conv2D(4, 3)(inputs)))
    for _ in range(2):
        y = normalised(layers.Conv2D(6, 1, use_bias=False)(normalised(x)))
        x = layers.Concatenate()([x, layers.Conv2D(3, 3, padding="same", use_bias=False)(y)])
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(normalised(x))))


def inception():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    branches = [
        normalised(layers.Conv2D(3, 1)(x)),
        normalised(layers.Conv2D(2, (1, 5), padding="same")(layers.Conv2D(2, 1)(x))),
        normalised(layers.Conv2D(2, 1)(layers.AveragePooling2D(3, 1, padding="same")(x))),
        layers.MaxPooling2D(3, 1, padding="same")(x),
    ]
    x = layers.GlobalMaxPooling2D()(layers.Concatenate(axis=3)(branches))
    return keras.Model(inputs, layers.Dense(3)(x))


def residual_before():
    """Normalisation and activation before convolutions (ResNet 2)."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    for filters in (4, 6):
        before = normalised(x)
        side = x if filters == 4 else layers.Conv2D(filters, 1, strides=2)(before)
        y = normalised(layers.Conv2D(filters, 1, strides=filters // 5 + 1)(before))
        x = layers.Add()([side, layers.Conv2D(filters, 3, padding="same")(y)])
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(normalised(x))))


def unet():
    inputs = keras.Input((8, 8, 1))
    top = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    mid = layers.Conv2D(6, 3, padding="same", activation="relu")(layers.MaxPooling2D()(top))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(mid))
    x = layers.Concatenate()([layers.Conv2DTranspose(6, 2, strides=2)(x), mid])
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), top])
    return keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))


def other_ranks():
    line, cube = keras.Input((8, 2), name="line"), keras.Input((4, 4, 4, 1), name="cube")
    x = layers.Conv1D(4, 3, dilation_rate=2, padding="causal", activation="relu")(line)
    x = layers.Conv1DTranspose(4, 4, strides=2, activation="relu")(layers.MaxPooling1D()(x))
    y = normalised(layers.Conv3D(4, 2, use_bias=False)(cube))
    y = layers.Conv3DTranspose(3, 2, activation="relu")(layers.MaxPooling3D()(y))
    z = layers.Concatenate()([layers.GlobalMaxPooling1D()(x), layers.Flatten()(y)])
    return keras.Model({"line": line, "cube": cube}, {"far": {"z": layers.Dense(3)(z)}, "x": x})


def fused_rectifier():
    """Dense with PReLU as its activation, if Keras can load that; Keras 3.8 cannot."""
    layer = layers.Dense(6, activation=layers.PReLU())
    try:
        layers.Dense.from_config(layer.get_config())
    except (TypeError, ValueError):
        return layers.Dense(6, activation="leaky_relu")
    return layer


def rectifiers():
    """Every kind of ReLU, as a layer, by name, fused and as an operation."""
    inputs = keras.Input((6,))
    x = layers.PReLU()(layers.Dense(6)(inputs))
    x = layers.LeakyReLU(negative_slope=0.2)(layers.Dense(6)(x))
    x = layers.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.3)(layers.Dense(6)(x))
    x = layers.Activation("leaky_relu")(layers.Dense(6)(x))
    x = keras.activations.relu(layers.Dense(6)(x), negative_slope=0.2, max_value=2, threshold=0.1)
    shared = fused_rectifier()
    x = ops.leaky_relu(shared(shared(x)), 0.3)
    return keras.Model(inputs, layers.Dense(3)(ops.relu6(layers.Dense(6)(x))))


def called_by_keyword():
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    pair = keras.Model({"a": a, "b": b}, layers.Dense(4, "relu")(layers.Add()([a, b])))
    single = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu")])
    inputs = keras.Input((5,))
    x = pair(inputs={"b": inputs, "a": layers.Dense(5, "relu")(inputs)})
    return keras.Model(inputs, layers.Dense(2)(single(inputs=x)))


def unregistered(x):
    """An activation that Keras cannot find by its name."""
    return ops.relu(x) ** 2


def user_functions():
    """Functions with global variables, which their copies must share."""

    def scaled(x, by):
        return x * by * FACTOR

    inputs = keras.Input((3, 4))
    x = layers.Lambda(scaled, arguments={"by": 0.5})(inputs)
    x = layers.Dense(5, activation=unregistered)(x)
    x = layers.Dense(5, activation=lambda x: ops.tanh(x) * FACTOR)(x)
    x = layers.TimeDistributed(layers.Dense(5, activation=unregistered))(x)
    flat = layers.Lambda(
        lambda x: ops.sum(x, axis=1) / FACTOR, output_shape=lambda shape: shape[:1] + shape[2:]
    )
    x = flat(x)
    x = layers.Lambda(functools.partial(ops.multiply, FACTOR))(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(4, "relu")(x)))


class Scaled(layers.Lambda):
    """A Lambda with another option."""

    def __init__(self, function, by=1.0, **kwargs):
        super().__init__(function, **kwargs)
        self.by = by

    def call(self, inputs):
        return super().call(inputs) * self.by

    def get_config(self):
        return {**super().get_config(), "by": self.by}


class Doubled(layers.Lambda):
    """A Lambda whose function is no option."""

    def __init__(self, by, **kwargs):
        super().__init__(lambda x: x * by * FACTOR, **kwargs)
        self.by = by

    def get_config(self):
        config = super().get_config()
        return {"name": config["name"], "dtype": config["dtype"], "by": self.by}


class Restored(layers.Lambda):
    """A Lambda that reads its configuration itself."""

    @classmethod
    def from_config(cls, config, custom_objects=None, safe_mode=None):
        return super().from_config(config, custom_objects, safe_mode)


@keras.saving.register_keras_serializable("tests")
def squared(x):
    return x**2


class Applied(layers.Layer):
    """A layer that restores its function from text, as Keras' guide shows."""

    def __init__(self, fn, **kwargs):
        super().__init__(**kwargs)
        self.fn = fn

    def call(self, inputs):
        return self.fn(inputs)

    def get_config(self):
        return {**super().get_config(), "fn": keras.saving.serialize_keras_object(self.fn)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "fn": keras.saving.deserialize_keras_object(config["fn"])})


class Nameless:
    """A function whose module is unknown, as of some that C code defines."""

    __module__ = None
    __name__ = "nameless"

    def __call__(self, x):
        return x * FACTOR


def user_layers():
    """Layers that Keras can copy in one of several ways only."""
    inputs = keras.Input((4,))
    x = Scaled(lambda x: x * FACTOR, by=2.0)(inputs)
    x = Scaled(unregistered, by=0.5)(layers.Dense(5)(x))
    x = Restored(squared)(Doubled(0.5)(layers.Dense(5, "relu")(x)))
    x = layers.Dense(5, "relu")(Restored(lambda x: x / 3)(x))
    x = layers.Dense(5, activation=Nameless())(Applied(squared)(x))
    return keras.Model(inputs, layers.Dense(2)(Applied(unregistered)(x)))


def words(**options):
    lookup = layers.IntegerLookup(**options)
    lookup.adapt(np.random.default_rng(0).integers(0, 6, (9, 4)))
    return lookup


def vocabularies():
    inputs = keras.Input((4,), dtype="int64")
    x = [layers.Flatten()(layers.Embedding(9, 3)(words(mask_token=0)(inputs)))]
    x.append(words(output_mode="tf_idf", max_tokens=9, pad_to_max_tokens=True)(inputs))
    given = layers.IntegerLookup(vocabulary=[3, 5], output_mode="multi_hot")
    x.append(given(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(9, "relu")(layers.Concatenate()(x))))


def clashing_names():
    """Layers whose names are those that the conversion would give."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    joined = layers.Concatenate(name="c")
    x = layers.Dense(4, "relu", name="d_spikes")(joined([a, b]))
    y = layers.Dense(4, "relu", name="c_1")(b)
    x = layers.Dense(4, "relu", name="d_activation")(joined([x, y]))
    x = layers.Dense(4, "relu", name="d")(x)
    x = layers.Dense(4, "relu", name="get_item")(layers.Dense(4, "relu", name="d_synapse")(x))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, "relu", name="d")], name="inner")
    x = inner(layers.Dense(4, "relu", name="inner_d")(x))
    return keras.Model([a, b], layers.Dense(2, name="mean")(x))


def clones():
    """Models with operations of the same names."""
    inputs = keras.Input((5,))
    one = keras.Model(inputs, ops.relu(layers.Dense(4)(inputs) + 1.0))
    parts = [one, keras.models.clone_model(one), keras.models.clone_model(one)]
    for i, part in enumerate(parts):
        part.name = f"part{i}"
    x = parts[0](inputs) + parts[1](inputs) * parts[2](inputs)
    return keras.Model(inputs, layers.Dense(2)(x))


def pooled_otherwise():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu")(inputs)
    x = layers.Conv2D(4, 1, activation="relu", name="two")(ops.max_pool(x, 2))
    if hasattr(layers, "AdaptiveMaxPooling2D"):
        x = layers.AdaptiveMaxPooling2D(2)(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


MODELS = (
    mobilenet,
    squeeze_and_excite,
    densenet,
    inception,
    residual_before,
    unet,
    other_ranks,
    rectifiers,
    called_by_keyword,
    user_functions,
    user_layers,
    vocabularies,
    clashing_names,
    clones,
    pooled_otherwise,
)


@pytest.mark.parametrize("make", MODELS)
def test_function_stays_the_same(make):
    model = trained(make())
    x = data_for(model, 8)
    conversion = kspike_tf.convert(
        model, calibration_data=x, max_rate=1e8, synapse=None, timesteps=1
    )
    assert_same_function(conversion, model, x)


def test_every_relu_spikes():
    model = trained(rectifiers())
    report = kspike_tf.convert(model, calibration_data=data_for(model, 8)).report
    assert len(report.layers) == 9
    assert report.kept == ()


def test_names_that_the_conversion_would_give():
    model = trained(clashing_names())
    x = data_for(model, 8)
    for readout in ("last", "sequence"):
        spiking = kspike_tf.convert(model, calibration_data=x, readout=readout).model
        names = [layer.name for layer in spiking.layers]
        assert len(set(names)) == len(names)
        assert {"c", "c_1", "d", "d_spikes", "d_spikes_1"} <= set(names)


def test_all_that_is_not_linear_is_named():
    inputs = keras.Input((6, 8))
    x = layers.Dense(8, "relu")(inputs)
    x = layers.Dense(8, "relu")(layers.UnitNormalization(name="unit")(x))
    x = layers.Attention(name="attention")([x, ops.flip(x, axis=1) * 0.5])
    x = layers.TimeDistributed(layers.Dense(8), name="steps")(layers.GaussianNoise(0.1)(x))
    x = layers.Maximum(name="maximum")([layers.Dense(8, "relu")(x), x / 2])
    product = layers.Multiply(name="product")([x, x])
    x = layers.Identity()(ops.abs(product)) - ops.matmul(x, np.eye(8, dtype="float32"))
    x = 1 / (ops.clip(x, 0, 5) + 1)
    x = layers.MaxPooling1D(2, name="pool")(layers.Dense(4, "relu")(x))
    model = trained(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    report = kspike_tf.convert(model, calibration_data=data_for(model)).report
    kinds = {each.name: type(each).__name__ for each in model.operations}
    found = [kinds[each] for each in report.kept]
    assert found[1:4] == ["Attention", "Maximum", "Multiply"]
    assert found[4:] == ["Absolute", "Clip", "TrueDivide"]
    assert report.kept[0] == "unit"


def test_max_pooling_by_operations():
    model = trained(pooled_otherwise())
    x = data_for(model, 8)
    kept = kspike_tf.convert(model, calibration_data=x).report.max_pooling
    assert next(iter(kept.values())) == "max pooling, kept: it acts on filtered spikes"
    single = kspike_tf.convert(model, calibration_data=x, synapse=None, timesteps=1).report
    assert "whose maxima are too large" in next(iter(single.max_pooling.values()))
    averaged = kspike_tf.convert(model, calibration_data=x, max_pooling="average").report
    assert averaged.max_pooling.keys() == kept.keys()
    assert all("replaced" in outcome for outcome in averaged.max_pooling.values())
    with pytest.raises(ValueError, match=r"max_pool.*: max pooling; pass"):
        kspike_tf.convert(model, calibration_data=x, max_pooling="refuse")


def test_pooling_that_sees_no_spikes():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 2, activation="relu")(layers.MaxPooling2D(name="first")(inputs))
    model = trained(keras.Model(inputs, layers.GlobalMaxPooling2D(name="last")(x)))
    report = kspike_tf.convert(model, calibration_data=data_for(model, 8), synapse=None).report
    assert report.max_pooling == {
        "first": "max pooling, kept before the first spikes",
        "last": "max pooling, kept behind the readout",
    }
    assert report.unfiltered == ()


@pytest.mark.parametrize(
    "make", [user_functions, user_layers, vocabularies, called_by_keyword, rectifiers]
)
def test_new_weights(make):
    """Weights are new; functions, vocabularies and other options are those of the model."""
    keras.utils.set_random_seed(1)
    model = trained(make())
    x = data_for(model, 8)
    conversion = kspike_tf.convert(
        model, calibration_data=x, copy_weights=False, max_rate=1e8, synapse=None, timesteps=1
    )
    old = [w for w in model.weights if w.path.endswith("kernel")]
    new = [w for w in conversion.model.weights if w.path.endswith("kernel")]
    assert len(old) == len(new)
    for one, other in zip(old, new, strict=True):
        assert not np.allclose(one / np.max(np.abs(one)), other / np.max(np.abs(other)))
    assert conversion.report.output_error < 2e-3  # from a model with the new weights


def test_new_weights_keep_what_was_adapted():
    scaled = layers.Normalization()
    scaled.adapt(np.random.default_rng(0).normal(5, 2, (50, 4)))
    model = keras.Sequential([keras.Input((4,)), scaled, layers.Dense(3, "relu")])
    x = np.random.default_rng(1).normal(5, 2, (8, 4))
    spiking = kspike_tf.convert(model, calibration_data=x, copy_weights=False).model
    (found,) = [each.layer for each in spiking.layers if "normalization" in each.name]
    np.testing.assert_array_equal(found(x), scaled(x))


class Spelled(layers.Layer):
    """A layer that makes one of its layers when it is built."""

    def __init__(self, late=False, **kwargs):
        super().__init__(**kwargs)
        self.late = late
        if not late:
            self.lookup = words()

    def build(self, shape):
        self.table = layers.Embedding(9, 3)
        self.table.build(shape)
        if self.late:
            given = layers.IntegerLookup(vocabulary=[2, 3])
            self.lookup = given if self.late == "given" else words()
        self.built = True

    def call(self, inputs):
        return self.table(self.lookup(inputs))

    def get_config(self):
        return {**super().get_config(), "late": self.late}


@pytest.mark.parametrize("late", [False, True, "given"])
def test_new_weights_of_layers_made_when_built(late):
    inputs = keras.Input((4,), dtype="int64")
    spelled = Spelled(late=late, name="spelled")
    x = layers.Flatten()(spelled(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(9, "relu")(x)))
    if late is True:
        with pytest.raises(ValueError, match=r"'spelled' has 1 layers.*its copy 0.*constructor"):
            model_with_new_weights(model)
    else:
        copy = model_with_new_weights(model)
        found = copy.get_layer("spelled").lookup
        assert found.get_vocabulary() == spelled.lookup.get_vocabulary()


def test_casts_to_numbers_without_fraction_are_named():
    inputs = keras.Input((4,))
    x = ops.cast(layers.Dense(4, "relu")(inputs), "float64")
    x = ops.cast(ops.cast(x * 2, "int32"), "float32")
    x = ops.cast(layers.Dense(4, "relu")(x), "bool")
    x = ops.cumsum(ops.cast(x, "float32"), axis=1, dtype="int32")
    model = trained(keras.Model(inputs, layers.Dense(2)(ops.cast(x, "float32"))))
    report = kspike_tf.convert(model, calibration_data=data_for(model)).report
    operations = {each.name: each for each in model.operations}
    found = [operations[each] for each in report.kept]
    assert [(type(each).__name__, each.dtype) for each in found] == [
        ("Cast", "int32"),
        ("Cast", "bool"),
        ("Cumsum", "int32"),
    ]


class Unclear(layers.Layer):
    """A layer whose configuration does not hold its argument."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor

    def get_config(self):
        return {}


def test_layers_that_cannot_be_copied_are_named_together():
    inputs = keras.Input((None, 3))
    x = layers.Dense(4, activation=functools.partial(ops.leaky_relu, negative_slope=0.3))(inputs)
    model = keras.Model(inputs, layers.Dense(2, "relu", name="open")(Unclear(2.0)(x)))
    reasons = (
        r"(?s)dense.*: Keras cannot copy it: .*partial.*- unclear.*: Keras cannot copy it: .*"
        r"factor.*- open: its neurons need a fixed shape, not \(None, None, 2\)"
    )
    with pytest.raises(ValueError, match=reasons):
        kspike_tf.convert(model, calibration_data=np.ones((2, 5, 3)))
