"""Tests of the energy of newer kspike_ref layers: both adapters' counts, gaps, no crashes."""

import warnings

import keras
import numpy as np
import versions
from test_more_operations import FAILING, UNARY

import kspike_ref
from kspike_energy import ModelEnergy

L = keras.layers
ops = keras.ops


def images():
    x = L.Input((8, 8, 3))
    y = L.Pipeline([L.RandomFlip(), L.RandomZoom(0.2)], name="pipeline")(L.RandomRotation(0.2)(x))
    y = L.AutoContrast(name="contrast")(L.CenterCrop(6, 6)(L.Resizing(7, 7)(y)))
    y = L.UpSampling2D(2, interpolation="bicubic")(y)
    return keras.Model(x, L.SpectralNormalization(L.Conv2D(2, 3), name="spectral")(y))


def sequences():
    x, i = L.Input((6, 4)), L.Input((6,), dtype="int32")
    y = L.MultiHeadAttention(2, 3, name="heads")(x, x, use_causal_mask=True)
    y = L.GroupQueryAttention(3, 4, 2, name="groups")(y, x)
    y = L.AdditiveAttention(name="one")([y, x])
    hot = ops.one_hot(L.IntegerLookup(vocabulary=[1, 5])(i), 4)
    y = ops.einsum("bti,btj->bij", y, hot)
    y = ops.matmul(ops.pad(y, [[0, 0], [0, 1], [0, 0]]), np.ones((4, 2), "float32"))
    y = ops.normalize(ops.where(y > 0, y, 0.0), axis=-1)
    return keras.Model([x, i], ops.gelu(ops.split(y, 5, axis=1)[0]))


def operations():
    x = L.Input((6, 4))
    # Before Keras 3.12, symbolic shapes ignore that glu halves an axis.
    wrong = {"glu", "glu of time"} if versions.KERAS < (3, 12) else set()
    return keras.Model(x, [UNARY[name][0](x) for name in UNARY if name not in FAILING | wrong])


def films():
    x = L.Input((None, 5, 5, 2))
    return keras.Model(x, L.ConvLSTM2D(3, 2, name="convolutional")(x))


def counts(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about layers without a rule
        energy = ModelEnergy(model)
    return {
        layer.name: (layer.connections, layer.neurons, layer.spiking)
        for layer in energy.network.layers
    }


def test_both_adapters_count_the_same_and_none_fails(tmp_path):
    for make in (images, sequences, films, operations):
        model = make()
        model.save(tmp_path / "m.keras")
        ours, theirs = counts(kspike_ref.load_model(tmp_path / "m.keras")), counts(model)
        assert ours == theirs, make.__name__
    assert theirs


def test_attention_counts_products_of_known_size(tmp_path):
    """6 queries and keys, 2 heads of 3: four projections of 6·4·6, scores and sums."""
    x = L.Input((6, 4))
    keras.Model(x, L.MultiHeadAttention(2, 3, name="heads")(x, x)).save(tmp_path / "m.keras")
    connections, neurons, spiking = counts(kspike_ref.load_model(tmp_path / "m.keras"))["heads"]
    scores = 2 * 6 * 6
    assert connections == 4 * (6 * 4 * 6) + scores * (3 + 3)
    assert neurons == scores
    assert not spiking


def masked():
    """Return a model with masks in every place where a layer takes them; some arguments by name."""
    x, y, z = L.Input((6, 4)), L.Input((5, 3)), L.Input((5, 2))
    steps, others = L.Input((6,), dtype="bool"), L.Input((5,), dtype="bool")
    allowed = L.Input((6, 5), dtype="bool")
    heads = L.MultiHeadAttention(2, 3, name="heads")
    a = heads(x, y, attention_mask=allowed, query_mask=steps, value_mask=others)
    named = L.MultiHeadAttention(2, 3, name="named")
    b = named(value=y, key=z, query=a, key_mask=others, attention_mask=allowed)
    c = L.MultiHeadAttention(2, 3, name="placed")(b, y, z, steps, others, others, allowed)
    d = L.GroupQueryAttention(3, 4, 2, name="groups")(c, L.Dense(4)(y), attention_mask=allowed)
    e = L.Attention(name="one")([d, L.Dense(4)(y)], mask=[steps, others])
    f = L.BatchNormalization(name="norm")(e, mask=steps)
    g = L.LSTM(3, return_sequences=True, name="lstm")(f, mask=steps)
    h = L.Softmax(name="softmax")(g, mask=g > 0)  # not used further: its mask has three axes
    inner_in = L.Input((6, 3))
    inner = keras.Model(inner_in, L.GRU(2, return_sequences=True, name="gru")(inner_in), name="in")
    i = L.Bidirectional(L.GRU(2), name="both")(inner(g, mask=steps), mask=steps)
    return keras.Model([x, y, z, steps, others, allowed], [h, i])


@versions.since(3, 12, "fails for masked values in Attention")
def test_masks_are_no_signals(tmp_path):
    model = masked()
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    ours, theirs = counts(loaded), counts(model)
    assert ours == theirs
    scores = 2 * 6 * 5
    products = scores * (3 + 3) + 6 * 6 * 4  # scores, sums, and the output projection
    assert theirs["heads"][0] == 6 * 4 * 6 + 5 * 3 * 6 + 5 * 3 * 6 + products
    for name in ("named", "placed"):
        assert theirs[name][0] == 6 * 4 * 6 + 5 * 3 * 6 + 5 * 2 * 6 + products
    rng = np.random.default_rng(0)
    data = [
        rng.random((2, *t.shape[1:])) > 0.5 if t.dtype == "bool"
        else rng.normal(size=(2, *t.shape[1:])).astype("float32")
        for t in model.inputs
    ]  # fmt: skip
    through = [ModelEnergy(one, data).total_energy("loihi") for one in (loaded, model)]
    np.testing.assert_allclose(*through, rtol=1e-6)
