"""Tests of image layers: augmentation, resizing and cropping."""

import keras
import numpy as np
import pytest
import versions
from agreement import check, check_streams, normal, unary

import kspike_ref

L = keras.layers

ARGUMENTS = {
    "RandomBrightness": (0.3,), "RandomColorDegeneration": (0.3,), "RandomContrast": (0.3,),
    "RandomCrop": (4, 4), "RandomHue": (0.3,), "RandomPosterization": (4,),
    "RandomRotation": (0.2,), "RandomSaturation": (0.3,), "RandomSharpness": (0.3,),
    "RandomTranslation": (0.1, 0.1), "RandomZoom": (0.2,), "MaxNumBoundingBoxes": (3,),
}  # fmt: skip
AUGMENTATIONS = [name for name in dir(L) if name.startswith("Random")] + [
    name
    for name in ("AugMix", "CutMix", "MaxNumBoundingBoxes", "MixUp", "RandAugment", "Solarization")
    if hasattr(L, name)
]
CHANNELS_FIRST = {"data_format": "channels_first"}


def pictures(*shape, dtype="float32", seed=0):
    values = np.random.default_rng(seed).random((3, *shape)) * 255
    return values > 100 if dtype == "bool" else values.astype(dtype)


# Layers for which older versions of Keras return the input tensor itself.
UNSAVED = {"RandomGrayscale": versions.since(3, 11, "cannot save a model with RandomGrayscale")}


@pytest.mark.parametrize("name", versions.cases(AUGMENTATIONS, UNSAVED))
def test_augmentation_is_the_identity_with_keras_types(name, tmp_path):
    for dtype in ("float32", "uint8", "bool"):
        layer = getattr(L, name)(*ARGUMENTS.get(name, ()))
        x = pictures(4, 5, 3, dtype=dtype)
        loaded = check(unary(layer, 4, 5, 3, dtype=dtype), tmp_path, x)
        np.testing.assert_array_equal(loaded.predict(x), x)


# Sums near a half may round either way: integers are compared where TensorFlow's order is ours.
@pytest.mark.parametrize(
    ("method", "dtypes"),
    [
        ("nearest", ("float32", "uint8", "int32")),
        ("bilinear", ("float32", "uint8", "int8", "int16", "int64")),
        ("bicubic", ("float32", "uint8")),
        ("lanczos3", ("float32",)),
        ("lanczos5", ("float32",)),
        ("area", ("float32",)),
    ],
)
def test_resizing(method, dtypes, tmp_path):
    for size in ((4, 5), (13, 17), (8, 7)):
        for dtype in dtypes:
            model = unary(L.Resizing(*size, interpolation=method), 8, 7, 3, dtype=dtype)
            check(model, tmp_path, pictures(8, 7, 3, dtype=dtype))
    if versions.KERAS >= (3, 9):
        model = unary(L.Resizing(4, 5, interpolation=method, antialias=True), 8, 7, 3)
        check(model, tmp_path, pictures(8, 7, 3))


@pytest.mark.parametrize("size", [(4, 5), (3, 12), (11, 5)])
def test_resizing_keeps_the_aspect_ratio_on_request(size, tmp_path):
    for options in (
        {"crop_to_aspect_ratio": True},
        {"pad_to_aspect_ratio": True, "fill_value": 3.0},
    ):
        check(unary(L.Resizing(*size, **options), 8, 7, 3), tmp_path, pictures(8, 7, 3))
        first = unary(L.Resizing(*size, **options, **CHANNELS_FIRST), 3, 8, 7)
        check(first, tmp_path, pictures(3, 8, 7))


@pytest.mark.parametrize("size", [(4, 5), (10, 12), (10, 3), (3, 12), (8, 7)])
def test_center_crop(size, tmp_path):
    for dtype in ("float32", "uint8", "bool"):
        model = unary(L.CenterCrop(*size), 8, 7, 3, dtype=dtype)
        check(model, tmp_path, pictures(8, 7, 3, dtype=dtype))
    first = unary(L.CenterCrop(*size, **CHANNELS_FIRST), 3, 8, 7)
    check(first, tmp_path, pictures(3, 8, 7))


def test_auto_contrast(tmp_path):
    x = pictures(4, 5, 3)
    x[0, :, :, 0] = 7  # a channel without contrast does not change
    for value_range in ((0, 255), (0, 1), (-20, 300)):
        check(unary(L.AutoContrast(value_range=value_range), 4, 5, 3), tmp_path, x)
    check(
        unary(L.AutoContrast(), 4, 5, 3, dtype="uint8"), tmp_path, pictures(4, 5, 3, dtype="uint8")
    )


@pytest.mark.parametrize("method", ["bicubic", "lanczos3", "lanczos5"])
def test_upsampling_by_other_kernels(method, tmp_path):
    x = normal(3, 5, 4, 2)
    check(unary(L.UpSampling2D((2, 3), interpolation=method), 5, 4, 2), tmp_path, x)
    first = L.UpSampling2D((2, 3), interpolation=method, **CHANNELS_FIRST)
    check(unary(first, 2, 5, 4), tmp_path, np.moveaxis(x, -1, 1))


def test_pipeline(tmp_path):
    inner = [L.RandomFlip(), L.RandomRotation(0.2), L.Rescaling(1 / 255), L.Dense(4)]
    x = L.Input((8, 8, 3))
    model = keras.Model(x, L.Dense(2)(L.Pipeline([*inner, L.Dense(5)])(x)))
    check(model, tmp_path, pictures(8, 8, 3))


def test_images_at_every_time_step(tmp_path):
    layers = [L.TimeDistributed(one) for one in (L.RandomFlip(), L.Resizing(3, 3))]
    model = keras.Sequential([L.Input((None, 6, 6, 1)), *layers, L.Rescaling(1 / 255)])
    x = np.stack([pictures(6, 6, 1, seed=t) for t in range(4)], axis=1)
    check_streams(check(model, tmp_path, x), x)


def test_refusals_name_the_option(tmp_path):
    model = unary(L.Resizing(4, 5, fill_mode="reflect", name="r"), 8, 7, 3)
    model.save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="r: fill_mode='reflect'"):
        kspike_ref.load_model(tmp_path / "m.keras")
