"""The layers that models are made of, one module a family."""

from kspike_ref.layers import activation, dense, pooling, shape, temporal, wrapper

__all__ = ["activation", "dense", "pooling", "shape", "temporal", "wrapper"]
