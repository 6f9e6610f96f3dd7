"""`ModelEnergy`, and layer statistics under KerasSpiking's names.

The functions take a `Node` or a node of Keras, and return "connections", "neurons" and "spiking".
You can register them for other layers with the same costs:

>>> from kspike_energy import ModelEnergy, model_energy
>>> _ = ModelEnergy.register_layer("mypackage>MyDense")(model_energy.dense_stats)
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from kspike_energy.build_network import build_network
from kspike_energy.checks import all_told_options
from kspike_energy.compare import compare_devices, device_names
from kspike_energy.config import default
from kspike_energy.devices import DeviceTable
from kspike_energy.estimate import Estimate
from kspike_energy.layer_stats import (
    LayerStatsComputers,
    act_stats,
    compute_stats,
    conv_stats,
    dense_stats,
    layer_stats,
    spikingactivation_stats,
    timedistributed_stats,
)
from kspike_energy.presentation import reports
from kspike_energy.presentation.comparison import Comparison
from kspike_energy.presentation.notebook import notebook_table
from kspike_energy.registry import DEVICES, register_device, register_layer
from kspike_energy.settings import Examples, Options, Settings, Shapes, steps_passed

__all__ = [
    "ModelEnergy",
    "act_stats",
    "conv_stats",
    "dense_stats",
    "layer_stats",
    "spikingactivation_stats",
    "timedistributed_stats",
]


@all_told_options
class ModelEnergy:
    """Count the operations of a network, and estimate the energy that devices need for them.

    A layer has two counts per time step: *connections* from input elements to units, and unit
    updates, called *neurons*. An event at an input element costs one synaptic operation per
    outgoing connection. With a device's energies E, an inference of T steps of length dt needs:

        on a spiking device:
          E_synop · Σ connections · rate · dt · T
          + E_neuron · neurons · T
        on any other device, in a single step:
          E_synop · Σ connections
          + E_neuron · neurons

    summed over the applications of a layer. ``rate`` is the mean of the absolute input over
    batch, time and units, in Hz.

    Parameters
    ----------
    model : keras.Model, kspike_ref.Model, Network, or a model with a registered adapter
        The network. It is not modified.
    example_data : array_like, or iterable of batches, optional
        Input on which firing rates are measured, in any form that ``model.predict`` takes. Only
        spiking devices need it. It may be larger than memory.
    padding : {"excluded", "counted"}, optional
        Whether window positions over the padding of a convolution count as connections, as they do
        in KerasSpiking and in published multiply-add counts.
    normalization : {"folded", "separate"}, optional
        Whether batch normalisation directly after a linear layer, and input scaling, cost nothing.
    events : {"mean", "exact"}, optional
        ``"mean"``: connections × mean rate, as above. ``"exact"``: every event (nonzero value at a
        time step) × the connections that leave its element. Signals inside a layer cannot be
        measured and count as present at every element and step. A layer after the end of the time
        axis runs once per inference.
    input_coding : {"rate", "events", "dense"}, optional
        How a spiking device receives the network's input. ``"rate"``: values are rates in Hz.
        ``"events"``: every nonzero value is one event per step. ``"dense"``: every element is one
        event at every step.
    time_axis : {"auto", 1, None}, optional
        Which axis is time; counts are per time step. ``"auto"``: axis 1, if its length is unknown
        or a temporal layer is connected to it.
    input_shape : tuple, or list or dict of tuple, optional
        Shapes of the network's inputs, with None for the batch and for unknown time. Needed if the
        model leaves other lengths open; by default those of ``example_data``.
    batch_size : int, optional
        Number of examples per batch.
    progress : bool, optional
        Whether to show the number of finished batches.
    convention : {"kspike", "keras-spiking"}, optional
        The counting rules. ``"keras-spiking"`` gives the numbers of KerasSpiking 0.3.0; the guide
        lists every difference. Registered functions take precedence over both.

    Raises
    ------
    TypeError, ValueError
        If no adapter reads the model, an argument is invalid, or the data does not fit the model.

    Notes
    -----
    Most devices count the arithmetic alone: a rough estimate. See the guide for those that do not.

    Examples
    --------
    >>> from kspike_energy import Layer, ModelEnergy, Network
    >>> network = Network([Layer("dense", connections=784 * 128, neurons=128, rate=10.0)])
    >>> energy = ModelEnergy(network)
    >>> f"{energy.total_energy('cpu'):.2e}"
    '8.64e-04'
    >>> f"{energy.total_energy('loihi', timesteps_per_inference=10):.2e}"
    '3.76e-07'
    """

    devices: ClassVar[DeviceTable] = DEVICES
    """Known devices by name, with the sources of their figures."""
    layer_stats_computers: ClassVar[LayerStatsComputers] = LayerStatsComputers()
    """The functions that count layers, by class or saved name."""
    compute_layer_stats = staticmethod(compute_stats)
    """Compute the statistics of one layer: see `kspike_energy.layer_stats.compute_stats`."""
    register_layer = staticmethod(register_layer)
    """Register a counting function: see `kspike_energy.registry.register_layer`."""
    summary = reports.summary
    """Print the counts and energies of every layer: see `kspike_energy.presentation.reports`."""
    summary_string = reports.summary_string
    """Return the text that `summary` prints."""
    to_records = reports.to_records
    """Return one flat dictionary per device and layer."""
    to_dict = reports.to_dict
    """Return the whole estimate as plain data."""
    to_markdown = reports.to_markdown
    """Return a Markdown table of layers and energies, with assumptions."""
    to_latex = reports.to_latex
    """Return the same table as LaTeX."""
    to_html = reports.to_html
    """Write a report as one HTML file."""
    bibtex = reports.bibtex
    """Return BibTeX entries for the sources of all numbers in reports."""
    to_json = reports.to_json
    """Return `to_dict` as JSON."""
    register_device = staticmethod(register_device)
    """Register a device: see `kspike_energy.registry.register_device`."""

    def __init__(
        self,
        model: object,
        example_data: Examples | None = None,
        *,
        padding: Literal["excluded", "counted"] = "excluded",
        normalization: Literal["folded", "separate"] = "folded",
        events: Literal["mean", "exact"] = "mean",
        input_coding: Literal["rate", "events", "dense"] = "rate",
        time_axis: Literal["auto", 1] | None = "auto",
        input_shape: Shapes | None = None,
        batch_size: int = 32,
        progress: bool = False,
        convention: Literal["kspike", "keras-spiking"] = "kspike",
    ) -> None:
        options = Options(padding, normalization, convention)
        self._settings = Settings(
            options, events, input_coding, time_axis, input_shape, batch_size, bool(progress)
        )
        self.network = build_network(model, example_data, self._settings)
        self.model: Any = model
        self.events = events
        self.example_data = example_data

    @property
    def layer_stats(self) -> dict[Any, dict[str, Any]]:
        """Statistics by layer: "connections", "neurons" and "spiking"."""
        return self.network.layer_stats()

    @property
    def node_stats(self) -> dict[Any, dict[str, Any]]:
        """The same statistics by the framework's own node."""
        return self.network.node_stats()

    @property
    def layer_rates(self) -> dict[Any, float]:
        """Mean firing rate of every layer's input in Hz; empty without ``example_data``."""
        return self.network.layer_rates(default.dt)

    def __repr__(self) -> str:
        return (
            f"<ModelEnergy of {self.network.name!r}: {len(self.network.layers)} layers, "
            f"{self.network.connections:,} connections, {self.network.neurons:,} neurons>"
        )

    def _repr_html_(self) -> str:
        return notebook_table(self.estimate(), [DEVICES["cpu"]])

    def estimate(
        self,
        timesteps_per_inference: int | None = None,
        dt: float | None = None,
        *,
        timesteps: int | None = None,
        batch_size: int = 1,
    ) -> Estimate:
        """Return the energies of one inference, on which the other methods build.

        Parameters
        ----------
        timesteps_per_inference : int, optional
            Time steps per inference on a spiking device. By default the number in
            ``example_data``, or 1 for a hand-written `Network`. Static data requires a number.
        dt : float, optional
            Length of a time step on a spiking device, in seconds. By default the layers' own, or
            ``kspike_energy.default.dt``.
        timesteps : int, optional
            A shorter name for ``timesteps_per_inference``.
        batch_size : int, optional
            Inferences per call. They share a device's energies per call and per kernel.
        """
        steps = steps_passed(timesteps_per_inference, timesteps)
        return Estimate.of(self.network, self._settings, steps, dt, batch_size)

    def layer_energy(
        self,
        layer: object,
        device: str,
        timesteps_per_inference: int | None = None,
        dt: float | None = None,
        *,
        timesteps: int | None = None,
        batch_size: int = 1,
    ) -> tuple[float, float]:
        """Estimate the energy of one layer, summed over all its applications.

        Parameters
        ----------
        layer : layer of the model, or str
            The layer or its name.
        device : str
            Name of a device.
        timesteps_per_inference, dt, timesteps, batch_size
            As in `estimate`.

        Returns
        -------
        synop_energy, neuron_energy : float
            Joules per inference.
        """
        figures = DEVICES.get_device(device)
        estimate = self.estimate(
            timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
        )
        return estimate.layer(estimate.find(layer), figures)

    def total_energy(
        self,
        device: str,
        timesteps_per_inference: int | None = None,
        dt: float | None = None,
        *,
        timesteps: int | None = None,
        batch_size: int = 1,
    ) -> float:
        """Estimate the energy of the whole network, in joules per inference.

        The total leaves out layers that could not be counted; a warning names them on construction.
        For a device without a figure per neuron, it covers synaptic operations only.

        Parameters
        ----------
        device : str
            Name of a device.
        timesteps_per_inference, dt, timesteps, batch_size
            As in `estimate`.

        Raises
        ------
        ValueError
            If the device, or a firing rate that the estimate needs, is unknown.
        """
        figures = DEVICES.get_device(device)
        return self.estimate(
            timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
        ).total(figures)

    def energy_range(
        self,
        device: str,
        timesteps_per_inference: int | None = None,
        dt: float | None = None,
        *,
        timesteps: int | None = None,
        batch_size: int = 1,
    ) -> tuple[float, float]:
        """Return the lowest and the highest `total_energy` by a device's published figures.

        A fitted device has a prediction interval instead, and a memory model two readings of them.
        """
        figures = DEVICES.get_device(device)
        return self.estimate(
            timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
        ).range(figures)

    def compare(
        self,
        devices: Sequence[str] | None = None,
        timesteps_per_inference: int | None = None,
        dt: float | None = None,
        baseline: str = "cpu",
        *,
        timesteps: int | None = None,
        batch_size: int = 1,
        models: Sequence[str] | None = None,
        weight_bits: int = 8,
    ) -> Comparison:
        """Compare devices on this network.

        Parameters
        ----------
        devices : sequence of str, optional
            Names of devices; by default KerasSpiking's six, or none if ``models`` is passed.
        timesteps_per_inference, dt, timesteps, batch_size
            As in `estimate`.
        baseline : str, optional
            The device that ratios and break-even rates refer to.
        models : sequence of {"operations", "measured", "memory"}, optional
            Energy models whose devices to compare, in addition to ``devices``. The comparison says
            which side wins under every model, and whether the models disagree.
        weight_bits : int, optional
            Weight bits of the quantised network that the spiking network must beat.
        """
        names = device_names(devices, models)
        return compare_devices(
            self.estimate(timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size),
            [DEVICES.get_device(name) for name in names],
            DEVICES.get_device(baseline),
            weight_bits,
        )

    def assumptions(
        self,
        timesteps_per_inference: int | None = None,
        dt: float | None = None,
        *,
        timesteps: int | None = None,
        batch_size: int = 1,
    ) -> dict[str, Any]:
        """Return all assumptions of an estimate as plain data."""
        return self.estimate(
            timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
        ).assumptions()
