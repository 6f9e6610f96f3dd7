"""Figures of spikes, voltages, firing rates, filters and energies; they need Matplotlib.

Install ``kspike-ref[plot]``. All functions take arrays, draw on Matplotlib axes and return the
axes, so they work for outputs of kspike_ref, Keras and other simulators alike. `style` gives your
own figures the same look.
"""

from kspike_ref.plot.energies import accuracy_energy
from kspike_ref.plot.filters import filter_response
from kspike_ref.plot.histograms import rates
from kspike_ref.plot.look import COLORS, style
from kspike_ref.plot.spikes import raster, voltage

__all__ = [
    "COLORS",
    "accuracy_energy",
    "filter_response",
    "raster",
    "rates",
    "style",
    "voltage",
]
