"""Comparison of every application of a layer with Keras, on the inputs it had in Keras."""

from functools import partial

import keras
import numpy as np
import tensorflow as tf
from shape_inference import check_layers_stay

import kspike_ref
import kspike_tf
from kspike_ref.running.counts import Tally
from kspike_ref.running.graph import substitute

# Float32 products of a few hundred terms, added in another order, differ by about 1e-6 of the
# largest output. The packages promise ten times that for every layer.
TOLERANCE = 1e-5


def answers(model, x):
    """Return the outputs of a model in Keras.

    On some processors, only XLA's convolutions take channels first. XLA has no lookup tables and no
    bicubic interpolation, so each output is computed by whichever supports it.
    """
    try:
        return model(x, training=False)
    except tf.errors.UnimplementedError:
        if len(model.outputs) == 1:
            return tf.function(partial(model, training=False), jit_compile=True)(x)
    return [_answer(keras.Model(model.inputs, output), x) for output in model.outputs]


def _answer(model, x):
    try:
        return model(x, training=False)
    except (tf.errors.UnimplementedError, tf.errors.InvalidArgumentError):
        return tf.function(partial(model, training=False), jit_compile=True)(x)


def in_keras(model, x):
    """Return the value of every tensor of a Functional model, by layer, application and output."""
    own = {node for nodes in model._nodes_by_depth.values() for node in nodes}
    tensors = {}
    for operation in model.operations:
        applications = [node for node in operation._inbound_nodes if node in own]
        for number, node in enumerate(applications):
            for output, tensor in enumerate(node.outputs):
                tensors[operation.name, number, output] = tensor
    inputs = model.inputs if isinstance(x, list) else model.inputs[0]
    made = answers(keras.Model(inputs, list(tensors.values())), x)
    values = dict(zip(tensors, [np.asarray(value) for value in made], strict=True))
    for operation in model.operations:
        if isinstance(operation, keras.Model):  # nested models are flattened in kspike_ref
            values |= _within(operation, own, values)
    return values


def _within(model, own, values):
    """Return the values of the tensors in a nested model that has one input and is applied once."""
    (node,) = [node for node in model._inbound_nodes if node in own]
    (tensor,) = node.input_tensors
    source, number, output = tensor._keras_history
    assert number == 0
    functional = getattr(model, "_functional", None) or model
    inner = in_keras(functional, values[source.name, 0, output])
    inner = {(f"{model.name}/{name}", *at): value for (name, *at), value in inner.items()}
    inputs = {f"{model.name}/{tensor._keras_history.operation.name}" for tensor in model.inputs}
    return {key: value for key, value in inner.items() if key[0] not in inputs}


def error(ours, theirs):
    """Return the largest difference relative to the largest value; fail on a NaN in only one."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    if theirs.dtype.kind == "b":
        return float((ours != theirs).any())
    differs = np.abs(np.where(np.isnan(ours) & np.isnan(theirs), 0, ours - theirs))
    assert not np.isnan(differs).any()
    return float(differs.max(initial=0) / max(1e-30, np.abs(np.nan_to_num(theirs)).max(initial=0)))


def compare(model, path, x, tolerance=TOLERANCE):
    """Save a model, load it, and compare every layer on Keras' own inputs; return the loaded model.

    Spikes must be the same bit for bit. Shape inference must not change a layer.
    """
    model.save(path)
    loaded = kspike_ref.load_model(path)
    check_layers_stay(loaded)
    values = in_keras(model, x)
    spiking = {layer.name for layer in model.layers if _fires(layer)}
    seen = set()
    for node in loaded.nodes:
        seen |= {(node.name, node.node_index, i) for i in range(len(node.output_shapes))}
        if not node.inputs or _takes_what_inputs_carry(loaded, node):
            continue

        def given(ref):
            source = loaded.nodes[ref.node]
            return values[source.name, source.node_index, ref.output]

        options = {"tally": Tally()} if node.layer.takes_tally else {}
        made = node.layer.call(
            *substitute(node.arguments, given), **substitute(node.keywords, given), **options
        )
        for i, y in enumerate(made if isinstance(made, list | tuple) else [made]):
            expected = values[node.name, node.node_index, i]
            limit = 0 if node.name in spiking else tolerance
            assert error(y, expected) <= limit, (node.name, error(y, expected))
            shape = node.output_shapes[i]
            assert all(n in (None, m) for n, m in zip(shape, y.shape, strict=True)), node.name
    nested = {layer.name for layer in model.layers if isinstance(layer, keras.Model)}
    assert seen == {key for key in values if key[0] not in nested}
    return loaded


def _takes_what_inputs_carry(loaded, node):
    """Return whether a node reads masks from its inputs; only end-to-end tests compare these."""
    carried = any(ref in loaded._graph.masks for ref in node.inputs)
    return carried and node.layer.uses_mask and "mask" not in node.keywords


def _fires(layer):
    cell = getattr(layer, "cell", None)
    return isinstance(layer, kspike_tf.SpikingActivation) or isinstance(
        cell, kspike_tf.SpikingActivationCell
    )
