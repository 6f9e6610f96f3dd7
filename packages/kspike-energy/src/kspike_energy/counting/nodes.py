"""Applications of layers, and their counts.

An adapter converts the model of its framework to a list of `Node`. This module and the rules do not
depend on a framework: a layer is a *kind* (the name under which Keras saves it, such as
``"Dense"`` or ``"kspike_tf>Lowpass"``) and a configuration.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from kspike_energy.counting.fan_out import FanOut
from kspike_energy.settings import Options

__all__ = ["Counts", "LayerSpec", "Node", "Shape", "Term", "UndefinedShapeError", "defined"]

Shape: TypeAlias = tuple[int | None, ...]


class UndefinedShapeError(ValueError):
    """The count depends on a dimension whose length the model leaves open."""


def defined(lengths: Sequence[int | None], problem: str) -> tuple[int, ...]:
    """Return lengths, or raise `UndefinedShapeError` with this text if one of them is open."""
    known = tuple(length for length in lengths if length is not None)
    if len(known) != len(lengths):
        raise UndefinedShapeError(problem)
    return known


@dataclass(frozen=True)
class LayerSpec:
    """A layer of any framework.

    Parameters
    ----------
    layer : object
        The framework's own layer.
    name : str
        Its name.
    kind : str or None
        The name of its rule; None if no rule counts it.
    type_name : str
        Name of its class, for reports.
    read_config : callable
        Returns its configuration, as saved in a ``.keras`` file. Called only when needed.
    wrap : callable
        Returns the `LayerSpec` of a layer inside this one.
    statistics : callable or None
        A function that the user registered for this layer's class.
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
        """Return the single layer inside this one.

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

    Adapters make nodes, and functions registered with `ModelEnergy.register_layer` receive them.
    An adapter leaves out the last six fields: `complete_nodes` fills them in.

    Parameters
    ----------
    spec : LayerSpec
        The layer.
    inputs, outputs : tuple of tuple
        Shapes, with batch and time.
    input_ids, output_ids : tuple of int, optional
        Identities of the tensors. A tensor keeps its identity from one layer to the next, and when
        it enters or leaves a model that is applied at every time step.
    input_tensors, output_tensors : tuple, optional
        The framework's symbolic tensors, if it has them.
    operands : tuple of tuple, optional
        Shapes of all tensor arguments, including constants, of an operation that is not a layer.
    inside_time : bool, optional
        Whether an enclosing layer applies this one at every time step.
    origin : object, optional
        The framework's own node, if it has one that can be a dictionary key.
    mask_ids : tuple of int, optional
        Identities of the tensors that the layer takes as masks, which are not inputs.
    returned : bool, optional
        Whether the model returns one of its outputs.
    timed_inputs, timed_outputs : tuple of bool, optional
        Which inputs and outputs have time on axis 1.
    from_input : tuple of bool, optional
        Which inputs are the model's own input, possibly rearranged.
    behind_linear : bool, optional
        Whether this layer can be folded into the weights of a linear layer: its first input is the
        output of that layer, and has no other consumer.
    only_mask : bool, optional
        Whether its outputs are used only as masks.
    options : Options, optional
        How to count.
    """

    spec: LayerSpec
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    input_ids: tuple[int, ...] = ()
    output_ids: tuple[int, ...] = ()
    input_tensors: tuple[Any, ...] = field(default=(), repr=False)
    output_tensors: tuple[Any, ...] = field(default=(), repr=False)
    operands: tuple[Shape, ...] = ()
    inside_time: bool = False
    origin: Any = field(default=None, repr=False)
    mask_ids: tuple[int, ...] = ()
    returned: bool = False
    timed_inputs: tuple[bool, ...] = ()
    timed_outputs: tuple[bool, ...] = ()
    from_input: tuple[bool, ...] = ()
    behind_linear: bool = False
    only_mask: bool = False
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        if not self.timed_inputs:
            object.__setattr__(self, "timed_inputs", (False,) * len(self.inputs))
        if not self.timed_outputs:
            object.__setattr__(self, "timed_outputs", (False,) * len(self.outputs))

    @property
    def layer(self) -> Any:
        """The framework's layer."""
        return self.spec.layer

    @property
    def outbound_layer(self) -> Any:
        """The framework's layer, under its name in the nodes of Keras 2."""
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
    def input_shapes(self) -> Any:
        """Shape of the input with batch and time; a list of shapes if there are several.

        As in Keras' own node: None for the batch, and for a time axis of unknown length. Inside a
        layer that applies this one at every time step, there is no time axis.
        """
        return _one_or_list(self.inputs)

    @property
    def output_shapes(self) -> Any:
        """Shape of the output with batch and time; a list of shapes if there are several."""
        return _one_or_list(self.outputs)

    @property
    def step_input_shapes(self) -> Any:
        """Shape of the input at one time step: with batch, without time."""
        return _one_or_list(_without_time(self.inputs, self.timed_inputs))

    @property
    def step_output_shapes(self) -> Any:
        """Shape of the output at one time step: with batch, without time."""
        return _one_or_list(_without_time(self.outputs, self.timed_outputs))

    @property
    def full_inputs(self) -> tuple[Shape, ...]:
        """Another name for ``inputs``."""
        return self.inputs

    @property
    def full_outputs(self) -> tuple[Shape, ...]:
        """Another name for ``outputs``."""
        return self.outputs

    def units_in(self, index: int = 0) -> tuple[int, ...]:
        """Return the shape of an input, without batch and time."""
        return self._units(self.inputs[index], self.timed_inputs[index], "input")

    def units_out(self, index: int = 0) -> tuple[int, ...]:
        """Return the shape of an output, without batch and time."""
        return self._units(self.outputs[index], self.timed_outputs[index], "output")

    def _units(self, shape: Shape, timed: bool, which: str) -> tuple[int, ...]:
        problem = f"layer {self.spec.name!r} has an {which} of undefined shape {shape}"
        return defined(shape[2 if timed else 1 :], problem)

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
            inputs=tuple(shape[:1] + shape[2:] for shape in self.inputs),
            outputs=tuple(shape[:1] + shape[2:] for shape in self.outputs),
            timed_inputs=(),
            timed_outputs=(),
            inside_time=True,
        )


@dataclass(frozen=True)
class Term:
    """Outgoing connections of one signal.

    Parameters
    ----------
    fan_out : FanOut
        Connections of every element of the signal.
    source : int or None
        Index of the layer's input that is the signal; None for a signal inside the layer.
    every_step : bool
        Whether every element counts as an event at every step, whatever its value, as an index
        into an embedding does.
    """

    fan_out: FanOut
    source: int | None = 0
    every_step: bool = False


@dataclass(frozen=True)
class Counts:
    """Connections and unit updates of one application of a layer, per time step.

    Parameters
    ----------
    terms : tuple of Term
        Its connections, by the signal that they leave.
    neurons : int
        Unit updates.
    spiking : bool
        Whether a spiking device could run the layer unchanged.
    whole : bool
        Whether the counts cover a whole sequence rather than one step.
    """

    terms: tuple[Term, ...] = ()
    neurons: int = 0
    spiking: bool = True
    whole: bool = False

    @classmethod
    def total(cls, parts: Iterable["Counts"]) -> "Counts":
        """Return the counts of a layer that applies several others."""
        parts = list(parts)
        return cls(
            tuple(term for part in parts for term in part.terms),
            sum(part.neurons for part in parts),
            all(part.spiking for part in parts),
        )

    @property
    def connections(self) -> int:
        """Connections of all terms."""
        return sum(term.fan_out.connections for term in self.terms)


def _without_time(shapes: tuple[Shape, ...], timed: tuple[bool, ...]) -> tuple[Shape, ...]:
    pairs = zip(shapes, timed, strict=True)
    return tuple(shape[:1] + shape[2:] if time else shape for shape, time in pairs)


def _one_or_list(shapes: tuple[Shape, ...]) -> Any:
    return shapes[0] if len(shapes) == 1 else list(shapes)
