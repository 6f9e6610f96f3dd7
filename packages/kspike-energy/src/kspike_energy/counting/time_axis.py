"""The tensors of a network whose axis 1 is time."""

from collections.abc import Iterator, Sequence

from kspike_energy.counting.nodes import Node, Shape
from kspike_energy.counting.rules.table import OVER_TIME, names

__all__ = ["timed_tensors"]

_TEMPORAL = names(
    """
    TimeDistributed RNN SimpleRNN LSTM GRU Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D
    kspike_tf>SpikingActivation kspike_tf>Lowpass kspike_tf>Alpha kspike_tf>TimeFolded
    """
)
# Layers that return every time step by default, unlike recurrent layers.
_SEQUENCES_BY_DEFAULT = frozenset(kind for kind in _TEMPORAL if ">" in kind)

# Layers that replace axis 1 with another axis.
_BREAKS_AXIS = names(
    """
    Flatten RepeatVector Dot GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    ops>Ravel ops>Transpose ops>Swapaxes ops>Moveaxis ops>Sum ops>Mean ops>Max ops>Min
    """
)
# Layers that slide along axis 1 and may change its length.
_KEEPS_AXIS = names(
    """
    Conv1D Conv2D Conv3D SeparableConv1D SeparableConv2D DepthwiseConv1D DepthwiseConv2D
    Conv1DTranspose Conv2DTranspose Conv3DTranspose AveragePooling1D AveragePooling2D
    AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D UpSampling3D
    """
)


def timed_tensors(nodes: Sequence[Node], time_axis: str | int | None) -> frozenset[int]:
    """Return the identities of the tensors whose axis 1 is time.

    Parameters
    ----------
    nodes : sequence of Node
        In order of execution.
    time_axis : {"auto", 1, None}
        ``"auto"``: axis 1 of a tensor is time if its length is unknown, if a temporal layer reads
        or writes the tensor, or if layers that keep the axis connect it to such a tensor. ``1``:
        axis 1 of the network's inputs is time. None: only temporal layers see time.
    """
    # A tensor that enters or leaves a model applied at every time step has time.
    inside, outside = (
        {t for node in nodes if node.inside_time is where for t, _ in _tensors(node)}
        for where in (True, False)
    )
    timed = inside & outside
    for node in nodes:
        if node.inside_time:
            continue
        timed.update(_timed_by_itself(node, unknown=time_axis is not None))
        if time_axis == 1 and node.spec.kind == "InputLayer":
            timed.update(t for t, s in _tensors(node) if len(s) > 1)
    if time_axis is None or not timed:
        return frozenset(timed)
    changed = True
    while changed:
        changed = False
        for node in nodes:
            for source, target in _joined(node, backwards=time_axis == "auto"):
                if source in timed and target not in timed:
                    timed.add(target)
                    changed = True
    return frozenset(timed)


def _tensors(node: Node) -> Iterator[tuple[int, Shape]]:
    yield from zip(node.input_ids, node.inputs, strict=True)
    yield from zip(node.output_ids, node.outputs, strict=True)


def _timed_by_itself(node: Node, *, unknown: bool) -> Iterator[int]:
    """Yield the tensors of a node that have time, whatever its neighbours are."""
    if unknown:
        yield from (t for t, shape in _tensors(node) if len(shape) > 1 and shape[1] is None)
    kind = node.spec.kind
    if kind not in _TEMPORAL or not node.input_ids:
        return
    yield node.input_ids[0]
    sequences = kind in OVER_TIME
    if not sequences:
        spec = node.spec.inner("layer") if kind == "Bidirectional" else node.spec
        sequences = bool(spec.config.get("return_sequences", kind in _SEQUENCES_BY_DEFAULT))
    if sequences:
        yield node.output_ids[0]


def _joined(node: Node, *, backwards: bool) -> Iterator[tuple[int, int]]:
    """Yield pairs of tensors; the second has time if the first has."""
    if node.inside_time:
        return
    if node.spec.kind in _TEMPORAL:  # a mask has one element per step
        for mask in node.mask_ids:
            yield node.input_ids[0], mask
            if backwards:
                yield mask, node.input_ids[0]
        return
    if node.spec.kind in _BREAKS_AXIS and not node.only_mask:
        return
    for input_id, input_shape in zip(node.input_ids, node.inputs, strict=True):
        for output_id, output_shape in zip(node.output_ids, node.outputs, strict=True):
            if _keeps_axis(node, input_shape, output_shape):
                yield input_id, output_id
                if backwards:
                    yield output_id, input_id


def _keeps_axis(node: Node, inputs: Shape, outputs: Shape) -> bool:
    """Return whether axis 1 means the same before and after a layer."""
    if len(inputs) < 2 or len(outputs) < 2:
        return False
    kind = node.spec.kind
    if kind in _KEEPS_AXIS or kind == "InputLayer":
        return True
    if inputs[1] != outputs[1]:
        return False
    if kind == "Embedding":
        return True
    if kind == "Permute":
        return list(node.spec.config["dims"])[:1] == [1]
    # The last axis holds units: a tensor of batch and units has no time, unless it is a mask.
    return node.only_mask or (len(inputs) > 2 and len(outputs) > 2)
