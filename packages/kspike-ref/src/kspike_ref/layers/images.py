# ruff: noqa: D102 (methods are documented in base.Layer)
"""Image layers: resizing, cropping, contrast, and augmentation (the identity in inference).

Keras saves their calls with ``training=True``, their default, which `predict` overrides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.keys import AUGMENTATIONS
from kspike_ref.layers.registry import create, known, saved_parts
from kspike_ref.layers.resampling import METHODS, resize, work
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.saved.limits import MAX_ELEMENTS


@known(*AUGMENTATIONS)
class Augmentation(Layer):
    """Augmentation, which acts only in training. `RandomCrop` does so since Keras 3.8."""

    pointwise_from = 2
    keeps_zeros = True
    ignores_training = True
    # As in Keras' `predict`. Its eager calls keep the integers of some of these layers.
    casts = "biuf"

    def call(self, x: Array) -> Array:
        return x


@known("AutoContrast")
class AutoContrast(Layer):
    """Stretching of every channel of every image to the whole range of values."""

    ignores_training = True

    def setup(self) -> None:
        given = self.config.get("value_range", (0, 255))
        numbers = np.asarray(given, np.float64)
        if numbers.shape != (2,) or not np.isfinite(numbers).all() or numbers[0] == numbers[1]:
            raise ArchiveError(
                f"value_range must be two different, finite numbers. Received: {given!r:.80}"
            )
        self.low, self.high = sorted(numbers.tolist())

    def output_shape(self, shape: Shape) -> Shape:
        _check_images(self.name, shape)
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


def _check_images(name: str, shape: Shape) -> None:
    """Refuse anything but a batch of images; Keras treats an input of 3 axes as one image."""
    if len(shape) != 4:
        raise ArchiveError(f"layer {name!r} needs images with 4 axes. Received: {shape}")


class _Sized(Layer):
    """The base class of layers that return images of a fixed height and width."""

    ignores_training = True
    method: str = "bilinear"
    antialias: bool = False

    def setup(self) -> None:
        self.size = (self.integer("height"), self.integer("width"))
        if 0 in self.size or max(self.size) > 1 << 16:
            raise ArchiveError(f"height and width must be from 1 to 65536. Received: {self.size}")
        data_format = self.config.get("data_format") or "channels_last"
        if data_format not in ("channels_first", "channels_last"):
            raise ArchiveError(
                "data_format must be channels_first or channels_last. "
                f"Received: {data_format!r:.80}"
            )
        self.channels_first = data_format == "channels_first"

    def output_shape(self, shape: Shape) -> Shape:
        _check_images(self.name, shape)
        self._plan(shape)
        if self.channels_first:
            return (*shape[:2], *self.size)
        return (shape[0], *self.size, shape[3])

    def _plan(self, shape: Any) -> Any:
        """Return channels, pixels before resizing, and the work; None if lengths are unknown."""
        channels, *lengths = shape[1:] if self.channels_first else (shape[3], *shape[1:3])
        if 0 in lengths:
            raise ArchiveError(
                f"layer {self.name!r} needs images with at least one pixel. Received: {shape}"
            )
        if None in (channels, *lengths):
            return None
        given = (lengths[0], lengths[1])
        before = self.before(given)
        taken = work(before, self.size, self.method, self.antialias)
        pixels = max(math.prod(given), math.prod(before), taken.between)
        if channels * pixels > MAX_ELEMENTS:
            raise ArchiveError(
                f"layer {self.name!r} needs an image of more than {MAX_ELEMENTS} elements (input "
                f"or intermediate) to resize {shape} to {self.size}"
            )
        return channels, math.prod(before), taken

    def before(self, given: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width before resizing, after cropping or padding."""
        return given

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        channels, _, taken = self._plan(given[0])
        return int(given[0][0] * channels * taken.products)

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        channels, before, taken = self._plan(given[0])
        # Padded or cropped pixels; both neighbours, their difference and intermediate sums;
        # rounding; and per weight its 64-bit index and its distance.
        pixels = 2 * before + 5 * taken.between + 4 * math.prod(self.size)
        return int(given[0][0] * channels * pixels + 12 * taken.taps)

    def call(self, x: Array) -> Array:
        self._plan(x.shape)
        if self.channels_first:
            return np.ascontiguousarray(np.moveaxis(self.sized(np.moveaxis(x, 1, -1)), -1, 1))
        return self.sized(x)

    def sized(self, x: Array) -> Array:
        """Return images, ``(batch, height, width, channels)``, of the layer's size."""
        raise NotImplementedError


def _with_aspect(
    given: tuple[int, int], size: tuple[int, int], pick: Callable[[int, int], int]
) -> tuple[int, int]:
    """Return the smallest box around an image, or the largest within, with a size's aspect ratio.

    Keras divides in float32 and drops the fraction.
    """
    (height, width), (tall, wide) = given, size
    fit_height = int(np.float32(width * tall) / np.float32(wide))
    fit_width = int(np.float32(height * wide) / np.float32(tall))
    return max(pick(height, fit_height), 1), max(pick(width, fit_width), 1)


def _centre(x: Array, size: tuple[int, int]) -> Array:
    """Return the centre of images."""
    above, left = ((n - wanted) // 2 for n, wanted in zip(x.shape[1:3], size, strict=True))
    return x[:, above : above + size[0], left : left + size[1]]


@known("Resizing")
class Resizing(_Sized):
    """Resizing of images, which are stretched, cropped or padded.

    The type is that of Keras' `predict`. Its eager calls round to the integers of the input.
    """

    casts = "biuf"

    def setup(self) -> None:
        super().setup()
        config = self.config
        self.method = str(config.get("interpolation", "bilinear")).lower()
        if self.method not in METHODS:
            raise UnsupportedUseError(
                f"{self.name}: interpolation={self.method!r}; kspike_ref supports "
                f"{', '.join(METHODS)}"
            )
        if config.get("fill_mode", "constant") != "constant":
            raise UnsupportedUseError(f"{self.name}: fill_mode={config['fill_mode']!r}")
        self.antialias = self.boolean("antialias", False)
        self.crops = self.boolean("crop_to_aspect_ratio", False)
        self.pads = self.boolean("pad_to_aspect_ratio", False)
        if self.crops and self.pads:
            raise ArchiveError("an image cannot be both cropped and padded to its aspect ratio")
        self.fill = self.number("fill_value", 0.0)

    def before(self, given: tuple[int, int]) -> tuple[int, int]:
        if self.crops or self.pads:
            return _with_aspect(given, self.size, min if self.crops else max)
        return given

    def sized(self, x: Array) -> Array:
        tall, wide = self.before((x.shape[1], x.shape[2]))
        if self.crops:
            x = _centre(x, (tall, wide))
        elif self.pads:
            above, left = (tall - x.shape[1]) // 2, (wide - x.shape[2]) // 2
            edges = [(0, 0), (above, above), (left, left), (0, 0)]
            x = np.pad(x, edges, constant_values=self.fill)
        return resize(x, self.size, self.method, self.antialias).astype(self.dtype, copy=False)


@known("CenterCrop")
class CenterCrop(_Sized):
    """The centre of images; of smaller images, the largest part with the aspect ratio, resized."""

    casts = "biuf"

    def before(self, given: tuple[int, int]) -> tuple[int, int]:
        return _with_aspect(given, self.size, min)

    def sized(self, x: Array) -> Array:
        if x.shape[1] >= self.size[0] and x.shape[2] >= self.size[1]:
            return _centre(x, self.size)
        return resize(_centre(x, self.before((x.shape[1], x.shape[2]))), self.size, self.method)


@known("Pipeline")
class Pipeline(Layer):
    """A sequence of layers as one layer."""

    ignores_training = True
    takes_tally = True

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
        return saved_parts("layers", self.layers, self._shapes(shape))

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        # Such a file has the names of layers, but a Pipeline's parts are found by their classes.
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

    def call(self, x: Array, *, tally: Tally) -> Any:
        for layer in self.layers:
            x = layer(x, tally=tally)
            if not layer.keeps_zeros:
                tally = tally.without_spikes()
        return x
