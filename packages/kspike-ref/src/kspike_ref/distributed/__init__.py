"""Runs on clusters: lazy Dask arrays, and models whose random draws are fixed for a whole run."""

from kspike_ref.distributed.seeds import seeded

__all__ = ["seeded"]
