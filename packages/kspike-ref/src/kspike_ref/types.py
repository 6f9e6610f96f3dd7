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
"""The output of a model as type checkers see it; a list or dictionary where there are several.

They take it for an array, which it mostly is, and accept it where a list or dictionary is wanted.
"""

Targets: TypeAlias = "Array | Sequence[Targets] | Mapping[str, Targets]"
"""Arrays to write to, in the structure of a model's outputs."""

Shapes: TypeAlias = "Sequence[int] | Sequence[Shapes] | Mapping[str, Shapes]"
"""The shape of an input, or those of several in the structure of a model."""

State: TypeAlias = Any
"""What `Model.initial_state` and `Model.step` return, for the next step alone."""

Verbose: TypeAlias = "int | str"
"""How much to show of a run, as in Keras: 0, 1, 2 or ``"auto"``."""
