"""`ModelEnergy`: what a network would cost in energy on a device."""

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from numbers import Integral
from typing import Any, ClassVar

from kspike_energy.adapters import find_adapter
from kspike_energy.compare import Comparison, compare_devices
from kspike_energy.config import check_dt, default
from kspike_energy.devices import Device, DeviceTable
from kspike_energy.layer_stats import compute_stats
from kspike_energy.measure import Settings, build_network
from kspike_energy.network import Layer, Network
from kspike_energy.nodes import Options
from kspike_energy.registry import DEVICES, STATISTICS, Statistics

__all__ = ["ModelEnergy"]

DEFAULT_COLUMNS = ("name", "output_shape", "params", "connections", "neurons", "energy cpu")


class ModelEnergy:
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
    >>> network = Network([Layer("dense", connections=784 * 128, neurons=128, rate=10.0)])
    >>> energy = ModelEnergy(network)
    >>> f"{energy.total_energy('cpu'):.2e}"
    '8.64e-04'
    >>> f"{energy.total_energy('loihi', timesteps_per_inference=10):.2e}"
    '3.76e-07'
    """

    devices: ClassVar[DeviceTable] = DEVICES

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
    ) -> None:
        options = Options(padding, normalization)
        _check_choice("events", events, ("mean", "exact"))
        _check_choice("input_coding", input_coding, ("rate", "events", "dense"))
        if events == "exact" and padding == "counted":
            raise ValueError(
                "events='exact' counts real connections, so padding must be 'excluded'. "
                "Received: padding='counted'"
            )
        batch_size = _check_count("batch_size", batch_size)
        self.model = model
        self.events = events
        self._settings = Settings(
            options, time_axis, input_shape, input_coding, batch_size, bool(progress)
        )
        if isinstance(model, Network):
            if example_data is not None:
                raise ValueError(
                    "example_data must be None for a Network: its layers state their rates. "
                    f"Received: {type(example_data).__name__}"
                )
            self.network = model
        else:
            self.network = build_network(model, find_adapter(model), example_data, self._settings)

    # What users can add ---------------------------------------------------------------------

    @classmethod
    def compute_layer_stats(cls, layer: Any, node: Any = None) -> dict[str, Any]:
        """Compute the statistics of one layer.

        Parameters
        ----------
        layer : keras.layers.Layer
            A layer that has been applied.
        node : Node, optional
            The application to count; the sum over all of them if not given.

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
            Decorator for a function from a `Node` (with ``layer``, ``input_shapes``,
            ``output_shapes``, whose shapes have a batch and no time axis) to a dictionary with
            any of "connections" (0 by default), "neurons" (0) and "spiking" (True).

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
        if not isinstance(layer_class, (type, str)):
            raise TypeError(f"layer_class must be a class. Received: layer_class={layer_class!r}")

        def register(function: Statistics) -> Statistics:
            if not callable(function):
                raise TypeError(f"statistics must be a function of a node. Received: {function!r}")
            STATISTICS[layer_class] = function
            if isinstance(layer_class, type) and layer_class.__module__.startswith("keras."):
                STATISTICS[layer_class.__name__] = function  # for adapters without Keras
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
            Whether another device of that name may be replaced.

        Raises
        ------
        TypeError, ValueError
            If a figure is negative or no number, or the name taken by a device with other figures.

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

    # Energies -------------------------------------------------------------------------------

    def layer_energy(
        self,
        layer: Any,
        device: str,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
    ) -> tuple[float, float]:
        """Estimate the energy of one layer, summed over all its applications.

        Parameters
        ----------
        layer : layer of the model, or str
            The layer or its name.
        device : str
            Name of a device.
        timesteps_per_inference : int, optional
            Time steps in an inference.
        dt : float, optional
            Length of a time step on the device, in seconds; ``kspike_energy.default.dt`` if not
            given.

        Returns
        -------
        synop_energy, neuron_energy : float
            Joules an inference.

        Raises
        ------
        ValueError
            If the layer, the device or the rates that it needs are missing.
        """
        figures = DEVICES.get_device(device)
        steps = _check_count("timesteps_per_inference", timesteps_per_inference)
        return self._layer_energy(self._find(layer), figures, steps, _dt(dt))

    def total_energy(
        self, device: str, timesteps_per_inference: int = 1, dt: float | None = None
    ) -> float:
        """Estimate the energy of the whole network.

        Layers that could not be counted are left out, with a warning when the network was read;
        a device without a figure per neuron gives synaptic operations only.

        Parameters
        ----------
        device : str
            Name of a device.
        timesteps_per_inference : int, optional
            Time steps in an inference.
        dt : float, optional
            Length of a time step on the device, in seconds.

        Returns
        -------
        float
            Joules an inference.

        Raises
        ------
        ValueError
            If the device or the rates that it needs are missing.
        """
        figures = DEVICES.get_device(device)
        steps = _check_count("timesteps_per_inference", timesteps_per_inference)
        step = _dt(dt)
        if figures.spiking:
            self._warn_about_dt(step)
        return math.fsum(
            part
            for layer in self.network.layers
            if not layer.problem
            for part in self._layer_energy(layer, figures, steps, step)
        )

    def energy_range(
        self, device: str, timesteps_per_inference: int = 1, dt: float | None = None
    ) -> tuple[float, float]:
        """Estimate the energy with the lowest and the highest figures published for a device.

        Parameters
        ----------
        device, timesteps_per_inference, dt
            As in `total_energy`.

        Returns
        -------
        low, high : float
            Joules an inference.
        """
        figures = DEVICES.get_device(device)
        steps = _check_count("timesteps_per_inference", timesteps_per_inference)
        step = _dt(dt)
        bounds = []
        for synop, neuron in zip(figures.synop_low_high, figures.neuron_low_high, strict=True):
            operations = (
                self._operations(layer, figures, steps, step)
                for layer in self.network.layers
                if not layer.problem
            )
            bounds.append(
                math.fsum(part for s, n in operations for part in (s * synop, n * neuron))
            )
        low, high = bounds
        return low, high

    def compare(
        self,
        devices: Sequence[str] | None = None,
        timesteps: int = 1,
        dt: float | None = None,
        baseline: str = "cpu",
    ) -> Comparison:
        """Compare devices on this network.

        Parameters
        ----------
        devices : sequence of str, optional
            Names of devices; KerasSpiking's six if not given.
        timesteps : int, optional
            Time steps in an inference on a spiking device.
        dt : float, optional
            Length of a time step on the device, in seconds.
        baseline : str, optional
            The device that others are divided by, and that spiking ones have to beat.

        Returns
        -------
        Comparison
            Prints as a table; see there for what it holds.
        """
        names = list(devices) if devices is not None else list(DEVICES)[:6]
        steps = _check_count("timesteps", timesteps)
        return compare_devices(self, names, steps, _dt(dt), baseline)

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
        from kspike_energy.report import summary_text  # presentation stays apart

        steps = _check_count("timesteps_per_inference", timesteps_per_inference)
        _check_count("line_length", line_length)
        return summary_text(self, columns, steps, _dt(dt), line_length, notes=print_warnings)

    def to_records(
        self,
        devices: Sequence[str] | None = None,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
    ) -> list[dict[str, Any]]:
        """Return one flat dictionary a layer and device, ready for ``pandas.DataFrame``.

        Parameters
        ----------
        devices : sequence of str, optional
            Names of devices; by default all that can be estimated without rates, and the spiking
            ones too where rates are known.
        timesteps_per_inference : int, optional
            Time steps in an inference.
        dt : float, optional
            Length of a time step on the device, in seconds.

        Returns
        -------
        list of dict
            With counts, energies and every assumption behind them.
        """
        names = self._devices(devices)
        steps = _check_count("timesteps_per_inference", timesteps_per_inference)
        step = _dt(dt)
        shared = self.assumptions(steps, step)
        records = []
        for name in names:
            figures = DEVICES.get_device(name)
            for layer in self.network.layers:
                record: dict[str, Any] = {**self._layer_dict(layer, step), "device": name}
                synop, neuron = (None, None)
                if not layer.problem:
                    synop, neuron = self._layer_energy(layer, figures, steps, step)
                    record["energy"] = synop + neuron
                else:
                    record["energy"] = None
                records.append({**record, "synop_energy": synop, "neuron_energy": neuron, **shared})
        return records

    def to_dict(
        self,
        devices: Sequence[str] | None = None,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
    ) -> dict[str, Any]:
        """Return the whole estimate as plain data.

        Parameters
        ----------
        devices, timesteps_per_inference, dt
            As in `to_records`.

        Returns
        -------
        dict
            "model", "assumptions", "devices" (with sources), "layers" (counts, rate, and energy
            by device), "totals" and "left_out".
        """
        names = self._devices(devices)
        steps = _check_count("timesteps_per_inference", timesteps_per_inference)
        step = _dt(dt)
        layers = []
        for layer in self.network.layers:
            energies = {}
            for name in names:
                pair = None
                if not layer.problem:
                    pair = self._layer_energy(layer, DEVICES[name], steps, step)
                energies[name] = pair and {"synop": pair[0], "neuron": pair[1], "total": sum(pair)}
            layers.append({**self._layer_dict(layer, step), "energy": energies})
        totals = {}
        for name in names:
            low, high = self.energy_range(name, steps, step)
            totals[name] = {
                "energy": self.total_energy(name, steps, step),
                "low": low,
                "high": high,
                "neurons_included": DEVICES[name].energy_per_neuron is not None,
            }
        return {
            "model": self.network.name,
            "assumptions": self.assumptions(steps, step),
            "devices": {name: DEVICES[name].to_dict() for name in names},
            "layers": layers,
            "totals": totals,
            "connections": self.network.connections,
            "neurons": self.network.neurons,
            "left_out": [layer.name for layer in self.network.gaps],
        }

    def to_json(
        self,
        devices: Sequence[str] | None = None,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
        indent: int | None = 2,
    ) -> str:
        """Return `to_dict` as JSON.

        Parameters
        ----------
        devices, timesteps_per_inference, dt
            As in `to_records`.
        indent : int or None, optional
            Spaces of indentation.

        Returns
        -------
        str
            JSON.
        """
        return json.dumps(self.to_dict(devices, timesteps_per_inference, dt), indent=indent)

    def assumptions(self, timesteps_per_inference: int, dt: float) -> dict[str, Any]:
        """Return everything that an estimate assumes, as plain data.

        Parameters
        ----------
        timesteps_per_inference : int
            Time steps in an inference.
        dt : float
            Length of a time step on the device, in seconds.
        """
        return {
            "dt": dt,
            "timesteps_per_inference": timesteps_per_inference,
            "events": self.events,
            "input_coding": self._settings.input_coding,
            **asdict(self._settings.options),
            "time_axis": self.network.time_axis,
        }

    def _repr_html_(self) -> str:
        from kspike_energy.report import html_table

        rows = [self._layer_dict(layer, default.dt) for layer in self.network.layers]
        return html_table(rows)

    def __repr__(self) -> str:
        return (
            f"<ModelEnergy of {self.network.name!r}: {len(self.network.layers)} layers, "
            f"{self.network.connections} connections, {self.network.neurons} neurons>"
        )

    # Inner workings -------------------------------------------------------------------------

    def _devices(self, devices: Sequence[str] | None) -> list[str]:
        if devices is not None:
            return [DEVICES.get_device(name).name for name in devices]
        known = all(
            layer.synops(default.dt, self.events) is not None
            for layer in self.network.layers
            if not layer.problem
        )
        return [name for name in DEVICES if known or not DEVICES[name].spiking]

    def _layer_dict(self, layer: Layer, dt: float) -> dict[str, Any]:
        counted = not layer.problem
        return {
            "name": layer.name,
            "type": layer.type_name,
            "output_shape": layer.output_shape,
            "params": layer.params,
            "connections": layer.connections if counted else None,
            "neurons": layer.neurons if counted else None,
            "spiking": layer.spiking if counted else None,
            "rate": layer.rate(dt),
            "synops_per_timestep": layer.synops(dt, self.events) if counted else None,
            "counted_operations": layer.operations if counted else None,
            "layer_dt": layer.dt,
            "problem": layer.problem or None,
        }

    def _find(self, layer: Any) -> Layer:
        found = [
            known
            for known in self.network.layers
            if known is layer or known.layer is layer or known.name == layer
        ]
        if layer is None or not found:
            name = layer if isinstance(layer, str) else getattr(layer, "name", layer)
            raise ValueError(
                f"layer must be a layer of {self.network.name!r}, or its name. Received: {name!r}"
            )
        if found[0].problem:
            raise ValueError(f"layer {found[0].name!r} cannot be estimated: {found[0].problem}")
        return found[0]

    def _operations(
        self, layer: Layer, device: Device, steps: int, dt: float
    ) -> tuple[float, float]:
        """Return synaptic operations and unit updates an inference."""
        if not device.spiking:
            return float(layer.connections), float(layer.neurons)
        synops = layer.synops(dt, self.events)
        if synops is None:
            raise ValueError(
                f"example_data must be given to estimate energy on the spiking device "
                f"{device.name!r}: the firing rate of layer {layer.name!r} is unknown"
            )
        if self.events == "exact" and layer.once:
            steps = 1
        return synops * steps, float(layer.neurons * steps)

    def _layer_energy(
        self, layer: Layer, device: Device, steps: int, dt: float
    ) -> tuple[float, float]:
        synops, updates = self._operations(layer, device, steps, dt)
        return synops * device.energy_per_synop, updates * (device.energy_per_neuron or 0.0)

    def other_dt(self, dt: float) -> list[Layer]:
        """Return the layers whose own time step is not ``dt``."""
        return [
            layer
            for layer in self.network.layers
            if layer.dt is not None and not math.isclose(layer.dt, dt, rel_tol=1e-6)
        ]

    def _warn_about_dt(self, dt: float) -> None:
        others = self.other_dt(dt)
        if others:
            names = ", ".join(f"{layer.name} ({layer.dt:g} s)" for layer in others)
            warnings.warn(
                f"the estimate uses dt={dt:g} s, but layers have a time step of their own: "
                f"{names}; their spikes have a height of 1/dt of that step",
                stacklevel=3,
            )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}. Received: {name}={value!r}")


def _check_count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number. Received: {name}={value!r}")
    if int(value) < 1:
        raise ValueError(f"{name} must be at least 1. Received: {name}={value!r}")
    return int(value)


def _dt(dt: float | None) -> float:
    return default.dt if dt is None else check_dt(dt)
