"""Wrapper that applies a layer to all time steps at once, by folding time into the batch."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import keras
import tensorflow as tf

from kspike_tf.layers.arguments import refuse_ragged, suggests_options

Tensor = Any
Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("kspike_tf")
class TimeFolded(keras.layers.Wrapper):
    """Applies a layer or a model to every time step, by folding time into the batch.

    The layer is called once, on ``(batch * time, *units)``, in training and inference. Use it in
    place of ``keras.layers.TimeDistributed``. If the number of steps is unknown, that wrapper
    (in Keras 3.15) computes as many steps as the first sequence has and drops further steps of
    later sequences, in ``predict`` and in exports. If the number is known, it calls the layer in a
    Python loop.

    Parameters
    ----------
    layer : keras.layers.Layer
        Layer or model for inputs without a time axis; its inputs may be nested.
    **kwargs
        For ``keras.layers.Layer``. The default dtype policy is that of ``layer``.

    Raises
    ------
    TypeError
        If ``layer`` is not a Keras layer.
    ValueError
        If an input has no time axis; or if ``layer`` is or contains a stateful layer, which would
        treat every step of every example as a separate example.

    Notes
    -----
    Inputs and outputs are ``(batch, time, ...)``. A mask ``(batch, time, ...)`` is passed on, and
    is folded for layers that take one. The layer treats steps as examples: batch normalisation
    computes its statistics over batch and time, and updates them once per call.

    Examples
    --------
    >>> images = tf.ones([2, 5, 28, 28, 1])
    >>> TimeFolded(keras.layers.Conv2D(8, 3))(images).shape
    TensorShape([2, 5, 26, 26, 8])
    """

    @suggests_options
    def __init__(self, layer: keras.layers.Layer, **kwargs: Any) -> None:
        if not isinstance(layer, keras.layers.Layer):
            raise TypeError(f"layer must be a Keras layer. Received: layer={layer!r}")
        for each in layer._flatten_layers():
            if getattr(each, "stateful", False) and not isinstance(each, keras.Model):
                raise ValueError(
                    "layer must not be stateful: it would treat every time step as a separate "
                    f"example. Received: {type(each).__name__} {each.name!r} with stateful=True"
                )
        # The layer casts its inputs itself.
        kwargs.setdefault("autocast", False)
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, **kwargs)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Build the layer for time steps; Keras calls this at the first use."""
        # Lookups need no building, and take no shapes in Keras 3.8.
        lookups = keras.layers.IntegerLookup, keras.layers.StringLookup
        if not self.layer.built and not isinstance(self.layer, lookups):
            self.layer.build(self._folded_shapes(input_shape))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the layer; called like any Keras layer."""
        refuse_ragged(self.name, args, kwargs)
        return super().__call__(*args, **kwargs)

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Apply the layer to all time steps.

        Parameters
        ----------
        inputs : (batch, time, ...) tf.Tensor, or structure of them
            Sequences of the same batch and length.
        training : bool or tf.Tensor, optional
            Whether the model is being trained.
        mask : (batch, time, ...) tf.Tensor, or structure of them, optional
            Mask for the layer, if it takes one.

        Returns
        -------
        (batch, time, ...) tf.Tensor, or structure of them
            The outputs of the layer.
        """
        inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
        self._check(inputs)
        kwargs = options_of(self.layer, folded, training, mask)
        with warnings.catch_warnings():
            # A model drops the mask; here, `compute_mask` passes it on.
            warnings.filterwarnings("ignore", message=".*will therefore destroy the mask")
            outputs = self.layer(keras.tree.map_structure(folded, inputs), **kwargs)
        first = keras.tree.flatten(inputs)[0]
        return keras.tree.map_structure(lambda y: unfolded(y, first), outputs)

    def _check(self, inputs: Any) -> None:
        shapes = [tuple(each.shape) for each in keras.tree.flatten(inputs)]
        for shape in shapes:
            _check_shape(shape, self.name)
            if not tf.TensorShape(shape[:2]).is_compatible_with(shapes[0][:2]):
                raise ValueError(
                    f"inputs of layer {self.name!r} must have the same batch and time. "
                    f"Received: shapes={shapes}"
                )

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the outputs, ``(batch, time, ...)``."""
        shapes: list[Shape] = []
        keras.tree.map_shape_structure(shapes.append, input_shape)
        batch, time = shapes[0][:2]
        inner = self.layer.compute_output_shape(self._folded_shapes(input_shape))
        return keras.tree.map_shape_structure(lambda shape: (batch, time, *shape[1:]), inner)

    def compute_output_spec(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Return symbolic outputs, for the arguments of `call`."""
        self._check(inputs)
        kwargs = options_of(self.layer, _folded_spec, training, mask)
        steps = keras.tree.map_structure(_folded_spec, inputs)
        batch, time = keras.tree.flatten(inputs)[0].shape[:2]
        return keras.tree.map_structure(
            lambda y: keras.KerasTensor((batch, time, *y.shape[1:]), dtype=y.dtype),
            self.layer.compute_output_spec(steps, **kwargs),
        )

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Return the mask of the input unchanged, if there is a single input."""
        return mask if tf.is_tensor(mask) or isinstance(mask, keras.KerasTensor) else None

    def _folded_shapes(self, shapes: Any) -> Any:
        def checked(shape: Shape) -> Shape:
            _check_shape(shape, self.name)
            return _folded_shape(shape)

        return keras.tree.map_shape_structure(checked, shapes)


def _check_shape(shape: Shape, name: str) -> None:
    if len(shape) < 3:
        raise ValueError(
            f"inputs of layer {name!r} must have at least three axes, (batch, time, ...). "
            f"Received: shape={tuple(shape)}"
        )


def _folded_shape(shape: Shape) -> Shape:
    batch, time = shape[:2]
    steps = None if batch is None or time is None else batch * time
    return steps, *shape[2:]


def folded(x: Tensor) -> Tensor:
    """Return the steps of sequences as one batch."""
    x = tf.convert_to_tensor(x)
    shape = tf.shape(x)
    # Not -1, which is undefined if there are no elements.
    steps = tf.reshape(x, tf.concat([[shape[0] * shape[1]], shape[2:]], 0))
    return tf.ensure_shape(steps, _folded_shape(tuple(x.shape)))


def _folded_spec(x: Any) -> Any:
    return keras.KerasTensor(_folded_shape(tuple(x.shape)), dtype=x.dtype)


def unfolded(y: Tensor, like: Tensor) -> Tensor:
    """Undo `folded`, to the batch and time of another tensor."""
    outputs = tf.reshape(y, tf.concat([tf.shape(like)[:2], tf.shape(y)[1:]], 0))
    return tf.ensure_shape(outputs, [*like.shape[:2], *y.shape[1:]])


def options_of(layer: Any, fold: Any, training: Any, mask: Any) -> dict[str, Any]:
    """Return those keyword arguments that a layer's ``call`` accepts, with folded masks."""
    mask = keras.tree.map_structure(lambda m: None if m is None else fold(m), mask)
    passed = {"training": training, "mask": mask}
    names = inspect.signature(layer.call).parameters
    return {k: v for k, v in passed.items() if k in names and v is not None}
