"""Converters of trained networks side by side: kspike, SpikingJelly and SNN Toolbox."""
