"""Weights that a call does not use: their gradients are zero, where there would be none."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any


def with_zero_gradients(x: Tensor, weights: list[Any]) -> Tensor:
    """Return ``x``; the gradient with respect to the weights is zero.

    Keras warns of weights without a gradient ("did you forget to provide a loss?"), and refuses to
    train a model in which no weight has one.

    Parameters
    ----------
    x : tf.Tensor
        Any tensor of floating point numbers.
    weights : list of keras.Variable
        Weights that ``x`` does not depend on.

    Returns
    -------
    tf.Tensor
        The same values.
    """

    @tf.custom_gradient
    def forward(x: Tensor, *weights: Tensor) -> Any:
        def backward(d_x: Tensor) -> Any:
            return d_x, *[tf.zeros_like(each) for each in weights]

        return tf.identity(x), backward

    return forward(x, *[tf.convert_to_tensor(each.value) for each in weights])
