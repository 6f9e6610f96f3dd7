"""What the counting rules see of a model: applications of layers, in order.

An adapter turns its framework's model into a list of `Node`. Nothing here or in `rules` knows a
framework: a layer is a *kind* (the name under which Keras saves it, such as ``"Dense"`` or
``"kspike_tf>Lowpass"``) and a configuration.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from kspike_energy.checks import check_choice
from kspike_energy.counting.fan_out import FanOut

__all__ = ["Counts", "LayerSpec", "Node", "Options", "Shape", "Term", "UndefinedShapeError"]

Shape: TypeAlias = tuple[int | None, ...]


class UndefinedShapeError(ValueError):
    """The count depends on a dimension whose length the model leaves open."""


@dataclass(frozen=True)
class Options:
    """How to count; the same for all layers of a network.

    Parameters
    ----------
    padding : {"excluded", "counted"}
        Whether positions over the padding of a convolution or pooling count as connections.
    normalization : {"folded", "separate"}
        Whether a batch normalisation behind a linear layer is folded into that layer's weights.
    convention : {"kspike", "keras-spiking"}
        Whose rules count: those of this package, or those of KerasSpiking.
    """

    padding: str = "excluded"
    normalization: str = "folded"
    convention: str = "kspike"

    def __post_init__(self) -> None:
        check_choice("padding", self.padding, ("excluded", "counted"))
        check_choice("normalization", self.normalization, ("folded", "separate"))
        check_choice("convention", self.convention, ("kspike", "keras-spiking"))


@dataclass(frozen=True)
class LayerSpec:
    """A layer, whichever framework it comes from.

    Parameters
    ----------
    layer : object
        The framework's own layer.
    name : str
        Its name.
    kind : str or None
        The name of its rule; None if no rule is known for it.
    type_name : str
        Name of its class, for reports.
    read_config : callable
        Returns its configuration, as saved in a ``.keras`` file. Called only when needed.
    wrap : callable
        Returns the `LayerSpec` of a layer inside this one.
    statistics : callable or None
        A function registered by the user for this layer's class.
    """

    layer: Any
    name: str
    kind: str | None
    type_name: str
    read_config: Callable[[], Mapping[str, Any]]
    wrap: Callable[[str], "LayerSpec | list[LayerSpec]"]
    statistics: Callable[["Node"], Mapping[str, Any]] | None = None

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration, as saved in a ``.keras`` file."""
        return self.read_config()

    def inner(self, key: str) -> "LayerSpec":
        """Return the one layer inside this one.

        Raises
        ------
        TypeError
            If there are several.
        """
        spec = self.wrap(key)
        if isinstance(spec, list):
            raise TypeError(f"{key} of layer {self.name!r} must be one layer. Received: {spec!r}")
        return spec


@dataclass(frozen=True, eq=False)
class Node:
    """One application of a layer to its inputs.

    This is what a function registered with `ModelEnergy.register_layer` receives.

    Parameters
    ----------
    spec : LayerSpec
        The layer.
    full_inputs, full_outputs : tuple of tuple
        Shapes, with batch and time.
    timed_inputs, timed_outputs : tuple of bool
        Which of them have time on axis 1.
    sources : tuple of int
        For each input, the index of the node that produces it; -1 for none.
    input_tensors, output_tensors : tuple
        The framework's symbolic tensors, where it has such.
    operands : tuple
        Shapes of every tensor argument, constants included, for an operation that is no layer.
    from_input : tuple of bool
        Which inputs are the model's own input, at most rearranged.
    behind_linear : bool
        Whether the first input is the output of a linear layer with weights.
    inside_time : bool
        Whether a surrounding layer applies this one once for each time step.
    options : Options
        How to count.
    origin : object
        The framework's own node, where it has such and it can be a key.
    """

    spec: LayerSpec
    full_inputs: tuple[Shape, ...]
    full_outputs: tuple[Shape, ...]
    timed_inputs: tuple[bool, ...] = ()
    timed_outputs: tuple[bool, ...] = ()
    sources: tuple[int, ...] = ()
    input_tensors: tuple[Any, ...] = ()
    output_tensors: tuple[Any, ...] = ()
    operands: tuple[Shape, ...] = ()
    from_input: tuple[bool, ...] = ()
    behind_linear: bool = False
    inside_time: bool = False
    options: Options = field(default_factory=Options)
    origin: Any = None

    def __post_init__(self) -> None:
        for name, shapes in (("timed_inputs", "full_inputs"), ("timed_outputs", "full_outputs")):
            if not getattr(self, name):
                object.__setattr__(self, name, (False,) * len(getattr(self, shapes)))

    @property
    def layer(self) -> Any:
        """The framework's layer."""
        return self.spec.layer

    @property
    def config(self) -> Mapping[str, Any]:
        """The layer's configuration, as saved in a ``.keras`` file."""
        return self.spec.config

    @property
    def has_time(self) -> bool:
        """Whether any input or output has time on axis 1."""
        return self.inside_time or any(self.timed_inputs) or any(self.timed_outputs)

    @property
    def outbound_layer(self) -> Any:
        """The framework's layer, under the name that the nodes of Keras 2 gave it."""
        return self.spec.layer

    @property
    def input_shapes(self) -> Any:
        """Shape of the input with batch and time; a list of shapes if there are several.

        As in Keras' own node: None for the batch, and for a time axis of unknown length. Inside a
        layer that applies this one at each time step, there is no time axis.
        """
        return _one_or_list(self.full_inputs)

    @property
    def output_shapes(self) -> Any:
        """Shape of the output with batch and time; a list of shapes if there are several."""
        return _one_or_list(self.full_outputs)

    @property
    def step_input_shapes(self) -> Any:
        """Shape of the input at one time step: with batch, without time."""
        return _one_or_list(_all_without_time(self.full_inputs, self.timed_inputs))

    @property
    def step_output_shapes(self) -> Any:
        """Shape of the output at one time step: with batch, without time."""
        return _one_or_list(_all_without_time(self.full_outputs, self.timed_outputs))

    def units_in(self, index: int = 0) -> tuple[int, ...]:
        """Return the shape of an input, without batch and time."""
        return _units(self.full_inputs[index], self.timed_inputs[index], self.spec.name, "input")

    def units_out(self, index: int = 0) -> tuple[int, ...]:
        """Return the shape of an output, without batch and time."""
        return _units(self.full_outputs[index], self.timed_outputs[index], self.spec.name, "output")

    def inner(self, key: str, *, drop_time: bool = False) -> "Node":
        """Return this node with a wrapped layer in place of its own.

        Parameters
        ----------
        key : str
            Attribute of the layer that holds the wrapped one.
        drop_time : bool, optional
            Whether the wrapped layer sees one time step at a time.
        """
        spec = self.spec.inner(key)
        if not drop_time:
            return replace(self, spec=spec)
        return replace(
            self,
            spec=spec,
            full_inputs=tuple(shape[:1] + shape[2:] for shape in self.full_inputs),
            full_outputs=tuple(shape[:1] + shape[2:] for shape in self.full_outputs),
            timed_inputs=(False,) * len(self.full_inputs),
            timed_outputs=(False,) * len(self.full_outputs),
            inside_time=True,
        )


@dataclass(frozen=True)
class Term:
    """Connections that leave one signal.

    Parameters
    ----------
    fan_out : FanOut
        Connections of each element of the signal.
    source : int or None
        Which input of the layer the signal is; None for one inside the layer.
    every_step : bool
        Whether each element counts as an event at every step whatever its value, as an index
        into an embedding does.
    """

    fan_out: FanOut
    source: int | None = 0
    every_step: bool = False


@dataclass(frozen=True)
class Counts:
    """What one application of a layer costs at each time step.

    Parameters
    ----------
    terms : tuple of Term
        Its connections, by the signal that they leave.
    neurons : int
        Unit updates.
    spiking : bool
        Whether a spiking device could run the layer as it is.
    """

    terms: tuple[Term, ...] = ()
    neurons: int = 0
    spiking: bool = True

    @property
    def connections(self) -> int:
        """Connections of all terms."""
        return sum(term.fan_out.connections for term in self.terms)


def _without_time(shape: Shape, timed: bool) -> Shape:
    return shape[:1] + shape[2:] if timed else shape


def _all_without_time(shapes: tuple[Shape, ...], timed: tuple[bool, ...]) -> tuple[Shape, ...]:
    return tuple(_without_time(shape, time) for shape, time in zip(shapes, timed, strict=True))


def _one_or_list(shapes: tuple[Shape, ...]) -> Any:
    return shapes[0] if len(shapes) == 1 else list(shapes)


def _units(shape: Shape, timed: bool, name: str, which: str) -> tuple[int, ...]:
    units = _without_time(shape, timed)[1:]
    known = tuple(length for length in units if length is not None)
    if len(known) != len(units):
        raise UndefinedShapeError(f"layer {name!r} has an {which} of undefined shape {shape}")
    return known
