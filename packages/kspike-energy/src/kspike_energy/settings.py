"""Options of counting and measuring."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from numpy.typing import ArrayLike

from kspike_energy.checks import check_choice, check_count

__all__ = ["Examples", "Options", "Settings", "Shapes", "steps_passed"]

Examples: TypeAlias = ArrayLike | Mapping[str, Any] | Iterable[Any]  # arrays, or batches of them
Shapes: TypeAlias = Sequence[int | None] | Sequence[Any] | Mapping[str, Any]  # one, or several


@dataclass(frozen=True)
class Options:
    """Counting options, shared by all layers of a network.

    Parameters
    ----------
    padding : {"excluded", "counted"}
        Whether window positions over the padding of a convolution or pooling are connections.
    normalization : {"folded", "separate"}
        Whether batch normalisation after a linear layer is folded into that layer's weights.
    convention : {"kspike", "keras-spiking"}
        The counting rules: those of this package, or those of KerasSpiking.
    """

    padding: str = "excluded"
    normalization: str = "folded"
    convention: str = "kspike"

    def __post_init__(self) -> None:
        check_choice("padding", self.padding, ("excluded", "counted"))
        check_choice("normalization", self.normalization, ("folded", "separate"))
        check_choice("convention", self.convention, ("kspike", "keras-spiking"))


@dataclass(frozen=True)
class Settings:
    """Settings for counting and measuring a model.

    `ModelEnergy` documents every field.

    Raises
    ------
    TypeError, ValueError
        If a field has an invalid value, or two fields exclude each other.
    """

    options: Options = field(default_factory=Options)
    events: str = "mean"
    input_coding: str = "rate"
    time_axis: str | int | None = "auto"
    input_shape: Any = None
    batch_size: int = 32
    progress: bool = False

    def __post_init__(self) -> None:
        check_choice("events", self.events, ("mean", "exact"))
        check_choice("input_coding", self.input_coding, ("rate", "events", "dense"))
        check_count("batch_size", self.batch_size)
        if self.time_axis not in ("auto", 1, None) or self.time_axis is True:
            raise ValueError(
                f"time_axis must be 'auto', 1 or None. Received: time_axis={self.time_axis!r}"
            )
        if self.events == "exact" and self.options.padding == "counted":
            raise ValueError(
                "events='exact' counts real connections, so padding must be 'excluded'. "
                "Received: padding='counted'"
            )
        if self.options.convention == "keras-spiking":
            if (self.events, self.input_coding) != ("mean", "rate"):
                raise ValueError(
                    "convention='keras-spiking' requires events='mean' and input_coding='rate'. "
                    f"Received: events={self.events!r}, input_coding={self.input_coding!r}"
                )
            # KerasSpiking counts padding, and reports must say so.
            object.__setattr__(self, "options", replace(self.options, padding="counted"))


def steps_passed(timesteps_per_inference: int | None, timesteps: int | None) -> int | None:
    """Return the time steps per inference, passed under either of their two names.

    Raises
    ------
    TypeError
        If both are given, or ``timesteps`` is not a whole number.
    ValueError
        If ``timesteps`` is below 1.
    """
    if timesteps is None:
        return timesteps_per_inference
    if timesteps_per_inference is not None:
        raise TypeError("pass either timesteps_per_inference or timesteps, not both")
    return check_count("timesteps", timesteps)
