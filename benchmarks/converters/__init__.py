"""Comparison of converters of trained networks: kspike, SpikingJelly and SNN Toolbox."""
