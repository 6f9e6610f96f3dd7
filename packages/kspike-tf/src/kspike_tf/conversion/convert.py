"""Conversion of a trained Keras model into a spiking one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kspike_energy.checks import told_options
from kspike_tf.conversion import activations
from kspike_tf.conversion.calibrate import (
    checked_data,
    high_activations,
    ordinary_model,
    outputs_of,
)
from kspike_tf.conversion.checks import check_convertible
from kspike_tf.conversion.compare import (
    agreement,
    compare_layers,
    relative_error,
    repeated,
)
from kspike_tf.conversion.copies import model_with_new_weights
from kspike_tf.conversion.fold import fold_normalisation
from kspike_tf.conversion.graph import Graph, Node, read_graph
from kspike_tf.conversion.inputs import arrays
from kspike_tf.conversion.nonlinear import is_nonlinear, unaveraged
from kspike_tf.conversion.options import Options
from kspike_tf.conversion.pool import average_pooling, is_max_pooling, kept_pooling
from kspike_tf.conversion.replace import SpikingNetwork, spiking_model
from kspike_tf.conversion.report import ConversionReport, FewSpikesCheck
from kspike_tf.conversion.scale import Site, apply_scales, choose_scales
from kspike_tf.types import Arrays

_COMPARED = 64  # calibration examples for the report


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A spiking model, and a report of its conversion.

    Attributes
    ----------
    model : keras.Model
        Spiking model; inputs are ``(batch, time, ...)``.
    report : ConversionReport
        Layers that were folded, kept and scaled, and a comparison layer by layer.
    check_steps : FewSpikesCheck
        Warns once about too few spikes, in `predict` here and in the model's own.
    """

    model: keras.Model
    report: ConversionReport
    check_steps: FewSpikesCheck = dataclasses.field(repr=False, compare=False)

    def predict(self, x: Arrays, timesteps: int, **options: Any) -> Any:
        """Show inputs without a time axis for a number of steps; return the outputs.

        Parameters
        ----------
        x : structure of (batch, ...) array
            Inputs, as for the ordinary model.
        timesteps : int
            Number of steps.
        **options
            For ``keras.Model.predict``, such as ``batch_size``.

        Warns
        -----
        FewSpikesWarning
            Once, if neurons that were active on calibration data have less than one expected spike.
        """
        if isinstance(timesteps, bool) or not isinstance(timesteps, int) or timesteps < 1:
            raise ValueError(
                f"timesteps must be a positive integer. Received: timesteps={timesteps!r}"
            )
        self.check_steps(timesteps)
        shown = repeated(arrays(x, self.model), timesteps)
        return self.model.predict(shown, **options)

    def __str__(self) -> str:
        return str(self.report)

    def __repr__(self) -> str:
        return f"<Conversion model={self.model.name!r}, report={self.report!r}>"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


@told_options
def convert(
    model: keras.Model,
    *,
    calibration_data: Arrays,
    dt: float = 0.001,
    max_rate: float = 250.0,
    percentile: float = 99.5,
    synapse: float | None = 0.01,
    trainable_rates: bool = False,
    copy_weights: bool = True,
    scale: float | Mapping[str, float] | None = None,
    max_pooling: str = "keep",
    other_activations: str = "spike",
    readout: str | None = None,
    timesteps: int | None = None,
    spiking_aware_training: bool = True,
    seed: int | None = 0,
) -> Conversion:
    """Convert an ordinary Keras model into a spiking one that computes the same function.

    Every ReLU becomes a layer of spiking neurons, followed by a low-pass filter. Activations are
    scaled so that the busiest neurons fire at ``max_rate``: the weights before a layer are
    multiplied by a factor and those after it divided by it, so that the function stays the same.

    Parameters
    ----------
    model : keras.Model
        Trained Sequential or Functional model for inputs without a time axis. It is not changed.
    calibration_data : (examples, ...) array or structure of them
        Typical inputs, a hundred or more, as for ``model.predict``.
    dt : float, optional
        Length of a time step in seconds.
    max_rate : float, optional
        Firing rate in Hz of the activations at ``percentile``.
    percentile : float, optional
        Percentile of a layer's nonzero activations, from 0 to 100.
    synapse : float or None, optional
        Time constant in seconds of the filter after every spiking layer. None omits filters.
    trainable_rates : bool, optional
        Whether firing rates are trainable: as weights, with a factor per channel before the neurons
        and its inverse after them. Otherwise, scales are folded into the existing weights.
    copy_weights : bool, optional
        Whether to keep the weights. Otherwise, the spiking model gets new ones, to be trained.
    scale : float or mapping of str to float, optional
        Firing rate in Hz for an activation of 1, for all layers or by the name of the layer, in
        place of those from calibration.
    max_pooling : {"keep", "average", "refuse"}, optional
        Whether max pooling stays (it acts on filtered spikes), becomes average pooling, or is an
        error. The report shows the cost of averages.
    other_activations : {"spike", "keep", "refuse"}, optional
        Treatment of activations that are not rectifiers, such as tanh: pass their values on as
        positive and negative spikes, pass them on without spikes, or raise an error. Softmax and
        activations at the output never spike.
    readout : {"last", "mean", "sequence"}, optional
        Input of the layers after the last neurons: the last filtered value (the default), the mean
        over time (the default without a synapse), or every time step.
    timesteps : int, optional
        Number of steps for the comparison in the report; 60 ms by default.
    spiking_aware_training : bool, optional
        Whether training spikes too; see `SpikingActivation`.
    seed : int or None, optional
        Seed of the initial voltages of the first layer; every further layer adds 1. With None,
        every call draws new voltages.

    Returns
    -------
    Conversion
        The spiking model and a report.

    Raises
    ------
    TypeError
        If ``model`` is not a Sequential or Functional model.
    ValueError
        If it has layers that cannot be converted, all of which are named; if the calibration data
        do not match it or leave a layer silent; or if an option is invalid.

    Notes
    -----
    Scaling by a percentile of the activations follows Rueckauer et al. (2017), "Conversion of
    continuous-valued deep networks to efficient event-driven networks for image classification",
    Front. Neurosci. 11:682.

    Examples
    --------
    >>> import keras, numpy as np
    >>> layers = [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)]
    >>> conversion = convert(keras.Sequential(layers), calibration_data=np.ones((8, 4)))
    >>> conversion.predict(np.ones((8, 4)), timesteps=60, verbose=0).shape
    (8, 2)
    """
    options = Options(
        dt=dt,
        max_rate=max_rate,
        percentile=percentile,
        synapse=synapse,
        trainable_rates=trainable_rates,
        scale=scale,
        max_pooling=max_pooling,
        other_activations=other_activations,
        readout=readout,
        timesteps=timesteps,
        spiking_aware_training=spiking_aware_training,
        seed=seed,
    )
    options.check()
    return _convert(model, calibration_data, options, copy_weights)


def _convert(model: Any, calibration_data: Any, options: Options, copy_weights: bool) -> Conversion:
    """Return the conversion of a model, with checked options."""
    graph = read_graph(model)
    check_convertible(graph, options)
    if not copy_weights:
        model = model_with_new_weights(model)
        graph = read_graph(model)
    data = checked_data(graph, calibration_data)
    activations.split_activations(graph)
    pooled = average_pooling(graph) if options.max_pooling == "average" else {}
    folded = fold_normalisation(graph) if copy_weights else {}
    sites = find_sites(graph, options.other_activations)
    levels = high_activations(graph, sites, data, options.percentile)
    some = keras.tree.map_structure(lambda array: array[:_COMPARED], data)
    wanted = [*(site.node.outputs[0] for site in sites), *graph.output_numbers()]
    ordinary = outputs_of(ordinary_model(graph, wanted), some)

    apply_scales(graph, choose_scales(graph, sites, levels, options))
    spiking = spiking_model(graph, sites, options)
    report = _report(spiking, model, graph, sites, some, ordinary, options, folded, pooled)
    check = FewSpikesCheck(report)
    for layer in spiking.layers:
        layer.check_steps = check
    return Conversion(spiking.model, report, check)


def find_sites(graph: Graph, other_activations: str) -> list[Site]:
    """Return the activations of a graph that become layers of spiking neurons.

    Rectifiers always do. Other activations do if ``other_activations`` is "spike", they are
    elementwise, and layers with weights follow them.
    """
    sites = []
    for node in graph.nodes:
        if activations.is_rectifier(node.layer):
            sites.append(Site(node, rectifies=True))
        elif other_activations == "spike" and is_inner(graph, node):
            sites.append(Site(node, rectifies=False))
    if not sites:
        raise ValueError(
            "model must have an activation that can spike, such as relu, before its output. "
            f"Received: model={graph.name!r}"
        )
    return sites


def is_inner(graph: Graph, node: Node) -> bool:
    """Return whether a node is an elementwise activation, followed by layers with weights."""
    return activations.is_elementwise(node.layer) and any(
        getattr(after.layer, "weights", None) for after in graph.downstream([node]) - {node}
    )


def _report(
    spiking: SpikingNetwork,
    model: keras.Model,
    graph: Graph,
    sites: Sequence[Site],
    data: Any,
    ordinary: Sequence[np.ndarray],
    options: Options,
    folded: dict[str, str],
    pooled: dict[str, str],
) -> ConversionReport:
    """Compare the spiking model with the ordinary one on some of the calibration data."""
    steps = options.timesteps or max(1, round(0.06 / options.dt))
    layers, outputs = compare_layers(spiking, ordinary[: len(sites)], sites, data, steps)
    expected = outputs_of(model, data)[0]
    found = outputs[0][:, -1] if options.readout == "sequence" else outputs[0]
    spikes, filtered = {site.node for site in sites}, options.synapse is not None
    single = [] if filtered else unaveraged(graph, spikes, spiking.over_time)
    return ConversionReport(
        layers=layers,
        normalisation=folded,
        max_pooling=pooled or kept_pooling(graph, spikes, spiking.over_time, filtered),
        kept=tuple(
            node.label
            for node in graph.nodes
            if node not in spikes and is_nonlinear(node) and not is_max_pooling(node.layer)
        ),
        unfiltered=tuple(node.label for node in single),
        timesteps=steps,
        dt=options.dt,
        examples=len(expected),
        output_error=relative_error(found, expected),
        agreement=agreement(found, expected),
        pooling_agreement=agreement(ordinary[len(sites)], expected) if pooled else None,
    )
