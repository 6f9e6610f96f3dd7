"""Tests of strings: inputs, hashes, vocabularies in files, and hostile files."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest
from archives import applied, archive, functional, input_layer, layer, sequential, tensor
from test_limits import as_folder, refused
from unsaved import unsaved

from kspike_ref import ArchiveError, UnsupportedLayerError, load_model
from kspike_ref.layers import hashing
from kspike_ref.saved import limits

ASSET = "assets/layers/string_lookup/vocabulary.txt"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.keras"


def words(*shape, name="words"):
    item = input_layer(*shape, name=name)
    item["config"]["dtype"] = "string"
    return item


def lookup(**config):
    return sequential(words(2), layer("StringLookup", "lookup", **config))


def saved(path, data, name=ASSET, config=None, **more):
    """Write a model whose vocabulary is in a file; return its path."""
    config = lookup(**more) if config is None else config
    archive(path, config, {})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, data)
    return path


# --- inputs ----------------------------------------------------------------------------------

GIVEN = [["ä", "b"], ["", "zz"], ["b", "b"]]


@pytest.mark.parametrize(
    "x",
    [
        GIVEN,
        [tuple(row) for row in GIVEN],
        [np.array(row) for row in GIVEN],
        np.array(GIVEN),
        np.array(GIVEN, object),
        np.array([[one.encode() for one in row] for row in GIVEN]),
        np.array([[one.encode() for one in row] for row in GIVEN], object),
        [[one.encode() for one in row] for row in GIVEN],
        np.array(GIVEN, np.dtypes.StringDType()),
        np.asfortranarray(GIVEN),
    ],
    ids=lambda x: f"{type(x).__name__}-{getattr(x, 'dtype', '')}",
)
def test_every_kind_of_strings(x):
    model = unsaved(lookup(vocabulary=["ä", "b"]))
    wanted = [[1, 2], [0, 0], [2, 2]]
    for y in (model.predict(x), model.predict([x]), model(x), model.predict({"words": x})):
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y, wanted)
    np.testing.assert_array_equal(model.predict(x, batch_size=2), wanted)
    assert model.activity(x)["words"][0, 0] == "ä".encode()


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        ([[1, 2]], TypeError, r"strings \(str or bytes\) at 'words', .*Received: int 1"),
        (np.ones((1, 2)), TypeError, "dtype=float64"),
        (np.array([["a", None]], object), TypeError, "Received: NoneType None"),
        (np.array([["a", np.nan]], object), TypeError, "Received: float nan"),
        ([["a"], ["b", "c"]], TypeError, r"Received: list \['a'\]"),
        (["a", "b"], ValueError, r"shape \(batch, 2\) at 'words'. Received: \(2,\)"),
        ("a b", ValueError, r"Received: \(\)"),
        ([["a", "\ud800"]], ValueError, "text that UTF-8 can encode at 'words'"),
        (np.ma.masked_array([["a", "b"]], [[0, 1]]), TypeError, "masked array"),
    ],
)
def test_what_is_no_string(x, error, match):
    with pytest.raises(error, match=match):
        unsaved(lookup(vocabulary=["a"])).predict(x)


def test_strings_for_a_model_of_numbers():
    model = unsaved(sequential(input_layer(2), layer("Activation", "y", activation="relu")))
    with pytest.raises(TypeError, match="Input has dtype='float32', and takes no strings"):
        model.predict([["a", "b"]])
    model = unsaved(sequential(words(2), layer("Activation", "y", activation="relu")))
    with pytest.raises(TypeError, match=r"takes .*integers.* Received: dtype=object"):
        model.predict([["a", "b"]])


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("name", ["StringLookup", "TextVectorization"])
def test_numbers_for_layers_of_strings(kind, name):
    given = input_layer(1)
    given["config"]["dtype"] = kind
    model = unsaved(sequential(given, layer(name, "text", vocabulary=["a"])))
    with pytest.raises(TypeError, match=rf"\({name}\) takes strings, as in Keras"):
        model.predict(np.ones((2, 1)))


def test_one_string_an_example_and_none():
    model = unsaved(sequential(words(), layer("Hashing", "bins", num_bins=10)))
    assert model.predict(["a", "b", "a"]).shape == (3,)
    assert model.predict(["a"]).shape == (1,)
    assert model.predict(np.empty(0, object)).shape == (0,)
    one_hot = unsaved(
        sequential(words(), layer("Hashing", "bins", num_bins=4, output_mode="one_hot"))
    )
    assert one_hot.predict(["a"]).shape == (1, 4)
    assert one_hot.cost((5,)).bytes > 0


def test_a_sequential_model_without_an_input_layer():
    config = sequential(layer("StringLookup", "lookup", vocabulary=["a"]))
    config["config"]["build_input_shape"] = [None, 2]
    np.testing.assert_array_equal(unsaved(config).predict([["a", "b"]]), [[1, 0]])


# --- hashes ----------------------------------------------------------------------------------

# From tf.strings.to_hash_bucket_fast and to_hash_bucket_strong. The latter, for the string of bytes
# 0 to 14 with a key of bytes 0 to 15, is also the vector of the SipHash paper.
FINGERPRINTS = {
    b"": 0x9AE16A3B2F90404F,
    b"a": 0xB3454265B6DF75E3,
    b"spike": 0x664B6F8C207DC5A,
    b"a string of 16 b": 0x3DA09CCC0E8192B2,
    b"x" * 32: 0xB30B9BACCC74DC05,
    b"x" * 64: 0x5FFB3C754F6913B8,
    b"x" * 65: 0x447CB9FD96F25F39,
    b"x" * 200: 0xC1713BF9D998A3BF,
}


def test_known_hashes():
    for data, value in FINGERPRINTS.items():
        assert hashing.fingerprint64(data) == value
    key = 0x0706050403020100, 0x0F0E0D0C0B0A0908
    assert hashing.siphash24(bytes(range(15)), key) == 0xA129CA6149BE45E5


# --- vocabularies ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_vocabulary_in_a_file(kind, path, tmp_path):
    saved(path, "[UNK]\nä\r\nb\n\n")
    place = path if kind == "zip" else as_folder(path, tmp_path)
    np.testing.assert_array_equal(load_model(place).predict([["ä", "b"], ["c", ""]]),
                                  [[1, 2], [0, 0]])  # fmt: skip


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"[UNK]\n\xff", "not UTF-8"),
        ("[UNK]\na\na", "must not repeat a token"),
        ("a\nb\nc\nd", "at most 4 tokens"),
    ],
)
def test_vocabularies_without_sense(path, data, match):
    with pytest.raises(ArchiveError, match=match):
        load_model(saved(path, data, max_tokens=4))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"vocabulary": [1]}, "tokens of type str"),
        ({"vocabulary": []}, "a list of tokens"),
        ({"vocabulary": "/etc/passwd"}, "a list of tokens"),
        ({"vocabulary": ["a", "m"], "mask_token": "m"}, "at its start only"),
        ({"vocabulary": ["a"], "mask_token": 3}, "mask_token must be of type str"),
        ({"vocabulary": ["a"], "num_oov_indices": -1}, "num_oov_indices"),
        ({"vocabulary": ["a"], "num_oov_indices": 1 << 40, "output_mode": "count"}, "to 16777216"),
        ({"vocabulary": ["a"], "salt": "x"}, "salt must be"),
        ({"vocabulary": ["a"], "invert": True, "oov_token": None}, "needs an oov_token"),
        ({"vocabulary": ["\ud800"]}, "surrogate"),
    ],
)
def test_lookups_without_sense(options, match):
    with pytest.raises(ArchiveError, match=match):
        unsaved(lookup(**options))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_bins": 0}, "num_bins must be"),
        ({"num_bins": 5, "dtype": "float32"}, "int32 or int64"),
        ({"num_bins": 5, "mask_value": [1]}, "mask_value"),
        ({"num_bins": 1 << 40, "output_mode": "count"}, "to 16777216"),
    ],
)
def test_hashing_without_sense(options, match):
    with pytest.raises(ArchiveError, match=match):
        unsaved(sequential(words(2), layer("Hashing", "bins", **options)))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"ngrams": 10**12}, "ngrams=1000000000000"),
        ({"ngrams": [2] * 65}, "ngrams="),
        ({"standardize": {"class_name": "function"}}, "standardize is a function"),
        ({"split": {"class_name": "function"}}, "split is a function"),
        ({"ragged": True}, "ragged=True"),
        ({"sparse": True, "output_mode": "count"}, "sparse=True"),
        ({"strange": 1}, "strange=1"),
    ],
)
def test_text_that_is_not_supported(options, match):
    config = layer("TextVectorization", "text", vocabulary=["a"], **options)
    with pytest.raises(UnsupportedLayerError, match=match):
        unsaved(sequential(words(1), config))


def test_long_outputs_are_refused_before_they_are_made():
    text = layer("TextVectorization", "text", vocabulary=["a"], output_sequence_length=1 << 32)
    with pytest.raises(ArchiveError, match="invalid output shape"):
        unsaved(sequential(words(1), text))
    text = layer("TextVectorization", "text", vocabulary=["a"], output_sequence_length=1 << 30)
    with pytest.raises(ValueError, match="max_bytes"):
        unsaved(sequential(words(1), text)).predict([["a"]], max_bytes=1e9)


@pytest.mark.parametrize("has_inner", [False, True])
def test_the_inner_copy_of_a_vocabulary_is_what_keras_reads_last(path, has_inner):
    text = layer("TextVectorization", "text", output_sequence_length=2)
    place = "assets/layers/text_vectorization/{}vocabulary.txt"
    saved(path, "\n[UNK]\na\nb", place.format(""), sequential(words(1), text))
    if has_inner:
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(place.format("_lookup_layer/"), "\n[UNK]\nb\na")
    wanted = [[3, 2]] if has_inner else [[2, 3]]
    np.testing.assert_array_equal(load_model(path).predict([["A b"]]), wanted)


# --- untrusted files -----------------------------------------------------------------------------


def test_a_vocabulary_that_is_missing(path):
    archive(path, lookup(), {})
    with pytest.raises(UnsupportedLayerError, match=f"not in the file, at {ASSET}"):
        load_model(path)


def test_only_what_is_asked_for_is_read(path):
    saved(path, b"[UNK]\na")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("assets/layers/other/vocabulary.txt", bytes(200 << 20))  # a zip bomb
        file.writestr("assets/layers/string_lookup/other.txt", bytes(200 << 20))
    assert load_model(path).predict([["a", "b"]]).tolist() == [[1, 0]]
    config = lookup(vocabulary=["b"])
    saved(path, b"\xff", config=config)
    assert load_model(path).predict([["a", "b"]]).tolist() == [[0, 1]]


def test_names_that_leave_the_archive(path):
    for name in ("../vocabulary.txt", "/vocabulary.txt", "assets/../../vocabulary.txt"):
        with pytest.raises(ArchiveError, match="may point outside the archive"):
            load_model(saved(path, "a", name=name))


def test_links_in_a_folder_are_not_followed(path, tmp_path):
    place = as_folder(saved(path, "[UNK]\na"), tmp_path)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "vocabulary.txt").write_text("password")
    (place / ASSET).unlink()
    (place / ASSET).symlink_to(secret / "vocabulary.txt")
    with pytest.raises(ArchiveError, match="must be a regular file"):
        load_model(place)
    (place / ASSET).unlink()
    (place / ASSET).parent.rmdir()
    (place / ASSET).parent.symlink_to(secret)
    with pytest.raises(ArchiveError, match="must be a folder"):
        load_model(place)
    (place / ASSET).parent.unlink()
    (place / ASSET).parent.mkdir()
    os.mkfifo(place / ASSET)
    with pytest.raises(ArchiveError, match="must be a regular file"):
        load_model(place)


def test_a_name_twice(path):
    saved(path, "a")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as file:
        file.writestr(ASSET, "b")
    with pytest.raises(ArchiveError, match="more than once"):
        load_model(path)


def test_sizes_that_lie(path):
    saved(path, "[UNK]\n" + "a" * 100)
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        at = data.rfind(mark)
        data[at + place : at + place + 4] = (50).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "truncated|not a readable|CRC|Bad")


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_bytes_of_vocabularies(kind, path, tmp_path, monkeypatch):
    two = functional(
        [
            applied(words(2)),
            applied(layer("StringLookup", "one"), [tensor("words")]),
            applied(layer("StringLookup", "two"), [tensor("words")]),
        ],
        [["words", 0, 0]],
        [["one", 0, 0], ["two", 0, 0]],
    )
    text = "[UNK]\n" + "\n".join(map(str, range(1000)))
    saved(path, text, config=two)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(ASSET.replace("lookup", "lookup_1"), text)
    place = path if kind == "zip" else as_folder(path, tmp_path)
    monkeypatch.setattr(limits, "MAX_ASSETS", 2 * len(text))
    load_model(place)
    monkeypatch.setattr(limits, "MAX_ASSETS", 2 * len(text) - 1)
    refused(place, f"{len(text)} bytes; a model may read")
    monkeypatch.undo()
    monkeypatch.setattr(limits, "MAX_WORDS", 2 * 1001)
    load_model(place)
    monkeypatch.setattr(limits, "MAX_WORDS", 2 * 1001 - 1)
    refused(place, "1001 words; a model may have")


def test_words_of_the_configuration_count(path, monkeypatch):
    archive(path, lookup(vocabulary=["a", "b", "c"]), {})
    monkeypatch.setattr(limits, "MAX_WORDS", 3)
    load_model(path)
    monkeypatch.setattr(limits, "MAX_WORDS", 2)
    refused(path, "3 words; a model may have")


@pytest.mark.parametrize("ends", ["\n", "\x1c", "\u2028", "\x85", "\r"])
def test_a_file_of_empty_lines_makes_no_objects(path, ends):
    data = (ends * (limits.MAX_WORDS + 1)).encode()
    with zipfile.ZipFile(saved(path, ""), "w", zipfile.ZIP_DEFLATED) as file:
        with zipfile.ZipFile(archive(path.with_name("o.keras"), lookup(), {})) as other:
            for name in other.namelist():
                file.writestr(name, other.read(name))
        file.writestr(ASSET, data)
    refused(path, "words; a model may have|more than an archive")


def test_a_bomb(path):
    with zipfile.ZipFile(archive(path, lookup(), {}), "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(ASSET, b"a" * (limits.MAX_ASSETS + 1))
    refused(path, "bytes; a model may read")
