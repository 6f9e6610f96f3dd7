"""Runs on clusters: lazy arrays of Dask, and models whose draws are fixed for a whole run."""

from kspike_ref.distributed.seeds import seeded

__all__ = ["seeded"]
