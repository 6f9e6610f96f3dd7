"""Export of trained models to ONNX.

Keras' own ``model.export`` works too, for SavedModel, ONNX and LiteRT. Its LiteRT files only need
operations that LiteRT has; spikes are the same, filters compute in float32. Its ONNX files give the
same spikes, but layers without a seed draw the same voltages in every session, ``TimeDistributed``
may be converted wrongly, and operations that ONNX lacks go unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from keras.layers import TimeDistributed

from kspike_energy.checks import told_options
from kspike_tf import onnx_operations
from kspike_tf.layers.time_folded import folded, options_of, unfolded
from kspike_tf.tracing import plain_operations
from kspike_tf.types import Signature

if TYPE_CHECKING:
    import onnx

__all__ = ["to_onnx"]

OPSET = 18


@told_options
def to_onnx(
    model: keras.Model,
    path: str | Path | None = None,
    *,
    input_signature: Signature | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Convert a model to ONNX, for inference.

    The time loop of each layer becomes an ONNX ``Loop`` over float64 states, so the spikes equal
    those of Keras bit for bit wherever the inputs of the spiking layers do. Batch and time stay
    dynamic if their sizes are unknown in the model. A variable ``dt`` becomes a constant: its value
    at the time of the export. A spiking layer without a seed draws fresh initial voltages at each
    run of a session, from the runtime's own generator. ONNX Runtime seeds that generator once per
    process, so the first runs of two sessions draw the same voltages. If they should differ, call
    ``onnxruntime.set_seed`` with a number of your own before creating the second session.

    Parameters
    ----------
    model : keras.Model
        A built model: Sequential, Functional or subclassed.
    path : str or pathlib.Path, optional
        File to write.
    input_signature : tf.TensorSpec or structure of them, optional
        Shapes and types of the inputs, in the structure that the model takes; only needed for a
        subclassed model.
    opset : int, optional
        Version of the ONNX operator set.

    Returns
    -------
    onnx.ModelProto
        The converted model. Its inputs have the names of the model's inputs; its outputs those
        of the model's output layers, or the keys of a dictionary of outputs (``output_0``, … for
        a subclassed model).

    Raises
    ------
    ImportError
        If tf2onnx is not installed.
    TypeError
        If ``model`` is not a Keras model.
    ValueError
        If the model is not built, has a stateful layer, needs an ``input_signature``, or has an
        operation that ONNX lacks.

    Examples
    --------
    >>> import keras, kspike_tf
    >>> model = keras.Sequential(
    ...     [
    ...         keras.Input((None, 3), name="rates"),
    ...         kspike_tf.SpikingActivation("relu", seed=0),
    ...     ]
    ... )
    >>> proto = to_onnx(model)
    >>> [each.name for each in proto.graph.input]
    ['rates']
    """
    try:
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            "to_onnx needs tf2onnx. Install it by: pip install 'kspike-tf[onnx]'"
        ) from error

    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a keras.Model. Received: model={model!r}")
    _check_no_state(model)
    structure = _input_structure(model, input_signature)
    specs = [_spec(each, index) for index, each in enumerate(keras.tree.flatten(structure))]

    names: list[str] = []

    def infer(*inputs: Any) -> list[Any]:
        outputs = model(keras.tree.pack_sequence_as(structure, list(inputs)), training=False)
        flat = keras.tree.flatten(outputs)
        names[:] = _output_names(model, outputs, len(flat))
        return flat

    onnx_operations.register()
    with plain_operations(), _time_in_batch(model), _sound_optimizers():
        traced = tf.function(infer, input_signature=specs, autograph=False)
        proto, _ = tf2onnx.convert.from_function(traced, input_signature=specs, opset=opset)
    _check_operations(proto)
    onnx_operations.remove_seeds(proto)
    _name_outputs(proto, names)
    if path is not None:
        Path(path).write_bytes(proto.SerializeToString())
    return proto


def _check_no_state(model: keras.Model) -> None:
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) and not isinstance(layer, keras.Model):
            raise ValueError(
                "to_onnx cannot export a stateful layer: ONNX models keep no state between "
                f"calls. Received: {type(layer).__name__} {layer.name!r} with stateful=True"
            )


def _input_structure(model: keras.Model, input_signature: Any) -> Any:
    """Return the structure of the model's inputs, with shapes and types at its leaves."""
    if input_signature is not None:
        return input_signature
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(f"model must be built before its export. Received: {model.name!r}")
        return model.inputs[0]
    if not getattr(model, "inputs", None):
        raise ValueError(
            "input_signature must be given for a subclassed model. "
            f"Received: input_signature=None for {type(model).__name__} {model.name!r}"
        )
    return model.input


def _spec(tensor: Any, index: int) -> tf.TensorSpec:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return tf.TensorSpec(tuple(tensor.shape), dtype, name=tensor.name or f"input_{index}")


def _output_names(model: keras.Model, outputs: Any, count: int) -> list[str]:
    if isinstance(outputs, dict):
        names = sorted(outputs)  # the order in which Keras flattens
    elif isinstance(model, keras.Sequential):
        names = [model.layers[-1].name]
    else:
        names = getattr(model, "output_names", [])
    return list(names) if len(names) == count else [f"output_{n}" for n in range(count)]


@contextmanager
def _sound_optimizers() -> Iterator[None]:
    """Disable one of tf2onnx's optimizers.

    Together with another one, it turns an element-wise operation between two reshapes into one
    reshape to a wrong shape (tf2onnx 1.17). Either optimizer alone is right.
    """
    from tf2onnx import optimizer

    table = optimizer._get_optimizers()
    before = dict(table)
    table.pop("remove_back_to_back", None)
    try:
        yield
    finally:
        table.clear()
        table.update(before)


@contextmanager
def _time_in_batch(model: keras.Model) -> Iterator[None]:
    """Let `TimeDistributed` layers apply their layer once, to all steps as one batch.

    tf2onnx converts the graph of their own vectorized map wrongly, without an error.
    """
    layers = [each for each in model._flatten_layers() if isinstance(each, TimeDistributed)]
    try:
        for layer in layers:
            # Not through Keras, which would track it.
            object.__setattr__(layer, "call", _folded(layer.layer))
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _folded(layer: keras.layers.Layer) -> Callable[..., Any]:
    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        y = layer.call(folded(inputs), **options_of(layer, folded, training, mask))
        return unfolded(y, inputs)

    return call


def _check_operations(proto: onnx.ModelProto) -> None:
    """Raise if tf2onnx did not convert an operation, which it only logs."""
    from onnx import defs

    unknown = {
        node.op_type
        for node in onnx_operations.nodes(proto)
        if not defs.has(node.op_type, node.domain)
    }
    if unknown:
        raise ValueError(f"model has operations that ONNX lacks: {', '.join(sorted(unknown))}")


def _name_outputs(proto: onnx.ModelProto, names: list[str]) -> None:
    """Give the outputs meaningful names."""
    from onnx import helper

    taken = {name for node in proto.graph.node for name in node.output}
    taken |= {each.name for each in proto.graph.input}
    for output, name in zip(proto.graph.output, names, strict=True):
        if name in taken:
            name = f"{name}_output"
        proto.graph.node.append(helper.make_node("Identity", [output.name], [name]))
        output.name = name
        taken.add(name)
