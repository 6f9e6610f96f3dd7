"""NeuroBench 2.3's metrics of a network on data."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kspike_energy.adapters import Adapter, find_adapter
from kspike_energy.build_network import time_steps
from kspike_energy.checks import check_count
from kspike_energy.counting.graph import complete_nodes
from kspike_energy.counting.nodes import Node, UndefinedShapeError
from kspike_energy.counting.rules import UnknownLayerError, count
from kspike_energy.counting.rules.table import FREE, is_linear, unwrapped
from kspike_energy.measuring.batches import batches, named, peek, shapes_of_data
from kspike_energy.measuring.effective import PRODUCTS, effective_operations
from kspike_energy.presentation.tables import html_table
from kspike_energy.settings import Examples

__all__ = ["Metrics", "metrics"]

_SPIKING = "kspike_tf>SpikingActivation"

# Other layers whose activation is applied to their output, as one of `PRODUCTS` is.
_ACTIVATED = frozenset(
    {"Activation", "EinsumDense", "SeparableConv1D", "SeparableConv2D"}
    | {f"Conv{rank}DTranspose" for rank in (1, 2, 3)}
)
# Layers that NeuroBench counts if a PyTorch program consists of equivalent cells or layers.
_COUNTED_BY_PARTS = frozenset(
    {"SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional"}
    | {"EinsumDense", "SeparableConv1D", "SeparableConv2D", "SpectralNormalization"}
)


@dataclass(frozen=True)
class Metrics:
    """Metrics of a network; operations and updates are means per example.

    Parameters
    ----------
    footprint : int
        Bytes of all weights and buffers.
    connection_sparsity : float
        Fraction of weights of dense and convolutional layers that are zero; biases do not count.
    activation_sparsity : float
        Fraction of outputs of spiking neurons, ReLU and sigmoid that are zero.
    effective_macs, effective_acs : float
        Operations with a nonzero weight and input: multiply-accumulates, and accumulates of layers
        that receive only spikes.
    dense : float
        Operations of the same layers, with zero weights and inputs included.
    membrane_updates : float
        Updates that change the voltage of a spiking neuron. All updates of the first step count.
    notes : tuple of str
        Layers that these metrics leave out, and their operations.

    References
    ----------
    Yik et al., "The NeuroBench framework for benchmarking neuromorphic computing algorithms and
    systems", Nature Communications 16, 1545, 2025.
    """

    footprint: int
    connection_sparsity: float
    activation_sparsity: float
    effective_macs: float
    effective_acs: float
    dense: float
    membrane_updates: float
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as plain data."""
        return asdict(self)

    def _rows(self) -> list[list[str]]:
        """Return name and value of every metric as text."""
        numbers = self.to_dict()
        del numbers["notes"]
        return [[name, _shown(name, value)] for name, value in numbers.items()]

    def __str__(self) -> str:
        lines = [f"{name}: {value}" for name, value in self._rows()]
        return "\n".join([*lines, *(f"* {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        return html_table(("Metric", "Value"), self._rows(), "NeuroBench metrics", self.notes)


def _shown(name: str, value: float) -> str:
    """Return a metric as text: bytes, a fraction, or a number per example."""
    if name == "footprint":
        return f"{value:,} bytes"
    if name.endswith("sparsity"):
        return f"{value:.3g}"
    return f"{value:,.6g}"


@dataclass
class _Sums:
    """Sums over all examples."""

    examples: int = 0
    dense: int = 0
    activations: int = 0
    silent: int = 0
    updates: int = 0
    effective: dict[int, int] = field(default_factory=dict)  # by index of the application
    graded: set[int] = field(default_factory=set)  # applications with inputs other than spikes

    def accumulates(self) -> int:
        """Return the effective operations of applications that received only spikes."""
        return sum(self.effective[index] for index in self.effective.keys() - self.graded)

    def multiply_accumulates(self) -> int:
        """Return the effective operations of all other applications."""
        return sum(self.effective[index] for index in self.effective.keys() & self.graded)


def metrics(model: object, x: Examples, *, batch_size: int = 32) -> Metrics:
    """Measure the metrics of a network that NeuroBench defines.

    Parameters
    ----------
    model : keras.Model, kspike_ref.Model, or a model whose registered adapter has ``signals``
        The network.
    x : array_like, or iterable of batches
        Data in any form that ``model.predict`` takes.
    batch_size : int, optional
        Number of examples per batch.

    Returns
    -------
    Metrics
        The metrics, which print as a list.

    Raises
    ------
    TypeError
        If no adapter reads the model.
    ValueError
        If the data is empty or does not fit the model, or a layer's input is not finite.

    Notes
    -----
    A value of ``±1 / dt`` is a spike, where dt is the time step of the layer that emits it.
    NeuroBench does not count pooling, normalisation, transposed convolutions, attention, or
    activations other than ReLU and sigmoid. It counts cells of recurrent networks and fails on
    recurrent layers; here both are left out, as are separable convolutions and ``EinsumDense``.
    ``notes`` names such layers with their operations per time step, and says which they are.

    NeuroBench decides for every call of a layer whether its inputs are spikes; here a layer's
    operations are accumulates if its inputs are single spikes in all of ``x``.
    """
    adapter = find_adapter(model)
    check_count("batch_size", batch_size)
    with _calling_data_x():
        return _measure(adapter, model, x, batch_size)


@contextmanager
def _calling_data_x() -> Iterator[None]:
    """Call the data "x" in errors, as the argument of `metrics` is."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        if "example_data" not in text:
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(text.replace("example_data", "x")) from error


def _measure(adapter: Adapter, model: Any, x: Any, batch_size: int) -> Metrics:
    """Return the metrics of a network on data."""
    first, x = peek(x)
    shapes = adapter.input_shapes(model)
    nodes = complete_nodes(list(adapter.applications(model, shapes_of_data(first, shapes))))
    steps = time_steps(adapter, nodes)
    kernels = [_kernel(adapter, node) for node in nodes]
    sums = _Sums()
    for batch in batches(x, shapes, batch_size):
        sums.examples += len(named(batch)[0][1])
        for index, (inputs, outputs) in enumerate(adapter.signals(model, batch)):
            _add_outputs(sums, nodes[index], inputs, outputs)
            kernel = kernels[index]
            if kernel is not None:
                _add_operations(sums, index, nodes[index], inputs[0], kernel, steps[index])
    if not sums.examples:
        raise ValueError("x is empty: metrics need at least one example")
    known = {id(node.spec.layer): kernel for node, kernel in zip(nodes, kernels, strict=True)}
    weights = [kernel for kernel in known.values() if kernel is not None]
    size = sum(kernel.size for kernel in weights)
    return Metrics(
        adapter.footprint(model),
        sum(int(np.count_nonzero(kernel == 0)) for kernel in weights) / max(size, 1),
        sums.silent / max(sums.activations, 1),
        sums.multiply_accumulates() / sums.examples,
        sums.accumulates() / sums.examples,
        sums.dense / sums.examples,
        sums.updates / sums.examples,
        tuple(_notes(nodes)),
    )


def _kernel(adapter: Adapter, node: Node) -> NDArray[Any] | None:
    """Return the kernel of a layer in `PRODUCTS`; None for any other."""
    if unwrapped(node).spec.kind not in PRODUCTS:
        return None
    weights = adapter.weights(node.spec.layer)
    return next(np.asarray(w) for name, w in weights.items() if name.split("/")[-1] == "kernel")


def _add_operations(
    sums: _Sums,
    index: int,
    node: Node,
    signal: Any,
    kernel: NDArray[Any],
    time_steps: Sequence[float | None],
) -> None:
    """Add the operations of one batch of one application."""
    values = np.asarray(signal)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"the input of layer {node.spec.name!r} must be finite, but is not for x")
    inner = unwrapped(node)
    # A convolution along time treats the time axis like any other axis of its input.
    steps = node.timed_inputs[0] and (inner is not node or inner.spec.kind == "Dense")
    axes = (0, 1) if steps else (0,)
    active = np.asarray(np.count_nonzero(values, axis=axes))
    operations = effective_operations(inner, active, kernel)
    sums.effective[index] = sums.effective.get(index, 0) + operations
    if not _are_spikes(values, time_steps[0] or 1.0):
        sums.graded.add(index)
    samples = int(np.prod([values.shape[axis] for axis in axes]))
    everything = np.full(active.shape, samples, dtype=np.int64)
    sums.dense += effective_operations(inner, everything, np.ones_like(kernel))


def _add_outputs(sums: _Sums, node: Node, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
    """Add the activations and updates of one batch of one application."""
    if _is_activation(node):
        for values in outputs:
            sums.activations += values.size
            sums.silent += values.size - int(np.count_nonzero(values))
    if node.spec.kind == _SPIKING:
        sums.updates += _updates(node, np.asarray(inputs[0]), np.asarray(outputs[0]))


def _are_spikes(values: NDArray[Any], dt: float) -> bool:
    """Return whether all nonzero values are single spikes."""
    heights = np.abs(values[values != 0]) * dt
    return bool(np.all(np.abs(heights - 1) < 1e-5))


def _is_activation(node: Node) -> bool:
    """Return whether NeuroBench counts a layer's outputs as activations."""
    inner = unwrapped(node)
    kind = inner.spec.kind
    if kind == _SPIKING or kind in ("ReLU", "ops>Relu", "ops>Sigmoid"):
        return True
    function = inner.config.get("activation")
    return kind in _ACTIVATED | PRODUCTS and function in ("relu", "sigmoid")


def _updates(node: Node, x: NDArray[Any], y: NDArray[Any]) -> int:
    """Return how often a voltage changes: v + rate · dt - spikes differs from v."""
    rates = np.maximum(x, 0) if node.config.get("activation") == "relu" else x
    axis = 0 if node.config.get("time_major") else 1
    if y.shape != x.shape:  # only the last output is known, so every step counts
        return int(x.size)
    changed = np.moveaxis(~np.isclose(rates, y, rtol=1e-6, atol=0), axis, 0)
    return int(changed[0].size + np.count_nonzero(changed[1:]))


def _notes(nodes: Sequence[Node]) -> Iterator[str]:
    """Yield notes on the layers that the metrics leave out."""
    for node in nodes:
        inner = unwrapped(node)
        kind = inner.spec.kind
        alone = kind in ("Activation", "ReLU", _SPIKING) or (kind or "").startswith("ops>")
        if kind in PRODUCTS or kind in FREE or node.only_mask or (alone and _is_activation(node)):
            continue
        if kind == "Activation" and is_linear(inner.config.get("activation")):
            continue
        name = f"{node.spec.name} ({node.spec.type_name})"
        try:
            counts = count(node)
        except UnknownLayerError:
            yield f"{name} is not counted: it has no counting rule"
            continue
        except UndefinedShapeError as error:
            yield f"{name} is not counted: {error}"
            continue
        if counts.connections or counts.neurons:
            parts = kind in _COUNTED_BY_PARTS
            why = "although NeuroBench counts equivalent cells or layers"
            yield (
                f"{name} is not counted, {why if parts else 'as in NeuroBench'}: "
                f"{counts.connections} connections and {counts.neurons} updates per time step"
            )
        elif kind == "BatchNormalization":
            yield f"{name} is not counted, as in NeuroBench: it is folded into the preceding layer"
