"""From what an adapter sees to nodes: which axis is time, and where the network's input goes.

An adapter lists applications of layers with the identities of the tensors between them. What
follows from their connections, for every framework alike, is worked out here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kspike_energy.counting.nodes import LayerSpec, Node, Options, Shape
from kspike_energy.counting.rules.table import FREE, OVER_TIME, names
from kspike_energy.counting.rules.units import is_plain_linear

__all__ = ["Application", "build_nodes", "check_time_axis"]

_TEMPORAL = names(
    """
    TimeDistributed RNN SimpleRNN LSTM GRU Bidirectional ConvLSTM1D ConvLSTM2D ConvLSTM3D
    kspike_tf>SpikingActivation kspike_tf>Lowpass kspike_tf>Alpha kspike_tf>TimeFolded
    """
)
# Layers that put out every time step unless told otherwise; recurrent ones do not.
_SEQUENCES_BY_DEFAULT = frozenset(kind for kind in _TEMPORAL if ">" in kind)

# Layers behind which axis 1 is another one than before.
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


@dataclass(frozen=True, eq=False)
class Application:
    """One application of a layer, as an adapter sees it.

    Parameters
    ----------
    spec : LayerSpec
        The layer.
    inputs, outputs : tuple of tuple
        Shapes with batch.
    input_ids, output_ids : tuple of int
        Identities of the tensors; a tensor that goes from one layer to the next has one identity,
        and so has one that goes into a model at each time step or comes out of it.
    input_tensors, output_tensors : tuple, optional
        The framework's symbolic tensors.
    operands : tuple of tuple, optional
        Shapes of every tensor argument, constants included.
    inside_time : bool, optional
        Whether a surrounding layer applies this one at each time step.
    origin : object, optional
        The framework's own node, where it has such and it can be a key.
    """

    spec: LayerSpec
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    input_ids: tuple[int, ...]
    output_ids: tuple[int, ...]
    input_tensors: tuple[Any, ...] = field(default=(), repr=False)
    output_tensors: tuple[Any, ...] = field(default=(), repr=False)
    operands: tuple[Shape, ...] = ()
    inside_time: bool = False
    origin: Any = field(default=None, repr=False)


def check_time_axis(time_axis: object) -> str | int | None:
    """Return ``time_axis`` after checking it.

    Raises
    ------
    ValueError
        If it is not "auto", 1 or None.
    """
    if time_axis is None or time_axis == "auto" or (time_axis == 1 and time_axis is not True):
        return time_axis  # type: ignore[return-value]
    raise ValueError(f"time_axis must be 'auto', 1 or None. Received: time_axis={time_axis!r}")


def build_nodes(
    applications: Sequence[Application],
    options: Options | None = None,
    time_axis: str | int | None = "auto",
) -> list[Node]:
    """Return the nodes that the counting rules take.

    Parameters
    ----------
    applications : sequence of Application
        In order of execution.
    options : Options, optional
        How to count.
    time_axis : {"auto", 1, None}, optional
        ``"auto"``: time is axis 1 where its length is unknown, or where a temporal layer reads
        or writes it, or a tensor connected to that one by layers that keep the axis. ``1``: axis 1
        of the network's inputs is time. None: no layer but a temporal one sees time.

    Returns
    -------
    list of Node
        One for each application.
    """
    timed = _timed_tensors(applications, check_time_axis(time_axis))
    own_input = _input_tensors(applications)
    producers = {
        tensor: index for index, app in enumerate(applications) for tensor in app.output_ids
    }
    nodes: list[Node] = []
    for app in applications:
        sources = tuple(producers.get(tensor, -1) for tensor in app.input_ids)
        behind = bool(sources) and 0 <= sources[0] < len(nodes) and _linear(nodes, sources[0])
        nodes.append(
            Node(
                spec=app.spec,
                full_inputs=app.inputs,
                full_outputs=app.outputs,
                timed_inputs=tuple(not app.inside_time and t in timed for t in app.input_ids),
                timed_outputs=tuple(not app.inside_time and t in timed for t in app.output_ids),
                sources=sources,
                input_tensors=app.input_tensors,
                output_tensors=app.output_tensors,
                operands=app.operands,
                from_input=tuple(tensor in own_input for tensor in app.input_ids),
                behind_linear=behind,
                inside_time=app.inside_time,
                options=options or Options(),
                origin=app.origin,
            )
        )
    return nodes


def _linear(nodes: Sequence[Node], index: int) -> bool:
    """Return whether a node's output comes straight from a linear layer with weights."""
    node = nodes[index]
    kind = node.spec.kind
    if kind in OVER_TIME:
        return is_plain_linear(node.inner("layer", drop_time=True))
    if kind in ("BatchNormalization", "Dropout", "Identity") and node.behind_linear:
        return True
    return is_plain_linear(node)


def _input_tensors(applications: Sequence[Application]) -> set[int]:
    """Return the tensors that hold the network's own input, at most rearranged."""
    produced = {tensor for app in applications for tensor in app.output_ids}
    found: set[int] = set()
    for app in applications:
        outside = set(app.input_ids) - produced
        found |= outside
        if app.spec.kind == "InputLayer":
            found |= set(app.input_ids) | set(app.output_ids)
        elif app.input_ids and set(app.input_ids) <= found:
            timed = app.spec.kind in OVER_TIME
            kind = app.spec.inner("layer").kind if timed else app.spec.kind
            if kind in FREE:
                found |= set(app.output_ids)
    return found


def _timed_tensors(
    applications: Sequence[Application], time_axis: str | int | None
) -> frozenset[int]:
    """Return the identities of the tensors whose axis 1 is time."""
    # What goes into a model at each time step, or comes out of it, has time.
    inside, outside = (
        {t for app in applications if app.inside_time is where for t, _ in _tensors(app)}
        for where in (True, False)
    )
    timed = inside & outside
    for app in applications:
        if app.inside_time:
            continue
        timed.update(_timed_by_itself(app, unknown=time_axis is not None))
        if time_axis == 1 and app.spec.kind == "InputLayer":
            timed.update(t for t, s in _tensors(app) if len(s) > 1)
    if time_axis is None or not timed:
        return frozenset(timed)
    changed = True
    while changed:
        changed = False
        for app in applications:
            for source, target in _joined(app, backwards=time_axis == "auto"):
                if source in timed and target not in timed:
                    timed.add(target)
                    changed = True
    return frozenset(timed)


def _tensors(app: Application) -> Iterator[tuple[int, Shape]]:
    yield from zip(app.input_ids, app.inputs, strict=True)
    yield from zip(app.output_ids, app.outputs, strict=True)


def _timed_by_itself(app: Application, *, unknown: bool) -> Iterator[int]:
    """Yield the tensors of one application that have time whatever is around them."""
    if unknown:
        yield from (t for t, shape in _tensors(app) if len(shape) > 1 and shape[1] is None)
    kind = app.spec.kind
    if kind not in _TEMPORAL or not app.input_ids:
        return
    yield app.input_ids[0]
    sequences = kind in OVER_TIME
    if not sequences:
        spec = app.spec.inner("layer") if kind == "Bidirectional" else app.spec
        sequences = bool(spec.config.get("return_sequences", kind in _SEQUENCES_BY_DEFAULT))
    if sequences:
        yield app.output_ids[0]


def _joined(app: Application, *, backwards: bool) -> Iterator[tuple[int, int]]:
    """Yield pairs of tensors of which the second has time if the first has."""
    if app.inside_time or app.spec.kind in _TEMPORAL or app.spec.kind in _BREAKS_AXIS:
        return
    for input_id, input_shape in zip(app.input_ids, app.inputs, strict=True):
        for output_id, output_shape in zip(app.output_ids, app.outputs, strict=True):
            if _keeps_axis(app, input_shape, output_shape):
                yield input_id, output_id
                if backwards:
                    yield output_id, input_id


def _keeps_axis(app: Application, inputs: Shape, outputs: Shape) -> bool:
    """Return whether axis 1 means the same before and after a layer."""
    if len(inputs) < 2 or len(outputs) < 2:
        return False
    kind = app.spec.kind
    if kind in _KEEPS_AXIS or kind == "InputLayer":
        return True
    if inputs[1] != outputs[1]:
        return False
    if kind == "Embedding":
        return True
    if kind == "Permute":
        return list(app.spec.config["dims"])[:1] == [1]
    # The last axis holds units: a tensor of batch and units has no time.
    return len(inputs) > 2 and len(outputs) > 2
