"""Construction of the spiking network: layers over time, neurons and synapses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from kspike_tf.conversion import activations
from kspike_tf.conversion.copies import copy_layer
from kspike_tf.conversion.families import MERGES, ON_LAST_AXIS, in_dimensions
from kspike_tf.conversion.graph import Graph, Node
from kspike_tf.conversion.options import Options
from kspike_tf.conversion.scale import Site
from kspike_tf.layers import Lowpass, SpikingActivation, TimeFolded

_SPATIAL = in_dimensions("SpatialDropout{}D")


class SpikingNetwork(NamedTuple):
    """A spiking model, its spiking layers in the order of their sites, and what runs over time."""

    model: keras.Model
    layers: list[SpikingActivation]
    over_time: set[Node]


class _Names:
    """Names of the layers of a model, each used once.

    Parameters
    ----------
    graph : Graph
        Its names are kept for its own layers.
    """

    def __init__(self, graph: Graph) -> None:
        self._kept = {node.name for node in graph.nodes}
        self._used = {str(graph.specs[number].name) for number in graph.inputs}

    def new(self, wanted: str, own: str = "") -> str:
        """Return a name, numbered unless it is free or ``own``, the layer's name in the graph."""
        name, count = wanted, 0
        while name in self._used or (name in self._kept and name != own):
            count += 1
            name = f"{wanted}_{count}"
        self._used.add(name)
        return name

    def rename(self, tensor: Any) -> Any:
        """Give the operation behind a symbolic tensor a new name; return the tensor.

        Keras 3.8 to 3.15 keep the operation in ``_keras_history``. Without it, the name stays.
        """
        operation = getattr(getattr(tensor, "_keras_history", None), "operation", None)
        if operation is not None:
            operation.name = self.new(operation.name)
        return tensor


class _Builder:
    """Applies the layers of a graph to tensors with a time axis."""

    def __init__(self, graph: Graph, sites: list[Site], options: Options) -> None:
        self.graph, self.options = graph, options
        self.sites = {site.node: site for site in sites}
        self.timed: dict[int, Any] = {}
        self.still: dict[int, Any] = {}
        self.spiking: list[SpikingActivation] = []
        self._layers: dict[tuple[Any, Any], Any] = {}
        sequence = options.reading == "sequence"
        self.over_time = set(graph.nodes) if sequence else graph.upstream(self.sites)
        self.names = _Names(graph)

    def build(self) -> keras.Model:
        """Return the spiking model."""
        for number in self.graph.inputs:
            spec = self.graph.specs[number]
            shape = (None, *self.graph.shape(number)[1:])
            self.timed[number] = keras.Input(shape, dtype=spec.dtype, name=spec.name)
        inputs = keras.tree.map_structure(
            lambda ref: self.timed[ref.number], self.graph.input_structure
        )
        for node in self.graph.nodes:
            if node in self.over_time:
                self._apply_over_time(node)
            else:
                self._apply_once(node)
        outputs = keras.tree.map_structure(
            lambda ref: self._read_out(ref.number), self.graph.outputs
        )
        return keras.Model(inputs, outputs, name=f"spiking_{self.graph.name}")

    def _apply_over_time(self, node: Node) -> None:
        if node in self.sites:
            self._spike(node)
        else:
            outputs = node.call(self._over_time(node), self.timed)
            self.timed.update(zip(node.outputs, keras.tree.flatten(outputs), strict=True))

    def _apply_once(self, node: Node) -> None:
        """Apply a layer after the last spiking one, to its readout."""
        read = {number: self._read_out(number) for number in node.inputs}
        outputs = node.call(self._layer(node, folded=False), read)
        self.still.update(zip(node.outputs, keras.tree.flatten(outputs), strict=True))

    def _layer(self, node: Node, folded: bool) -> Any:
        """Return a copy of a node's layer, shared by all applications of the layer."""
        if not isinstance(node.layer, keras.layers.Layer):
            return node.layer

        def copied(name: str) -> Any:
            copy = copy_layer(node.layer, name=name)
            return TimeFolded(copy, name=name) if folded else copy

        return self._once(node, folded, copied)

    def _once(self, node: Node, form: Any, make: Callable[[str], Any]) -> Any:
        """Return the form of a node's layer that ``make`` creates from a name, at its first use."""
        key = node.layer, form
        if key not in self._layers:
            others = sum(layer is node.layer for layer, _ in self._layers)
            wanted = node.name + "_end" * others
            # Layers inside a model of their own have other names beside them.
            is_inside = form == "inside"
            self._layers[key] = make(wanted if is_inside else self.names.new(wanted, node.name))
        return self._layers[key]

    def _over_time(self, node: Node) -> Any:
        """Return a callable that applies a node's layer to all time steps."""
        layer, shapes = node.layer, {len(self.graph.shape(number)) for number in node.inputs}
        if type(layer) in (keras.layers.Dropout, keras.layers.AlphaDropout, *_SPATIAL):
            noise = self._same_at_all_steps(node)
            kind = keras.layers.Dropout if type(layer) in _SPATIAL else type(layer)
            return self._once(
                node, noise, lambda name: kind(layer.rate, noise_shape=noise, name=name)
            )
        merges = type(layer) in MERGES and len(shapes) == 1
        if merges or _acts_on_values(layer):
            return self._layer(node, folded=False)
        is_operation = not isinstance(layer, keras.layers.Layer)
        if is_operation or len(node.inputs) > 1 or min(shapes) < 2:
            return self._over_steps(node)
        return self._layer(node, folded=True)

    def _over_steps(self, node: Node) -> Any:
        """Return a callable that applies an operation or a layer to every time step."""
        graph, layer, numbers = self.graph, node.layer, list(dict.fromkeys(node.inputs))
        if isinstance(layer, keras.layers.Layer):
            layer = self._once(node, "inside", lambda name: copy_layer(node.layer, name=name))
        tensors, inputs = {}, []
        for number in numbers:  # TimeFolded needs an axis besides time: scalars get one
            shape, dtype = graph.shape(number)[1:], graph.specs[number].dtype
            inputs.append(keras.Input(shape or (1,), dtype=dtype))
            tensors[number] = inputs[-1] if shape else keras.ops.squeeze(inputs[-1], axis=-1)
        name = self.names.new(node.label, own=node.name)
        folded = TimeFolded(keras.Model(inputs, node.call(layer, tensors), name=name), name=name)

        def apply(*args: Any, **kwargs: Any) -> Any:
            given = [self.timed[n] for n in numbers]
            return folded([t if len(t.shape) > 2 else self._with_axis(t) for t in given])

        return apply

    def _with_axis(self, tensor: Any) -> Any:
        return self.names.rename(keras.ops.expand_dims(tensor, -1))

    def _same_at_all_steps(self, node: Node) -> tuple[int | None, ...]:
        """Return the shape of the dropout mask, which all steps of an example share."""
        layer, shape = node.layer, self.graph.shape(node.inputs[0])
        if type(layer) in _SPATIAL:
            first = getattr(layer, "data_format", None) == "channels_first"
            channels = 1 if first else len(shape) - 1
            shape = tuple(n if axis == channels else 1 for axis, n in enumerate(shape))
        elif layer.noise_shape:
            shape = layer.noise_shape
        return None, 1, *shape[1:]

    def _spike(self, node: Node) -> None:
        """Replace an activation by filtered spikes."""
        site, options, x = self.sites[node], self.options, self.timed[node.inputs[0]]
        if not site.rectifies:
            x = node.call(self._over_time(node), self.timed)
        if not (site.rectifies and site.folded):
            x = self._multiplied(x, site.scale, self.names.new(f"{node.label}_to_rates"))
        spiking = SpikingActivation(
            activations.spiking_form(node.layer, site.scale) if site.rectifies else "linear",
            dt=options.dt,
            seed=None if options.seed is None else options.seed + len(self.spiking),
            spiking_aware_training=options.spiking_aware_training,
            name=self.names.new(f"{node.label}_spikes"),
        )
        self.spiking.append(spiking)
        x = spiking(x)
        ends = options.synapse is not None and self._is_read_at_the_end(node)
        if options.synapse is not None:
            synapse = Lowpass(
                options.synapse,
                dt=options.dt,
                return_sequences=not ends,
                name=self.names.new(f"{node.label}_synapse"),
            )
            synapse.trainable = False
            x = synapse(x)
        if not site.folded:
            x = self._multiplied(x, 1 / site.scale, self.names.new(f"{node.label}_from_rates"))
        (self.still if ends else self.timed)[node.outputs[0]] = x

    def _is_read_at_the_end(self, node: Node) -> bool:
        """Return whether only the last value of a layer's filtered spikes is needed."""
        readers = self.graph.consumers()[node.outputs[0]]
        return self.options.reading == "last" and self.over_time.isdisjoint(readers)

    def _multiplied(self, x: Any, factor: float, name: str) -> Any:
        if not self.options.trainable_rates:
            return keras.layers.Rescaling(factor, name=name)(x)
        axes = "bcdefgh"[: len(x.shape)]
        return keras.layers.EinsumDense(
            f"{axes},{axes[-1]}->{axes}",
            x.shape[1:],
            kernel_initializer=keras.initializers.Constant(factor),
            name=name,
        )(x)

    def _read_out(self, number: int) -> Any:
        """Return the last step of a tensor, its mean over time, or all its steps."""
        reading = self.options.reading
        if reading == "sequence":
            return self.timed[number]
        if number not in self.still:
            x = self.timed[number]
            read = x[:, -1] if reading == "last" else keras.ops.mean(x, axis=1)
            self.still[number] = self.names.rename(read)
        return self.still[number]


def _acts_on_values(layer: Any) -> bool:
    """Return whether a layer computes the same with a time axis as without."""
    if type(layer) is keras.layers.Activation:
        return activations.function_name(layer) not in ("", "softmax")  # user-defined: any axes
    return type(layer) in ON_LAST_AXIS


def spiking_model(graph: Graph, sites: list[Site], options: Options) -> SpikingNetwork:
    """Return a Keras model with a time axis, in which the sites of a graph spike.

    It takes ``(batch, time, ...)``. Layers up to the last spiking ones run at every time step, the
    rest on their readout; with the readout "sequence", all layers run at every step. The scales of
    the sites are in the graph's weights already.
    """
    builder = _Builder(graph, sites, options)
    return SpikingNetwork(builder.build(), builder.spiking, builder.over_time)
