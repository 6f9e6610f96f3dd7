"""Figures of energy estimates, drawn with Matplotlib (``kspike-energy[plots]``)."""

from kspike_energy.presentation.plots import plot_break_even, plot_devices, plot_layers

__all__ = ["plot_break_even", "plot_devices", "plot_layers"]
