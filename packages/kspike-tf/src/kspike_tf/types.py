"""Types of public arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

Arrays: TypeAlias = "ArrayLike | Sequence[Arrays] | Mapping[str, Arrays]"
"""One array, or several in the structure of a model's inputs or outputs."""

Signature: TypeAlias = "tf.TensorSpec | Sequence[Signature] | Mapping[str, Signature]"
"""Shape and type of one input, or of several in the structure of a model."""


@runtime_checkable
class ReferenceModel(Protocol):
    """The part of `kspike_ref.Model` that kspike_tf uses: it does not import that package."""

    @property
    def layers(self) -> Sequence[Any]:
        """All layers."""

    @property
    def nodes(self) -> Sequence[Any]:
        """All applications of layers, in order of execution."""

    @property
    def activity(self) -> Callable[..., Any]:
        """A function that returns the output of every layer."""

    @property
    def initial_state(self) -> Callable[..., Any]:
        """A function that returns the state before the first step."""

    @property
    def step(self) -> Callable[..., Any]:
        """A function that takes one time step."""


SpikingModel: TypeAlias = keras.Model | ReferenceModel
"""A Keras model or one of kspike_ref."""
