"""`ModelEnergy`: what a network would cost in energy on a device."""

from collections.abc import Callable, Sequence
from dataclasses import replace as changed
from typing import Any, ClassVar

from kspike_energy.adapters import find_adapter
from kspike_energy.checks import check_choice, check_count, dt_or_default
from kspike_energy.computers import LayerStatsComputers
from kspike_energy.config import default
from kspike_energy.counting.nodes import Options
from kspike_energy.devices.table import Device, DeviceTable
from kspike_energy.layer_stats import compute_stats
from kspike_energy.measuring.measure import Settings, build_network
from kspike_energy.network import Layer, Network
from kspike_energy.presentation.export import Export
from kspike_energy.registry import DEVICES, Statistics, check_layer_class, set_statistics

__all__ = ["ModelEnergy"]

DEFAULT_COLUMNS = ("name", "output_shape", "params", "connections", "neurons", "energy cpu")


class ModelEnergy(Export):
    """Count what a network does, and estimate the energy that devices would need for it.

    Counted for each layer, at each time step:

    - *connections*: from all input elements to all units. An event at one input element costs one
      synaptic operation for each connection that leaves it.
    - *neurons*: unit updates.

    With the energies E of a device, an inference of T time steps of length dt needs ::

        synaptic    E_synop · Σ connections · rate · dt · T    on a spiking device
                    E_synop · Σ connections                    on others: all, in one step
        neurons     E_neuron · neurons · T                     on a spiking device
                    E_neuron · neurons                         on others

    summed application by application of a layer. ``rate`` is the mean of the absolute input over
    batch, time and units, in Hz.

    Parameters
    ----------
    model : keras.Model, kspike_ref.Model, Network, or a model with a registered adapter
        The network. It is only read.
    example_data : array_like, or iterable of batches, optional
        Input on which firing rates are measured, in any form that ``model.predict`` takes.
        Needed for spiking devices only. It need not fit in memory: arrays, memory-mapped ones
        too, are run in batches, generators and data sets as they come.
    padding : {"excluded", "counted"}, optional
        Whether positions over the padding of a convolution count as connections. KerasSpiking and
        published multiply-add counts do count them.
    normalization : {"folded", "separate"}, optional
        Whether a batch normalisation directly behind a linear layer, and constant scaling of the
        input, are folded into the weights and cost nothing.
    events : {"mean", "exact"}, optional
        ``"mean"``: connections × mean rate, as above. ``"exact"``: every event (a value that is
        not zero, in one time step) × the connections that leave its element. A signal inside a
        layer, which nobody measures, counts as present at every element and step. A layer behind
        the end of the time axis runs once an inference.
    input_coding : {"rate", "events", "dense"}, optional
        How the network's own input is presented to a spiking device: each value is a rate in Hz;
        or each value that is not zero is one event a step; or every element is, at every step.
    time_axis : {"auto", 1, None}, optional
        Which axis is time, which counts leave out. ``"auto"``: axis 1, where its length is
        unknown or a temporal layer is connected to it.
    input_shape : tuple, or list or dict of tuple, optional
        Shapes of the network's inputs, with None for batch and unknown time, where the model
        leaves more than that open; by default as in ``example_data``.
    batch_size : int, optional
        Examples that the model runs on at once.
    progress : bool, optional
        Whether to show how many batches are done.
    convention : {"kspike", "keras-spiking"}, optional
        Whose rules count. ``"keras-spiking"`` gives the numbers of KerasSpiking 0.3.0: it counts
        connections to padding, but nothing for pooling, merging, depthwise convolutions, filters
        and recurrent layers, and multiplies the added rates of a reused layer by its added
        connections; the guide has the whole list. Registered functions come first either way.

    Raises
    ------
    TypeError
        If the model is of a type that no adapter takes, or an argument of a wrong type.
    ValueError
        If an argument is not one of its choices, or the data is empty, does not fit the model, or
        makes it produce NaN.

    Notes
    -----
    These are rough estimates of the arithmetic alone. They leave out moving data to, from and
    within the device, static power, and everything that a compiler or a small batch costs; the
    documentation shows how far measurements are from them.

    References
    ----------
    The source of every device's numbers is in `ModelEnergy.devices`.

    Examples
    --------
    >>> from kspike_energy import Layer, ModelEnergy, Network
    >>> network = Network(
    ...     [Layer("dense", connections=784 * 128, neurons=128, rate=10.0)]
    ... )
    >>> energy = ModelEnergy(network)
    >>> f"{energy.total_energy('cpu'):.2e}"
    '8.64e-04'
    >>> f"{energy.total_energy('loihi', timesteps_per_inference=10):.2e}"
    '3.76e-07'
    """

    devices: ClassVar[DeviceTable] = DEVICES
    layer_stats_computers: ClassVar[LayerStatsComputers] = LayerStatsComputers()

    def __init__(
        self,
        model: Any,
        example_data: Any = None,
        *,
        padding: str = "excluded",
        normalization: str = "folded",
        events: str = "mean",
        input_coding: str = "rate",
        time_axis: str | int | None = "auto",
        input_shape: Any = None,
        batch_size: int = 32,
        progress: bool = False,
        convention: str = "kspike",
    ) -> None:
        options = Options(padding, normalization, convention)
        if convention == "keras-spiking":
            options = changed(options, padding="counted")  # as reports say
        check_choice("events", events, ("mean", "exact"))
        check_choice("input_coding", input_coding, ("rate", "events", "dense"))
        if events == "exact" and padding == "counted":
            raise ValueError(
                "events='exact' counts real connections, so padding must be 'excluded'. "
                "Received: padding='counted'"
            )
        if convention == "keras-spiking" and (events, input_coding) != ("mean", "rate"):
            raise ValueError(
                "convention='keras-spiking' counts with events='mean' and input_coding='rate'. "
                f"Received: events={events!r}, input_coding={input_coding!r}"
            )
        batch_size = check_count("batch_size", batch_size)
        settings = Settings(
            options, time_axis, input_shape, input_coding, batch_size, bool(progress)
        )
        if not isinstance(model, Network):
            network = build_network(model, find_adapter(model), example_data, settings)
        elif example_data is None:
            network = model
        else:
            raise ValueError(
                "example_data must be None for a Network: its layers state their rates. "
                f"Received: {type(example_data).__name__}"
            )
        super().__init__(network, settings, events)
        self.model = model
        self.example_data = example_data

    # What scripts for KerasSpiking read ---------------------------------------------------------

    @property
    def layer_stats(self) -> dict[Any, dict[str, Any]]:
        """Statistics of each layer: "connections", "neurons" and "spiking".

        By the model's own layers; by `Layer` for a `Network`, or where the model's layers cannot
        be keys. As in `compute_layer_stats`, a layer that could not be counted, of which a
        warning told, has zeros.
        """
        totals: dict[Any, dict[str, Any]] = {}
        for layer in self.network.layers:
            _add_stats(totals, _key(layer), layer.connections, layer.neurons, layer.spiking)
        return totals

    @property
    def node_stats(self) -> dict[Any, dict[str, Any]]:
        """Statistics of each application of a layer, by the framework's own node."""
        totals: dict[Any, dict[str, Any]] = {}
        for layer in self.network.layers:
            for node, stats in layer.node_stats.items():
                _add_stats(totals, node, stats["connections"], stats["neurons"], stats["spiking"])
        return totals

    @property
    def layer_rates(self) -> dict[Any, float]:
        """Mean firing rate of each layer's input in Hz; empty without ``example_data``."""
        rates: dict[Any, float] = {}
        for layer in self.network.layers:
            rate = layer.rate(default.dt)
            if rate is not None:
                rates.setdefault(_key(layer), rate)
        return rates

    # What users can add ---------------------------------------------------------------------

    @classmethod
    def compute_layer_stats(cls, layer: Any, node: Any = None) -> dict[str, Any]:
        """Compute the statistics of one layer.

        Parameters
        ----------
        layer : keras.layers.Layer
            A layer that has been applied.
        node : Node or a node of Keras, optional
            The application to count, such as ``layer._inbound_nodes[0]``; the sum over all of them
            if not given.

        Returns
        -------
        dict
            "connections", "neurons" and "spiking"; for a registered layer, what its function
            returned.

        Raises
        ------
        ValueError
            If the layer was never applied.

        Examples
        --------
        See ``docs/guides/energy.md``.
        """
        return compute_stats(layer, node)

    @classmethod
    def register_layer(cls, layer_class: type | str) -> Callable[[Statistics], Statistics]:
        """Return a decorator that registers how a layer is counted.

        Parameters
        ----------
        layer_class : type or str
            The layer's class, or the name under which Keras saves it (such as
            ``"mypackage>MyLayer"``), which serves models of every adapter.

        Returns
        -------
        callable
            Decorator for a function from a `Node` to a dictionary with any of "connections" (0 by
            default), "neurons" (0) and "spiking" (True). The node has ``layer``, and
            ``input_shapes`` and ``output_shapes`` with batch and time, as in Keras' own node;
            ``step_input_shapes`` and ``step_output_shapes`` are those at one time step.

        Warns
        -----
        UserWarning
            If another function was registered for the layer; it is replaced.

        Raises
        ------
        TypeError
            If ``layer_class`` is neither a class nor text, or the function cannot be called.

        Examples
        --------
        >>> @ModelEnergy.register_layer("mypackage>Repeat")
        ... def repeat_stats(node):
        ...     return {"connections": 2 * node.input_shapes[-1]}
        """
        check_layer_class(layer_class)

        def register(function: Statistics) -> Statistics:
            set_statistics(layer_class, function, warn=True)
            return function

        return register

    @classmethod
    def register_device(
        cls,
        device_name: str,
        energy_per_synop: float,
        energy_per_neuron: float | None,
        spiking: bool,
        *,
        source: str = "",
        description: str = "",
        synop_range: tuple[float, float] | None = None,
        neuron_range: tuple[float, float] | None = None,
        replace: bool = False,
    ) -> None:
        """Register a device.

        Parameters
        ----------
        device_name : str
            How to refer to it.
        energy_per_synop : float
            Joules per synaptic operation.
        energy_per_neuron : float or None
            Joules per unit update; None if unknown, then totals say so.
        spiking : bool
            Whether it computes on events only.
        source, description : str, optional
            Where the numbers come from, and what they cover.
        synop_range, neuron_range : tuple of (float, float), optional
            Lowest and highest figure, in joules, where sources disagree.
        replace : bool, optional
            Whether another device of that name is meant to be replaced.

        Warns
        -----
        UserWarning
            If a device of that name with other figures is replaced, unless ``replace``.

        Raises
        ------
        TypeError, ValueError
            If a figure is negative, not finite or no number.

        Examples
        --------
        >>> ModelEnergy.register_device("example-chip", 1e-12, None, spiking=True)
        >>> ModelEnergy.devices["example-chip"].energy_per_synop
        1e-12
        >>> ModelEnergy.devices.remove("example-chip")
        """
        device = Device(
            device_name,
            energy_per_synop,
            energy_per_neuron,
            spiking,
            source,
            description,
            synop_range,
            neuron_range,
        )
        DEVICES.add(device, replace=replace)

    # Reports --------------------------------------------------------------------------------

    def summary(
        self,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
        line_length: int = 98,
        print_warnings: bool = True,
    ) -> None:
        """Print what each layer costs.

        Parameters
        ----------
        columns : sequence of str, optional
            Any of "name", "output_shape", "params", "connections", "neurons", "rate" (Hz),
            "synops" (operations a time step), "spiking", and for any device "synop_energy
            <device>", "neuron_energy <device>", "energy <device>" (joules an inference).
        timesteps_per_inference : int, optional
            Time steps in an inference.
        dt : float, optional
            Length of a time step on the device, in seconds.
        line_length : int, optional
            Longest line to print.
        print_warnings : bool, optional
            Whether to print what the estimate assumes and leaves out.

        Raises
        ------
        ValueError
            If a column or device is unknown, or the rates that it needs are missing.
        """
        print(
            self.summary_string(columns, timesteps_per_inference, dt, line_length, print_warnings)
        )

    def summary_string(
        self,
        columns: Sequence[str] = DEFAULT_COLUMNS,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
        line_length: int = 98,
        print_warnings: bool = True,
    ) -> str:
        """Return what `summary` prints.

        Parameters
        ----------
        columns, timesteps_per_inference, dt, line_length, print_warnings
            As in `summary`.

        Returns
        -------
        str
            The table, totals and notes.
        """
        from kspike_energy.presentation.summary import summary_text  # presentation stays apart

        steps = check_count("timesteps_per_inference", timesteps_per_inference)
        check_count("line_length", line_length)
        return summary_text(
            self, columns, steps, dt_or_default(dt), line_length, notes=print_warnings
        )


def _key(layer: Layer) -> Any:
    """Return the framework's own layer if it can be a key, otherwise the network's."""
    try:
        hash(layer.layer)
    except TypeError:
        return layer
    return layer if layer.layer is None else layer.layer


def _add_stats(
    totals: dict[Any, dict[str, Any]], key: Any, connections: int, neurons: int, spiking: bool
) -> None:
    """Add the statistics of one row to those of the same layer applied elsewhere."""
    known = totals.get(key, {"connections": 0, "neurons": 0, "spiking": True})
    totals[key] = {
        "connections": known["connections"] + connections,
        "neurons": known["neurons"] + neurons,
        "spiking": known["spiking"] and spiking,
    }
