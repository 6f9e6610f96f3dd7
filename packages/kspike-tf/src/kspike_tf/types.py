"""Types of public arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from numpy.typing import ArrayLike

Arrays: TypeAlias = "ArrayLike | Sequence[Arrays] | Mapping[str, Arrays]"
"""One array, or several in the structure of a model's inputs or outputs."""
