"""kspike_energy."""
