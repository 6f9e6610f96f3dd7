"""The layers that models are made of, one module a family."""

from kspike_ref.layers import (
    activation,
    arithmetic,
    attention,
    casting,
    conv,
    dense,
    images,
    merge,
    normalization,
    operations,
    pooling,
    recurrent,
    shape,
    temporal,
    wrapper,
)

__all__ = [
    "activation",
    "arithmetic",
    "attention",
    "casting",
    "conv",
    "dense",
    "images",
    "merge",
    "normalization",
    "operations",
    "pooling",
    "recurrent",
    "shape",
    "temporal",
    "wrapper",
]
