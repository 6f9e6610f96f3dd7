# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Image layers: augmentation, which is the identity at inference, resizing and cropping.

Keras saves their calls with ``training=True``, their own default, which `predict` overrides.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.layers.base import Array, Layer, Shape, UnsupportedUseError
from kspike_ref.layers.registry import create, known, saved_name
from kspike_ref.layers.resampling import METHODS, Work, resize, round_to, work
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.saved.limits import MAX_ELEMENTS


@known(
    "MaxNumBoundingBoxes", "MixUp", "RandomBrightness", "RandomColorDegeneration",
    "RandomColorJitter", "RandomContrast", "RandomGrayscale", "RandomHue", "RandomInvert",
    "RandomPosterization", "RandomSaturation",
)  # fmt: skip
class Augmentation(Layer):
    """Augmentation, which acts in training only."""

    pointwise_from = 2
    keeps_zeros = True
    ignores_training = True

    def call(self, x: Array) -> Array:
        return x


@known("RandomCrop")
class RandomCrop(Augmentation):
    """The identity: since Keras 3.8 images are cropped in training alone, whatever it declares.

    It is the one image layer that leaves floats of other types alone.
    """

    casts = ""


@known(
    "AugMix", "CutMix", "RandAugment", "RandomElasticTransform", "RandomErasing", "RandomFlip",
    "RandomGaussianBlur", "RandomPerspective", "RandomRotation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomZoom", "Solarization",
)  # fmt: skip
class CastingAugmentation(Augmentation):
    """Augmentation whose output has the layer's own type, also where integers come in."""

    casts = "biuf"


@known("AutoContrast")
class AutoContrast(Layer):
    """Every channel of every image stretched over the whole range of values."""

    ignores_training = True

    def setup(self) -> None:
        given = self.config.get("value_range", (0, 255))
        numbers = np.asarray(given, np.float64)
        if numbers.shape != (2,) or not np.isfinite(numbers).all() or numbers[0] == numbers[1]:
            raise ArchiveError(f"value_range must be two numbers. Received: {given!r:.80}")
        self.low, self.high = sorted(numbers.tolist())

    def output_shape(self, shape: Shape) -> Shape:
        _images(self.name, shape)
        return shape

    def call(self, x: Array) -> Array:
        original, width = x, self.high - self.low
        is_bytes = (self.low, self.high) == (0, 255)
        x = x.astype(self.dtype, copy=False)
        y = x if is_bytes else (x - self.low) / width * 255
        low, high = y.min(axis=(1, 2), keepdims=True), y.max(axis=(1, 2), keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 255 / (high - low)
            y = np.clip(y * scale - low * scale, 0, 255)
        y = y if is_bytes else y / 255 * width + self.low
        result: Array = np.where(np.isnan(y), original, y).astype(self.dtype, copy=False)
        return result


def _images(name: str, shape: Shape) -> None:
    """Refuse anything but a batch of images; Keras takes 3 axes for one image without a batch."""
    if len(shape) != 4:
        raise ArchiveError(f"layer {name!r} needs images of 4 axes. Received: {shape}")


class _Sized(Layer):
    """What layers share whose outputs have a fixed height and width."""

    ignores_training = True

    def setup(self) -> None:
        self.size = (self.integer("height"), self.integer("width"))
        if 0 in self.size or max(self.size) > 1 << 16:
            raise ArchiveError(f"height and width must be from 1 to 65536. Received: {self.size}")
        data_format = self.config.get("data_format") or "channels_last"
        if data_format not in ("channels_first", "channels_last"):
            raise ArchiveError(f"data_format must be a known one. Received: {data_format!r:.80}")
        self.channels_first = data_format == "channels_first"

    def output_shape(self, shape: Shape) -> Shape:
        _images(self.name, shape)
        self._lengths(shape)
        if self.channels_first:
            return (*shape[:2], *self.size)
        return (shape[0], *self.size, shape[3])

    def _lengths(self, shape: Any) -> tuple[int, int, int] | None:
        """Return channels, height and width of images that can be resized; None if unknown."""
        channels, *lengths = shape[1:] if self.channels_first else (shape[3], *shape[1:3])
        if 0 in lengths:
            raise ArchiveError(f"{self.name!r} needs images of some pixels. Received: {shape}")
        if None in (channels, *lengths):
            return None
        sizes = self.resized((lengths[0], lengths[1]))
        pixels = max(*map(math.prod, sizes), self._work(sizes).between)
        if channels * pixels > MAX_ELEMENTS:
            raise ArchiveError(
                f"layer {self.name!r} would make images of more than {MAX_ELEMENTS} elements on "
                f"the way from {shape} to {self.size}"
            )
        return channels, lengths[0], lengths[1]

    def resized(self, given: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the height and width of images that are made before they are resized."""
        return [given]

    def _work(self, sizes: list[tuple[int, int]]) -> Work:
        method, antialias = getattr(self, "method", "bilinear"), getattr(self, "antialias", False)
        return work(sizes[-1], self.size, method, antialias)

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        known_lengths: Any = self._lengths(given[0])
        channels, *lengths = known_lengths
        return int(given[0][0] * channels * self._work(self.resized(tuple(lengths))).products)

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        known_lengths: Any = self._lengths(given[0])
        channels, *lengths = known_lengths
        sizes = self.resized(tuple(lengths))
        taken = self._work(sizes)
        # Padded or cut out; both neighbours, their difference, and sums in between; rounding; and
        # for each weight its place, of 64 bits, and its distance.
        pixels = 2 * math.prod(sizes[-1]) + 5 * taken.between + 4 * math.prod(self.size)
        return int(given[0][0] * channels * pixels + 12 * taken.taps)

    def call(self, x: Array) -> Array:
        self._lengths(x.shape)
        if self.channels_first:
            return np.ascontiguousarray(np.moveaxis(self.sized(np.moveaxis(x, 1, -1)), -1, 1))
        return self.sized(x)

    def sized(self, x: Array) -> Array:
        """Return images, ``(batch, height, width, channels)``, of the wanted size."""
        raise NotImplementedError


@known("Resizing")
class Resizing(_Sized):
    """Images of another size, stretched, cropped or padded."""

    kinds = "iuf"
    refused = ("uint32", "uint64")

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.method = str(config.get("interpolation", "bilinear")).lower()
        if self.method not in METHODS:
            raise UnsupportedUseError(
                f"{self.name}: interpolation={self.method!r}; kspike_ref has {', '.join(METHODS)}"
            )
        if config.get("fill_mode", "constant") != "constant":
            raise UnsupportedUseError(f"{self.name}: fill_mode={config['fill_mode']!r}")
        self.antialias = self.boolean("antialias", False)
        self.crops = self.boolean("crop_to_aspect_ratio", False)
        self.pads = self.boolean("pad_to_aspect_ratio", False)
        # Keras multiplies ones of the image's type with the value: a float fits floats alone.
        if self.pads and isinstance(config.get("fill_value", 0.0), float):
            self.kinds = "f"
        if self.crops and self.pads:
            raise ArchiveError("an image cannot be both cropped and padded to its aspect ratio")
        self.fill = self.number("fill_value", 0.0)

    def resized(self, given: tuple[int, int]) -> list[tuple[int, int]]:
        if self.crops:
            return [given, _central(given, self.size)]
        return [given, self._padded_size(given)] if self.pads else [given]

    def sized(self, x: Array) -> Array:
        kind = x.dtype
        if self.crops:
            x = centre(x, self.size)
        elif self.pads:
            x = self._padded(x)
        return round_to(resize(x, self.size, self.method, self.antialias), kind)

    def _padded_size(self, given: tuple[int, int]) -> tuple[int, int]:
        (height, width), (wanted_height, wanted_width) = given, self.size
        tall = max(height, _truncated(width * wanted_height, wanted_width))
        return tall, max(width, _truncated(height * wanted_width, wanted_height))

    def _padded(self, x: Array) -> Array:
        height, width = x.shape[1:3]
        tall, wide = self._padded_size((height, width))
        above, left = (tall - height) // 2, (wide - width) // 2
        edges = [(0, 0), (above, above), (left, left), (0, 0)]
        return np.pad(x, edges, constant_values=np.asarray(self.fill).astype(x.dtype))


def _truncated(numerator: int, denominator: int) -> int:
    """Return a quotient without its fraction, from a division in float32, as Keras does it."""
    return int(np.float32(numerator) / np.float32(denominator))


def _central(given: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the largest part of an image with a size's aspect ratio."""
    height, width = given
    tall = max(min(height, _truncated(width * size[0], size[1])), 1)
    return tall, max(min(width, _truncated(height * size[1], size[0])), 1)


def centre(x: Array, size: tuple[int, int]) -> Array:
    """Return the largest part in the middle of images that has a size's aspect ratio."""
    height, width = x.shape[1:3]
    tall, wide = _central((height, width), size)
    above, left = (height - tall) // 2, (width - wide) // 2
    return x[:, above : above + tall, left : left + wide]


@known("CenterCrop")
class CenterCrop(_Sized):
    """The middle of images; of smaller ones the largest part, resized."""

    casts = "biuf"

    def resized(self, given: tuple[int, int]) -> list[tuple[int, int]]:
        return [given, _central(given, self.size)]

    def sized(self, x: Array) -> Array:
        above, left = (n - wanted for n, wanted in zip(x.shape[1:3], self.size, strict=True))
        if above >= 0 and left >= 0:
            rows = slice(above // 2, above // 2 + self.size[0])
            return x[:, rows, left // 2 : left // 2 + self.size[1]]
        return resize(centre(x, self.size), self.size, "bilinear")


@known("Pipeline")
class Pipeline(Layer):
    """Layers one after another, as one layer."""

    ignores_training = True

    def setup(self) -> None:
        items = self.config["layers"]
        if not isinstance(items, list) or not items:
            raise ArchiveError(f"layers must be a list of layers. Received: {items!r:.80}")
        self.layers = [create(item) for item in items]

    def _shapes(self, shape: Any) -> list[Any]:
        """Return the input shape of each layer, and the last one's output shape."""
        shapes = [shape]
        for layer in self.layers:
            shapes.append(layer.output_shape(shapes[-1]))
        return shapes

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        used: dict[str, int] = {}
        return [
            (f"layers/{saved_name(layer.class_name, used)}", layer, (one,))
            for layer, one in zip(self.layers, self._shapes(shape), strict=False)
        ]

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        # Such a file has the names of layers, and this one's parts are found by their classes.
        if store.repeats_shared and store.holds(path):
            raise UnsupportedUseError(
                "a Pipeline with weights, in a whole-model .h5 file: load the file in Keras, and "
                "save the model as .keras"
            )
        super().load(store, path, *shapes)

    def output_shape(self, shape: Shape) -> Any:
        return self._shapes(shape)[-1]

    def pointwise(self, shape: Shape) -> bool:
        shapes = self._shapes(shape)
        return all(layer.pointwise(one) for layer, one in zip(self.layers, shapes, strict=False))

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        makes = given[0] is not None or any(layer.makes_mask for layer in self.layers)
        if makes and any(layer.uses_mask for layer in self.layers):
            raise UnsupportedUseError("a Pipeline whose layers use masks; use a Sequential model")
        return None

    def call(self, x: Array) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x
