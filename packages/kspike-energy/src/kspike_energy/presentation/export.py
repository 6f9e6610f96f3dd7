"""Estimates as plain data."""

import json
from collections.abc import Sequence
from typing import Any

from kspike_energy.checks import check_count, dt_or_default
from kspike_energy.config import default
from kspike_energy.energies import Energies
from kspike_energy.network import Layer
from kspike_energy.registry import DEVICES

__all__ = ["Export"]


class Export(Energies):
    """Energies as dictionaries, JSON and records; a base of `ModelEnergy`."""

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
        steps = check_count("timesteps_per_inference", timesteps_per_inference)
        step = dt_or_default(dt)
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
        steps = check_count("timesteps_per_inference", timesteps_per_inference)
        step = dt_or_default(dt)
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

    def _repr_html_(self) -> str:
        from kspike_energy.presentation.summary import html_table

        rows = [self._layer_dict(layer, default.dt) for layer in self.network.layers]
        return html_table(rows)

    def __repr__(self) -> str:
        return (
            f"<ModelEnergy of {self.network.name!r}: {len(self.network.layers)} layers, "
            f"{self.network.connections} connections, {self.network.neurons} neurons>"
        )

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
