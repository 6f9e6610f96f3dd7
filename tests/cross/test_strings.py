"""Tests of string layers against Keras: vocabularies, text, and hashes, bit for bit."""

import inspect
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import versions

import kspike_ref
from kspike_ref.layers import hashing

L = keras.layers
SALTED = pytest.mark.skipif(
    "salt" not in inspect.signature(L.IntegerLookup).parameters,
    reason=f"lookups of Keras {keras.version()} have no salt",
)
WORDS = np.array([["b", "a", ""], ["zebra", "m", "c"], ["a", "a", "ü"], ["other", "?", "b"]])
TEXTS = [
    "The cat, the DOG; don't!", "a\tcat\n É é ÄÖ", "", "   ", "x\x0by \x1c z\u3000w\xa0v",
    "!?.", "the the the the the the", "dog_cat-dog [cat] {a} ~b`c",
]  # fmt: skip
SEVERAL = ["the", "cat", "dog", "the cat", "cat the", "é", "É", "x", "t", "d o", "cat é é"]


def agrees(model, folder, x):
    """Save, load and compare with Keras (values, types, batches of one); return the model."""
    path = folder / "model.keras"
    model.save(path)
    loaded = kspike_ref.load_model(path)
    tensor = tf.constant(x) if x.dtype.kind in "USO" else x
    theirs = np.asarray(model(tensor))
    ours = loaded.predict(x)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(loaded.predict(x, batch_size=1), theirs)
    empty = loaded.predict(x[:0])
    assert empty.dtype == theirs.dtype
    assert len(empty) == 0
    return loaded


def unary(layer, *shape, dtype="string"):
    x = keras.Input(shape, dtype=dtype)
    return keras.Model(x, layer(x))


@pytest.mark.parametrize(
    "options",
    [
        {}, {"mask_token": ""}, {"num_oov_indices": 3}, {"num_oov_indices": 4, "mask_token": "m"},
        pytest.param({"num_oov_indices": 5, "salt": 7}, marks=SALTED),
        pytest.param({"num_oov_indices": 5, "salt": [133, -137]}, marks=SALTED),
        {"max_tokens": 9}, {"oov_token": "?"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count", "tf_idf"])
def test_string_lookup(mode, options, tmp_path):
    if mode == "tf_idf":
        options = options | {"idf_weights": [0.3, 1.7, 2.1]}
    if "max_tokens" in options and mode != "int":
        options = options | {"pad_to_max_tokens": True}
    layer = L.StringLookup(vocabulary=["a", "b", "c"], output_mode=mode, **options)
    agrees(unary(layer, 3), tmp_path, WORDS)


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count", "tf_idf"])
@pytest.mark.parametrize("kind", ["string", "int64"])
def test_adapted_vocabularies_come_from_their_files(mode, kind, tmp_path):
    x = WORDS if kind == "string" else np.array([[12, -5, 7], [7, 7, 9], [12, 0, 3], [4, 5, 6]])
    mask = "" if kind == "string" else 0
    layer = L.StringLookup if kind == "string" else L.IntegerLookup
    layer = layer(output_mode=mode, mask_token=mask, num_oov_indices=2)
    layer.adapt(x[:2])
    agrees(unary(layer, 3, dtype=kind), tmp_path, x)
    names = zipfile.ZipFile(tmp_path / "model.keras").namelist()
    assert any(name.endswith("lookup/vocabulary.txt") for name in names)


def test_shapes_of_lookups(tmp_path):
    for shape in [(), (1,), (2, 3)]:
        for mode in ["int", "one_hot"] + ["multi_hot", "count"] * bool(shape):
            x = np.resize(WORDS, (4, *shape))
            agrees(unary(L.StringLookup(vocabulary=["a", "b"], output_mode=mode), *shape),
                   tmp_path, x)  # fmt: skip
    model = unary(L.StringLookup(vocabulary=["a", "b"], output_mode="count"))
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="mixes the examples"):
        agrees(model, tmp_path, WORDS[:, 0])


def test_no_place_for_unknown_words(tmp_path):
    loaded = agrees(
        unary(L.StringLookup(vocabulary=["a", "b"], num_oov_indices=0), 2), tmp_path,
        np.array([["a", "b"]]),
    )  # fmt: skip
    with pytest.raises(ValueError, match="num_oov_indices=0"):
        loaded.predict(WORDS[:, :2])


@pytest.mark.parametrize("mask", [None, "masked"])
def test_from_places_to_words(mask, tmp_path):
    layer = L.StringLookup(vocabulary=["a", "ü"], invert=True, mask_token=mask)
    x = np.array([[0, 1, 2], [3, 4, -1]])
    loaded = agrees(unary(layer, 3, dtype="int64"), tmp_path, x)
    assert loaded.predict(x).dtype == object
    layer = L.IntegerLookup(vocabulary=[5, 7], invert=True, mask_token=mask and 9)
    agrees(unary(layer, 3, dtype="int64"), tmp_path, x)


@SALTED
@pytest.mark.parametrize("options", [{"oov_method": "farmhash"}, {"salt": 3}], ids=str)
def test_hashed_integers(options, tmp_path):
    options = {"oov_method": "farmhash"} | options
    layer = L.IntegerLookup(vocabulary=[5, 7], num_oov_indices=4, **options)
    agrees(unary(layer, 3, dtype="int64"), tmp_path, np.arange(-6, 9).reshape(5, 3))


@pytest.mark.parametrize("standardize", ["lower_and_strip_punctuation", "lower",
                                         "strip_punctuation", None])  # fmt: skip
@pytest.mark.parametrize("split", ["whitespace", "character", None])
def test_standards_and_splits(standardize, split, tmp_path):
    for options in [{"output_sequence_length": 4}, {"output_mode": "count"}]:
        layer = L.TextVectorization(
            vocabulary=SEVERAL, standardize=standardize, split=split, **options
        )
        agrees(unary(layer, 1), tmp_path, np.array(TEXTS)[:, None])


@pytest.mark.parametrize("options", [{"ngrams": 2}, {"ngrams": (2, 3, 1)}, {}], ids=str)
@pytest.mark.parametrize("mode", ["int", "multi_hot", "count", "tf_idf"])
def test_adapted_text(mode, options, tmp_path):
    if mode == "int":
        options = options | {"output_sequence_length": 5}
    elif mode != "tf_idf":
        options = options | {"max_tokens": 30, "pad_to_max_tokens": True}
    layer = L.TextVectorization(output_mode=mode, **options)
    layer.adapt(np.array(TEXTS[:1] + TEXTS[5:]))
    agrees(unary(layer), tmp_path, np.array(TEXTS))


def test_words_that_are_split_already(tmp_path):
    for options in [{}, {"output_sequence_length": 2}, {"output_sequence_length": 5},
                    {"ngrams": 2}, {"output_mode": "one_hot"},
                    {"output_mode": "multi_hot", "ngrams": (1, 3)}]:  # fmt: skip
        layer = L.TextVectorization(vocabulary=["a", "b", "a b"], split=None, **options)
        agrees(unary(layer, 3), tmp_path, WORDS)


def test_the_longest_text_of_a_batch_gives_the_length(tmp_path):
    layer = L.TextVectorization(vocabulary=SEVERAL)
    loaded = agrees(unary(layer), tmp_path, np.array(TEXTS))  # with batch_size=1 as well
    assert loaded.predict(np.array(["a b", "c"])).shape == (2, 2)
    with pytest.raises(ValueError, match="does not infer the shape"):
        loaded.cost((8,))


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("dtype", ["string", "int32", "uint8", "float32"])
def test_hashing(mode, dtype, tmp_path):
    for shape in [(1,), (3,), (1, 1), (2, 3)]:
        x = np.random.default_rng(0).integers(0, 9, (4, *shape))
        x = x.astype(str if dtype == "string" else dtype)
        mask = "3" if dtype == "string" else 3
        for options in [{}, {"mask_value": mask}, {"salt": [5, 1 << 62], "mask_value": mask}]:
            if shape == (3,) or not options:
                layer = L.Hashing(7, output_mode=mode, **options)
                agrees(unary(layer, *shape, dtype=dtype), tmp_path, x)


def test_hashes_are_those_of_tensorflow():
    rng = np.random.default_rng(0)
    words = [rng.bytes(n) for n in [*range(200), 255, 256, 257, 1000]]
    most = (1 << 63) - 1
    ours = hashing.buckets(words, most)
    np.testing.assert_array_equal(ours, tf.strings.to_hash_bucket_fast(words, most))
    for key in [(0, 0), (133, 137), (-1, most)]:
        ours = hashing.buckets(words, most, key)
        np.testing.assert_array_equal(ours, tf.strings.to_hash_bucket_strong(words, most, key))


def test_bytes_that_are_no_text(tmp_path):
    rng = np.random.default_rng(0)
    bad = np.empty(500, object)
    bad[:] = [rng.choice([0xED, 0xA0, 0xF0, 0xE2, 0x80, 0xFF, 65, 32, 0], 6).astype("u1").tobytes()
              for _ in bad]  # fmt: skip
    for split in ["character", "whitespace"]:
        layer = L.TextVectorization(
            vocabulary=["a", "\ufffd", " ", "aa"], split=split, output_sequence_length=7
        )
        agrees(unary(layer), tmp_path, bad)


def test_a_classifier_of_texts(tmp_path):
    texts = L.TextVectorization(output_sequence_length=6)
    texts.adapt(np.array(TEXTS[:1] + TEXTS[5:]))
    model = keras.Sequential(
        [keras.Input((1,), dtype="string"), texts, L.Embedding(40, 5, mask_zero=True),
         L.LSTM(4), L.Dense(2)]
    )  # fmt: skip
    x = np.array(TEXTS)[:, None]
    theirs = np.asarray(model(tf.constant(x)))
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    for given in [x, x.tolist(), x.astype(object), np.char.encode(x, "utf-8"), tf.constant(x)]:
        np.testing.assert_allclose(loaded.predict(given), theirs, rtol=0, atol=1e-6)
    assert "TextVectorization" in str(loaded)
    assert loaded.cost((8, 1)).bytes > 0
    assert loaded.activity(x)[texts.name].dtype == np.int64
    with pytest.raises(ValueError, match="no time axis"):
        loaded.initial_state(2)


def test_words_stream(tmp_path):
    x = keras.Input((None,), dtype="string")
    y = L.Embedding(5, 3)(L.StringLookup(vocabulary=["a", "b", "c"])(x))
    keras.Model(x, L.LSTM(2, return_sequences=True)(y)).save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    whole, state = loaded.predict(WORDS), loaded.initial_state(4)
    for t in range(3):
        y, state = loaded.step(WORDS[:, t], state)
        np.testing.assert_array_equal(y, whole[:, t])
    still = loaded.predict(WORDS[:, 0], timesteps=4)
    np.testing.assert_array_equal(still, loaded.predict(np.repeat(WORDS[:, :1], 4, 1)))


def test_strings_pass_layers_that_move_values(tmp_path):
    x = keras.Input((3,), dtype="string")
    for move in [L.Flatten(), L.Reshape((3, 1)), L.Identity(), L.RepeatVector(2),
                 lambda t: L.Concatenate()([t, t])]:  # fmt: skip
        agrees(keras.Model(x, L.StringLookup(vocabulary=["a"])(move(x))), tmp_path, WORDS)


def test_several_inputs_and_layers_within(tmp_path):
    word, number = keras.Input((2,), dtype="string", name="w"), keras.Input((2,), name="n")
    inner_input = keras.Input((2,), dtype="string")
    lookup = L.StringLookup(output_mode="multi_hot")
    lookup.adapt(WORDS[1:])
    inner = keras.Model(inner_input, lookup(inner_input), name="inner")
    y = L.Concatenate()([L.Rescaling(1.0)(inner(word)), number])
    model = keras.Model({"w": word, "n": number}, y)
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    x = {"w": WORDS[:, :2], "n": np.ones((4, 2), "float32")}
    theirs = np.asarray(model({"w": tf.constant(x["w"]), "n": tf.constant(x["n"])}))
    np.testing.assert_array_equal(loaded.predict(x), theirs)


@versions.since(*versions.NEWEST, "may load such a file")
def test_a_vocabulary_that_its_file_cannot_hold(tmp_path):
    layer = L.StringLookup(output_mode="count")
    layer.adapt(np.array([["b", "b", ""]]))
    unary(layer, 1).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="could not be loaded"):
        keras.models.load_model(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="Keras cannot load it either"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_what_stays_refused(tmp_path):
    for layer in [
        L.TextVectorization(vocabulary=["a"], standardize=tf.strings.lower),
        L.TextVectorization(vocabulary=["a"], split=tf.strings.split),
        L.TextVectorization(vocabulary=["a"], ragged=True),
        L.StringLookup(vocabulary=["a"], output_mode="count", sparse=True),
        L.TextVectorization(vocabulary=["a"], output_mode="one_hot"),
    ]:
        unary(layer, 1).save(tmp_path / "m.keras")
        with pytest.raises(kspike_ref.UnsupportedLayerError, match=r"function|ragged|sparse"):
            kspike_ref.load_model(tmp_path / "m.keras")
