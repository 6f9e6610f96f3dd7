# ruff: noqa: D102 (methods of subclasses in this file are documented in Layer)
"""The `Layer` base class, and the errors that layers raise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

from kspike_ref import dtypes
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.saved.limits import MAX_ELEMENTS
from kspike_ref.saved.text import printable

Array = np.ndarray[Any, Any]
Shape = tuple[int | None, ...]
State = tuple[Array, ...]

_KINDS = {
    "b": "bools",
    "i": "signed integers",
    "u": "unsigned integers",
    "f": "floats",
    "O": "strings",
}


class UnsupportedLayerError(NotImplementedError):
    """A model holds layers, or uses of layers, that are not supported.

    Parameters
    ----------
    layers : sequence of str
        All of them, with their names and the reasons.

    Attributes
    ----------
    layers : tuple of str
        The same.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        self.layers = tuple(printable(layer) for layer in layers)
        super().__init__(
            "this model needs what kspike_ref does not have (see kspike_ref.register_layer):\n  "
            + "\n  ".join(_by_kind(self.layers))
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return UnsupportedLayerError, (self.layers,)


def _by_kind(layers: Sequence[str]) -> list[str]:
    """Return a line for each reason, with the names of the layers that it holds for."""
    names: dict[str, list[str]] = {}
    for text in layers:
        name, colon, why = text.partition(": ")
        names.setdefault(why if colon else text, []).append(name)
    lines = []
    for why, found in names.items():
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} others" if found[5:] else "")
        lines.append(why if found == [why] else f"{shown}: {why}")
    return lines


class UnsupportedUseError(Exception):
    """A use of a layer that is not supported; collected into one `UnsupportedLayerError`."""


class Layer:
    """A layer of a trained model: its configuration, its weights, and what it computes.

    Subclass it and give it to `register_layer` to load models with layers of your own.

    Parameters
    ----------
    name : str
        The name it has in the model.
    class_name : str
        The name of its class in Keras.
    config : dict
        What its ``get_config`` returned in Keras.

    Attributes
    ----------
    weights : dict of str to ndarray
        Filled when the model is loaded, with what `weight_shapes` asks for.
    key : str
        What it was saved as: ``"Dense"``, ``"ops:Add"``, ``"custom:package>Class"``.
    is_shared : bool
        Whether several layers, or the model and a layer, hold it. Keras saves its weights once.
    dtype : dtype
        What it computes in: float64 under that policy, float32 otherwise.
    pointwise_from : int
        The smallest number of axes an input needs for axis 1 to be one along which the layer treats
        each position alone and alike (so that time may be there). 0 says that it never does.
    makes_mask, passes_mask, uses_mask : bool
        Whether it tells later layers which steps to leave out (then it has a `mask`), whether it
        passes on what earlier ones told (Keras' ``supports_masking``), and whether it listens:
        whether its ``call`` takes ``mask``, in the structure of its first argument.
    masked_outputs : int
        How many of its outputs carry its mask, the first ones.
    keras_arguments : tuple of str
        What Keras calls the arguments after the inputs, which a model may give by position.
    keeps_zeros : bool
        Whether zeros stay zeros, so that spikes that come in are mostly zero when they go out.
    ignores_training : bool
        Whether a call that was saved with ``training=True`` means nothing.
    argument_names : tuple of str
        What Keras calls the first arguments of ``call``, by which a model may give them.
    takes_all_masks : bool
        Whether ``call`` takes the masks of all arguments, as a tuple, instead of the first one's.
    takes_tally : bool
        Whether ``call`` takes ``tally``, a `Tally`, and adds the operations that it performs.
    broadcasts : bool
        Whether it computes each element alone, from inputs that NumPy broadcasts, so that one step
        of an input may stand for all.
    drops_masks : bool
        Whether it takes the masks from its inputs, so that layers that run later find none: Keras'
        `MultiHeadAttention` does.
    joins_batch : bool
        Whether the shape of its output depends on all examples of a batch, which then run at once.
    kinds : str
        The kinds of values that its inputs may hold, as NumPy's letters: ``"b"`` for bools,
        ``"iu"`` for integers, ``"f"`` for floats, ``"O"`` for strings, which come as objects, each
        the bytes of a text in UTF-8. A model raises `TypeError` for others.
    refused : tuple of str
        Types that it does not take beside.
    casts : str
        The kinds that it gets as floats of its own type, `dtype`. Floats in Keras' layers; integers
        as well where ``call`` computes with real numbers. ``keras.ops`` get what there is.
    truncates : bool
        Whether the dtype policy is of integers or bools: Keras casts floats that come in to these,
        which kspike_ref refuses.
    """

    pointwise_from: ClassVar[int] = 0
    makes_mask: bool = False
    passes_mask: ClassVar[bool] = False
    uses_mask: ClassVar[bool] = False
    masked_outputs: int = 1
    keras_arguments: ClassVar[tuple[str, ...]] = ("training",)
    keeps_zeros: ClassVar[bool] = False
    ignores_training: ClassVar[bool] = False
    argument_names: ClassVar[tuple[str, ...]] = ("inputs",)
    takes_all_masks: ClassVar[bool] = False
    takes_tally: bool = False
    broadcasts: ClassVar[bool] = False
    drops_masks: ClassVar[bool] = False
    joins_batch: bool = False
    kinds: str = "biuf"
    refused: tuple[str, ...] = ()
    casts: str = "f"
    truncates: bool = False

    def __init__(self, name: str, class_name: str, config: Mapping[str, Any]) -> None:
        self.name = name
        self.class_name = class_name
        self.key = class_name
        self.is_shared = self.is_loaded = False
        self.config = dict(config)
        self.weights: dict[str, Array] = {}
        is_double = policy_name(self.config.get("dtype")) == "float64"
        self.dtype = np.dtype("float64" if is_double else "float32")
        self.setup()

    @classmethod
    def variant(cls, config: Mapping[str, Any]) -> type[Layer]:
        """Return the class of a layer with this configuration: another one where it is special."""
        return cls

    def setup(self) -> None:
        """Read the configuration; called once, before shapes are known."""

    def weight_shapes(self, *shapes: Any) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight, in the order in which Keras creates them.

        Parameters
        ----------
        *shapes : tuple of int or None
            The shapes of the inputs, with the batch axis, as `output_shape` gets them.

        Returns
        -------
        dict of str to tuple of int
            The names under which they appear in `weights`.
        """
        return {}

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        """Return the layers within: where Keras saves them, the layer, its input shapes.

        Their weights are loaded with those of this layer, and appear in its `weights` under
        ``"place/name"``. Make the layers in `setup`, and call them in `call`.

        Parameters
        ----------
        *shapes : tuple
            The shapes of the inputs.

        Returns
        -------
        list of tuple
            For each: its group within this layer's, as ``h5ls -r model.weights.h5`` shows it, such
            as ``"layer/cell"``; the layer; and a tuple of the shapes of its inputs.
        """
        return []

    def output_shape(self, *shapes: Any) -> Any:
        """Return the shape of the output, or a list of shapes if there are several outputs."""
        if not shapes or not isinstance(shapes[0], tuple):
            raise ArchiveError(f"layer {self.name!r} takes one tensor. Received: {shapes!r:.200}")
        return shapes[0]

    def prepare(self) -> None:
        """Compute what depends on the weights alone; called once they are there."""

    def call(self, *inputs: Any, **options: Any) -> Any:
        """Return the output for input arrays, which it must not change."""
        raise NotImplementedError(f"{type(self).__name__} has no call")

    def bind(self, binder: Binder, *inputs: Any) -> Array | None:
        """Record the calls that do what ``call`` does, and return the memory of the output.

        A plan then runs them for all inputs of this kind, without coming back to the layer. What is
        not worth it is called as it is.

        Parameters
        ----------
        binder : Binder
            Takes the calls and lends memory.
        *inputs : ndarray, or list of ndarray
            Arrays of the types, shapes and memory layout that all inputs will have; read-only.

        Returns
        -------
        ndarray or None
            The output; None if nothing was recorded, and ``call`` is to be used.
        """
        return None

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a class with a ``call`` of its own not inherit calls that were bound for another."""
        super().__init_subclass__(**options)
        own = vars(cls)
        if "call" in own and "bind" not in own:
            cls.bind = Layer.bind  # type: ignore[method-assign]

    def call_step(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the output for one time step: axis 1 has the length 1, whatever the model says.

        It is asked only of layers that treat each position of axis 1 alone and alike.
        """
        return self.call(*inputs, **keywords)

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the output for inputs of any type: what a model calls."""
        if self.takes_tally and "tally" not in keywords:
            keywords["tally"] = Tally()
        if len(inputs) == 1:
            return self.call(self.received(inputs[0]), **keywords)
        return self.call(*self.received(inputs), **keywords)

    def received(self, values: Any) -> Any:
        """Return inputs, nested or not, in the types in which ``call`` gets them.

        Parameters
        ----------
        values : ndarray, or list or tuple
            What comes from other layers. What is no array stays what it is.

        Returns
        -------
        ndarray, list or tuple
            The same, with arrays of the kinds in `casts` as `dtype`.

        Raises
        ------
        TypeError
            If the layer does not take a type; the same types fail in Keras, on TensorFlow.
        """
        if isinstance(values, np.ndarray):
            if self.truncates and values.dtype.kind == "f":
                policy = policy_name(self.config["dtype"])
                self.refuse(values.dtype, f"no floats with dtype={policy!r}")
            if values.dtype == self.dtype and "f" in self.kinds:
                return values
            self.check_type(values.dtype)
            return dtypes.cast(values, self.dtype) if values.dtype.kind in self.casts else values
        if isinstance(values, (list, tuple)):
            return type(values)([self.received(value) for value in values])
        return values

    def check_type(self, dtype: dtypes.DType) -> None:
        """Refuse a type that Keras' layer or operation does not compute with either."""
        if dtype.kind in self.kinds and dtype.name not in self.refused:
            return
        wanted = [name for letter, name in _KINDS.items() if letter in self.kinds]
        without = f" but {', '.join(self.refused)}" if dtype.name in self.refused else ""
        self.refuse(dtype, " and ".join(wanted) + without)

    def refuse(self, dtype: dtypes.DType, wanted: str) -> NoReturn:
        """Raise the error that says which types the layer takes."""
        raise TypeError(
            f"layer {self.name!r} ({self.class_name}) takes {wanted}, as in Keras on TensorFlow. "
            f"Received: dtype={dtype}. Cast the input, for example with keras.ops.cast"
        )

    def pointwise(self, *shapes: Any) -> bool:
        """Return whether each position of axis 1 is treated alone and alike."""
        axes = [len(shape) for shape in shapes if isinstance(shape, tuple)]
        return 0 < self.pointwise_from <= min(axes, default=0)

    def streams(self, *shapes: Any) -> bool:
        """Return whether it can run one time step at a time, given inputs with a time axis."""
        return self.pointwise(*shapes)

    def timed(self) -> tuple[list[int], list[int]]:
        """Return which inputs and which outputs have a time axis by definition."""
        return [], []

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        """Return how many axes the mask of the output has.

        Parameters
        ----------
        given : tuple
            The number of axes of the mask of each argument, None where there is none.
        *shapes : tuple
            The shapes of the arguments.

        Returns
        -------
        int or None
            None if there is no mask.

        Raises
        ------
        UnsupportedUseError
            If a mask came that the layer would use and cannot.
        """
        if self.makes_mask:
            return len(shapes[0]) - 1
        return given[0] if self.passes_mask else None

    def mask(self, given: Any, *inputs: Any) -> Any:
        """Return the mask of the output: an array of bools, False where a step does not count.

        Parameters
        ----------
        given : tuple
            The mask of each argument, None where there is none.
        *inputs : ndarray
            The arguments.
        """
        return given[0]

    def hears(self, count: int) -> bool:
        """Return whether it listens to a mask when ``count`` of its arguments hold tensors.

        Keras (3.15) gives a mask to a layer that is called with one: a recurrent layer with an
        initial state from the model does not get it.
        """
        return self.uses_mask and count == 1

    def rounded(self, values: Array, what: str) -> Array:
        """Return values in the type that the layer computes in; refuse those that it cannot hold.

        Parameters
        ----------
        values : ndarray
            Finite numbers.
        what : str
            What they are, for messages.
        """
        with np.errstate(over="ignore"):
            held = values.astype(self.dtype)
        if not np.isfinite(held).all():
            raise ArchiveError(
                f"layer {self.name!r} computes in {self.dtype}, which cannot hold {what} of size "
                f"{np.abs(values).max():.3g}; save the model with dtype='float64'"
            )
        return held

    def boolean(self, key: str, default: bool) -> bool:
        """Return a boolean of the configuration: true or false, and nothing that counts as one."""
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            raise ArchiveError(f"{key} must be true or false. Received: {value!r:.80}")
        return value

    def number(self, key: str, default: float) -> float:
        """Return a finite number of the configuration that the layer's type can hold."""
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArchiveError(f"{key} must be a number. Received: {value!r:.80}")
        if not abs(value) <= float(np.finfo(self.dtype).max):
            raise ArchiveError(f"{key} must be finite in {self.dtype}. Received: {value!r:.80}")
        return float(value)

    def text(self, key: str, default: str, choices: Sequence[str]) -> str:
        """Return one of several words of the configuration."""
        value = self.config.get(key, default)
        if value not in choices:
            words = ", ".join(choices)
            raise ArchiveError(f"{key} must be one of {words}. Received: {value!r:.80}")
        return str(value)

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int | None:
        """Return how many a run takes, given the shapes of inputs and outputs.

        None leaves the estimate to the number of weights, each used at each position.
        """
        return None

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        """Return how many elements a run makes on the way, beside some of the outputs' size."""
        return 0

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a non-negative integer of the configuration."""
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ArchiveError(f"{key} must be a non-negative integer. Received: {value!r}")
        return value

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        """Read the weights of this layer and of the layers within.

        Parameters
        ----------
        store : Weights
            The archive.
        path : str
            Where Keras saved this layer.
        *shapes : tuple
            The shapes of its inputs.

        Raises
        ------
        ArchiveError
            If they are not those that the configuration needs.
        """
        wanted = self.weight_shapes(*shapes)
        for name, values in store.of_layer(path, wanted, self.name).items():
            self.weights[name] = self.rounded(values, name)
        for place, part, part_shapes in self.parts(*shapes):
            load_part(part, store, f"{path}/{place}", *part_shapes)
            self.weights |= {f"{place}/{name}": w for name, w in part.weights.items()}
        self.prepare()

    def check_again(self, *shapes: Any) -> None:
        """Refuse inputs of a further application for which the loaded weights do not fit."""
        held = {name: self.weights[name].shape for name in self.weight_shapes(*shapes)}
        wanted = self.weight_shapes(*shapes)
        if held != wanted:
            raise ArchiveError(
                f"layer {self.name!r} was built for weights of {held}; inputs of {shapes} need "
                f"{wanted}"
            )
        for _, part, part_shapes in self.parts(*shapes):
            part.check_again(*part_shapes)


class SavedElsewhereError(Exception):
    """The weights of a shared layer are where another layer holds it, which is loaded later."""


def load_part(layer: Layer, store: Weights, path: str, *shapes: Any) -> None:
    """Load a layer of a model, or a layer within one, unless it was loaded where it is shared.

    Parameters
    ----------
    layer : Layer
        What to load.
    store : Weights
        The archive.
    path : str
        Where Keras saved it, if it met it there first.
    *shapes : tuple
        The shapes of its inputs.

    Raises
    ------
    SavedElsewhereError
        If another layer that holds it must be loaded before.
    """
    if layer.is_shared and layer.is_loaded and store.holds(path) and not store.repeats_shared:
        raise ArchiveError(f"layer {layer.name!r} is shared, and saved twice: also at {path}")
    if layer.is_shared and not store.holds(path):
        if layer.is_loaded:
            layer.check_again(*shapes)
            return
        if not store.is_last_chance:
            raise SavedElsewhereError(path)
    layer.load(store, path, *shapes)
    layer.is_loaded = True


class StatefulLayer(Layer):
    """A layer that carries a state from one time step to the next.

    Attributes
    ----------
    reduces : bool
        Whether the output has no time axis: it is the value over all steps so far.
    """

    uses_mask = True
    reduces: bool = False

    def pointwise(self, *shapes: Any) -> bool:
        """Return False: no step is alone, also within a layer around this one."""
        return False

    def streams(self, *shapes: Any) -> bool:
        return len(shapes) == 1

    def timed(self) -> tuple[list[int], list[int]]:
        return [0], [] if self.reduces else [0]

    def initial_state(self, batch: int, *shapes: Any) -> State:
        """Return the state before the first step.

        Parameters
        ----------
        batch : int
            The number of examples.
        *shapes : tuple
            The shapes of the inputs.

        Returns
        -------
        tuple of ndarray
            Arrays whose first axis is the batch.
        """
        raise NotImplementedError

    @property
    def draws_states(self) -> bool:
        """Whether `initial_state` returns other numbers each time."""
        return False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if ("call" in own or "scan" in own) and "bind_scan" not in own:
            cls.bind_scan = StatefulLayer.bind_scan  # type: ignore[method-assign]

    def bind_scan(self, binder: Binder, x: Array, state: State) -> Array | None:
        """Record the calls that do what ``scan`` does, as in `Layer.bind`.

        Parameters
        ----------
        binder : Binder
            Takes the calls and lends memory; its ``steps`` are those of an input with one step.
        x : ndarray
            ``(batch, time, …)``, as all inputs will be.
        state : tuple of ndarray
            Float64, C-contiguous: the state before the steps, in which the calls leave that after.

        Returns
        -------
        ndarray or None
            The output; None if nothing was recorded, and ``scan`` is to be used.
        """
        return None

    def scan(self, state: State, *inputs: Any, mask: Any = None) -> tuple[Any, State]:
        """Run over the steps of the inputs, and return the output and the state after them.

        Parameters
        ----------
        state : tuple of ndarray
            The state before; not changed.
        *inputs : ndarray
            ``(batch, time, …)``. A time axis of stride 0 is one input at every step.
        mask : ndarray, optional
            Bools, ``(batch, time)``: at steps that are False, the state is held.

        Returns
        -------
        tuple
            The output and the new state.
        """
        raise NotImplementedError


def check_size(name: str, shape: Any) -> None:
    """Refuse an output that no real model has."""
    for one in shape if isinstance(shape, list) else [shape]:
        lengths = [length for length in one if length is not None] if type(one) is tuple else [-1]
        is_shape = all(isinstance(length, int) and length >= 0 for length in lengths)
        if not is_shape or math.prod(lengths) > MAX_ELEMENTS:
            raise ArchiveError(
                f"layer {name!r} has an impossible output shape: {one}. One example of an output "
                f"may hold {MAX_ELEMENTS} elements"
            )


def mixing(what: str) -> UnsupportedUseError:
    """Return the error that says that examples of a batch would depend on each other."""
    return UnsupportedUseError(
        f"{what} mixes the examples of a batch: the answer would depend on batch_size. "
        "Leave the batch, axis 0, as it is"
    )


def policy_name(policy: Any) -> str:
    """Return the name of a serialised dtype policy, ``"float32"`` where there is none."""
    if isinstance(policy, Mapping):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, Mapping) else None
    return policy if isinstance(policy, str) else "float32"


def check_mask(axes: int | None, wanted: int) -> None:
    """Refuse a mask that does not fit.

    Parameters
    ----------
    axes : int or None
        How many axes it has; None if there is none.
    wanted : int
        How many it should have.

    Raises
    ------
    UnsupportedUseError
        If they differ.
    """
    if axes is not None and axes != wanted:
        raise UnsupportedUseError(f"a mask of {axes} axes where Keras needs {wanted}")


def check_rows(name: str, states: Sequence[Array], shapes: Sequence[Shape], rows: int) -> None:
    """Refuse states that do not fit the examples of a call.

    Parameters
    ----------
    name : str
        The layer's name.
    states : sequence of ndarray
        The states, at least as many as ``shapes``.
    shapes : sequence of tuple of int
        The shape of each state of one example.
    rows : int
        The number of examples.

    Raises
    ------
    ValueError
        If there are too few, or one has another shape.
    """
    if len(states) < len(shapes):
        raise ValueError(f"layer {name!r} needs {len(shapes)} states. Received: {len(states)}")
    for state, shape in zip(states, shapes, strict=False):
        wanted = (rows, *shape)
        if state.shape == wanted:
            continue
        if state.shape[1:] == wanted[1:] and state.ndim:
            raise wrong_batch(name, len(state), rows)
        raise ValueError(
            f"state of layer {name!r} must have the shape {wanted}. Received: {state.shape}"
        )


def wrong_batch(name: str, given: int, rows: int) -> ValueError:
    """Return the error for a state of another number of examples than the input."""
    examples = f"{given} example" if given == 1 else f"{given} examples"
    where = f" (layer {name!r})" if name else ""
    return ValueError(f"state is for {examples}, but x holds {rows}{where}")
