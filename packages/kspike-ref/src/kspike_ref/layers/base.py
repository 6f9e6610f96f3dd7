"""The base class of all layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.configured import Configured, policy_name
from kspike_ref.layers.errors import Array, described
from kspike_ref.layers.loading import load_part
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError, Weights


class Layer(Configured):
    """A layer of a trained model: its configuration, its weights, and its computation.

    Subclass it and register the class with `register_layer` to load models with your own layers.
    Methods that take shapes must not change the layer: only `setup`, `load` and `prepare` may.

    Parameters
    ----------
    name : str
        The layer's name in the model.
    class_name : str
        The name of its class in Keras.
    config : dict
        The result of its ``get_config`` in Keras.

    Attributes
    ----------
    weights : dict of str to ndarray
        The arrays that `weight_shapes` names, filled when the model is loaded.
    key : str
        The name it was saved under: ``"Dense"``, ``"ops:Add"``, ``"custom:package>Class"``.
    is_shared : bool
        Whether several layers, or the model and a layer, hold it. Keras saves its weights once.
    pointwise_from : int
        The smallest number of axes of an input whose positions along axis 1 the layer treats
        independently and in the same way, so that axis 1 may be time. 0 means never.
    makes_mask, passes_mask, uses_mask : bool
        Whether the layer makes a mask of steps for later layers (see `mask`), passes on the mask of
        its input (Keras' ``supports_masking``), and applies masks. If it applies them, ``call``
        takes ``mask``, with the structure of its first argument.
    masked_outputs : int
        The number of outputs that carry its mask, counted from the first.
    keras_arguments : tuple of str
        Keras' names of the arguments after the inputs, which a model may pass by position.
    keeps_zeros : bool
        Whether zeros stay zeros, so that spikes remain sparse.
    ignores_training : bool
        Whether a call that was saved with ``training=True`` gives the same result.
    argument_names : tuple of str
        Keras' names of the first arguments of ``call``, which a model may pass by name.
    takes_all_masks : bool
        Whether ``call`` takes a tuple of the masks of all arguments instead of the first one's.
        `mask_axes` then also takes the other keywords of the call.
    mixing_options : tuple of str
        The keywords of ``call`` that make positions of axis 1 depend on each other.
    takes_tally : bool
        Whether ``call`` takes ``tally``, a `Tally` to which it adds its operations.
    broadcasts : bool
        Whether it computes element by element, so that a single step of an input is broadcast.
    weighs_constants : bool
        Whether `multiply_adds` and `temporaries` also get the shapes of constant arguments.
    drops_masks : bool
        Whether it removes the masks of its inputs for later layers, as `MultiHeadAttention` does.
    joins_batch : bool
        Whether the shape of its output depends on all examples, which then run in one block.
    kinds : str
        The kinds of values that its inputs may hold, as NumPy's letters: ``"b"`` for bools,
        ``"iu"`` for integers, ``"f"`` for floats, ``"O"`` for strings, which are objects that hold
        the text in UTF-8. A model raises `TypeError` for others.
    refused : tuple of str
        Further types that it refuses.
    casts : str
        The kinds that are cast to its own type, `dtype`, before ``call``: floats in Keras' layers,
        and integers if ``call`` computes with real numbers. ``keras.ops`` do not cast their
        inputs.
    truncates : bool
        Whether its dtype policy names integers or bools, so that floats are refused.
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
    mixing_options: ClassVar[tuple[str, ...]] = ()
    takes_tally: bool = False
    broadcasts: ClassVar[bool] = False
    weighs_constants: ClassVar[bool] = False
    drops_masks: ClassVar[bool] = False
    joins_batch: bool = False
    kinds: str = "biuf"
    refused: tuple[str, ...] = ()
    casts: str = "f"
    truncates: bool = False

    def __init__(self, name: str, class_name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, class_name, config)
        self.key = class_name
        self.is_shared = self.is_loaded = False
        self.weights: dict[str, Array] = {}
        self.setup()

    @classmethod
    def variant(cls, config: Mapping[str, Any]) -> type[Layer]:
        """Return the class for a configuration: this class, or one for a special case."""
        return cls

    def setup(self) -> None:
        """Read the configuration. Called once, before shapes are known."""

    def weight_shapes(self, *shapes: Any) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, in the order in which Keras creates them.

        Parameters
        ----------
        *shapes : tuple of int or None
            The shapes of the inputs, with the batch axis.

        Returns
        -------
        dict of str to tuple of int
            A shape for every name in `weights`.
        """
        return {}

    def parts(self, *shapes: Any) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        """Return the layers within this one.

        Their weights are loaded with those of this layer, and appear in its `weights` under
        ``"place/name"``. Create the layers in `setup`, and call them in `call`.

        Parameters
        ----------
        *shapes : tuple
            The shapes of the inputs.

        Returns
        -------
        list of tuple
            The place, a path of HDF5 groups within this layer's group, such as ``"layer/cell"``
            (see ``h5ls -r model.weights.h5``); the layer; and the shapes of its inputs.
        """
        return []

    def output_shape(self, *shapes: Any) -> Any:
        """Return the shape of the output, or a list of shapes for several outputs."""
        if not shapes or not isinstance(shapes[0], tuple):
            raise ArchiveError(f"layer {self.name!r} takes one tensor. Received: {shapes!r:.200}")
        return shapes[0]

    def prepare(self) -> None:
        """Compute values that depend on the weights alone. Called once the weights are loaded."""

    def call(self, *inputs: Any, **options: Any) -> Any:
        """Return the output for input arrays, which must not be changed."""
        raise NotImplementedError(f"{type(self).__name__} must implement call")

    def bind(self, binder: Binder, *inputs: Any) -> Array | None:
        """Record the calls that compute the output, and return its memory.

        A plan then runs these calls for all inputs of this kind, instead of ``call``.

        Parameters
        ----------
        binder : Binder
            Takes the calls and lends memory.
        *inputs : ndarray, or list of ndarray
            Read-only arrays with the types, shapes and memory layout of all later inputs.

        Returns
        -------
        ndarray or None
            The output, or None if nothing was recorded and ``call`` must be used.
        """
        return None

    def __init_subclass__(cls, **options: Any) -> None:
        """Reset ``bind`` if a class overrides ``call`` alone: a ``bind`` fits only its ``call``."""
        super().__init_subclass__(**options)
        own = vars(cls)
        if "call" in own and "bind" not in own:
            cls.bind = Layer.bind  # type: ignore[method-assign]

    def call_step(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the output for one time step: axis 1 has length 1, whatever the model says.

        Called only for layers that are `pointwise`.
        """
        return self.call(*inputs, **keywords)

    def __call__(self, *inputs: Any, tally: Tally | None = None, **keywords: Any) -> Any:
        """Return the output for inputs of any type, as a model calls the layer."""
        if self.takes_tally:
            keywords["tally"] = Tally() if tally is None else tally
        if len(inputs) == 1:
            return self.call(self.received(inputs[0]), **keywords)
        return self.call(*self.received(inputs), **keywords)

    def received(self, values: Any) -> Any:
        """Return inputs, nested or not, with arrays of the kinds in `casts` cast to `dtype`.

        Raises
        ------
        TypeError
            If the layer does not take a type. The same types fail in Keras on TensorFlow.
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
        """Refuse a type that also fails in Keras."""
        if dtype.kind in self.kinds and dtype.name not in self.refused:
            return
        without = self.refused if dtype.name in self.refused else ()
        self.refuse(dtype, described(self.kinds, without))

    def refuse(self, dtype: dtypes.DType, wanted: str) -> NoReturn:
        """Raise an error that says which types the layer takes."""
        raise TypeError(
            f"layer {self.name!r} ({self.class_name}) takes {wanted}, as in Keras on TensorFlow. "
            f"Received: dtype={dtype}. Cast the input, for example with keras.ops.cast"
        )

    def pointwise(self, *shapes: Any) -> bool:
        """Return whether positions of axis 1 are treated independently and in the same way."""
        axes = [len(shape) for shape in shapes if isinstance(shape, tuple)]
        return 0 < self.pointwise_from <= min(axes, default=0)

    def streams(self, *shapes: Any) -> bool:
        """Return whether it can run one time step at a time, from inputs with a time axis."""
        return self.pointwise(*shapes)

    def timed(self) -> tuple[list[int], list[int]]:
        """Return the indices of the inputs, and of the outputs, that always have a time axis."""
        return [], []

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        """Return the number of axes of the output's mask.

        Parameters
        ----------
        given : tuple
            The number of axes of every argument's mask; None for an argument without one.
        *shapes : tuple
            The shapes of the arguments.

        Returns
        -------
        int or None
            None if the output carries no mask.

        Raises
        ------
        UnsupportedUseError
            If the layer uses masks, but cannot use this one.
        """
        if self.makes_mask:
            return len(shapes[0]) - 1
        return given[0] if self.passes_mask else None

    def mask(self, given: Any, *inputs: Any) -> Any:
        """Return the mask of the output: an array of bools, False at steps to leave out.

        Parameters
        ----------
        given : tuple
            The mask of every argument; None for an argument without one.
        *inputs : ndarray
            The arguments.
        """
        return given[0]

    def hears(self, count: int) -> bool:
        """Return whether it applies a mask when ``count`` of its arguments hold tensors.

        Keras (3.15) passes a mask on only to a layer that is called with one tensor: a recurrent
        layer whose initial state comes from the model gets none.
        """
        return self.uses_mask and count == 1

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int | None:
        """Return the multiply-adds of a run, from the shapes of inputs and outputs.

        None stands for an estimate from the weights, all of which are used at every position.
        """
        return None

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        """Return the elements that a run allocates besides arrays of the outputs' size."""
        return 0

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        """Read the weights of this layer and of its inner layers.

        Parameters
        ----------
        store : Weights
            The archive.
        path : str
            The place of this layer in the archive.
        *shapes : tuple
            The shapes of its inputs.

        Raises
        ------
        ArchiveError
            If the weights do not fit the configuration.
        """
        wanted = self.weight_shapes(*shapes)
        for name, values in store.of_layer(path, wanted, self.name).items():
            self.weights[name] = self.rounded(values, name)
        for place, part, part_shapes in self.parts(*shapes):
            load_part(part, store, f"{path}/{place}", *part_shapes)
            self.weights |= {f"{place}/{name}": w for name, w in part.weights.items()}
        self.prepare()

    def check_again(self, *shapes: Any) -> None:
        """Refuse inputs of another application of the layer that do not fit the loaded weights."""
        wanted = self.weight_shapes(*shapes)
        held = {name: self.weights[name].shape for name in wanted}
        if held != wanted:
            raise ArchiveError(
                f"layer {self.name!r} was built for weights of {held}; inputs of {shapes} need "
                f"{wanted}"
            )
        for _, part, part_shapes in self.parts(*shapes):
            part.check_again(*part_shapes)
