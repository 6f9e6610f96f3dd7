"""Types of public arguments and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[Any]
"""An array of any type."""

Inputs: TypeAlias = "ArrayLike | Sequence[Inputs] | Mapping[str, Inputs]"
"""One input, or several in the structure of a model."""

Outputs: TypeAlias = "Array | Any"
"""The output of a model, or a list or dictionary of several.

Type checkers treat it as an array, the usual case, and accept it as a list or dictionary, too.
"""

Targets: TypeAlias = "Array | Sequence[Targets] | Mapping[str, Targets]"
"""Arrays to write to, in the structure of a model's outputs."""

Shapes: TypeAlias = "Sequence[int] | Sequence[Shapes] | Mapping[str, Shapes]"
"""The shape of an input, or several shapes in the structure of a model."""

State: TypeAlias = Any
"""An opaque state of streaming, from `Model.initial_state` or `Model.step`, for the next step."""

Verbose: TypeAlias = "int | str"
"""How much progress to show, as in Keras: 0, 1, 2 or ``"auto"``."""
