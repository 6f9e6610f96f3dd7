"""Layers that apply other layers."""

from dataclasses import replace

from kspike_energy.counting.nodes import Counts, Node
from kspike_energy.counting.rules.table import OVER_TIME, count, rule

__all__: list[str] = []


@rule(*OVER_TIME)
def time_distributed(node: Node) -> Counts:
    """Count the wrapped layer at one time step."""
    return replace(count(node.inner("layer", drop_time=True)), whole=False)


@rule("Pipeline")
def pipeline(node: Node) -> Counts:
    """Count the layers that it applies one after the other; augmentations cost nothing."""
    wrapped = node.spec.wrap("layers")
    inner = wrapped if isinstance(wrapped, list) else [wrapped]
    return Counts.total(count(replace(node, spec=spec)) for spec in inner)


@rule("SpectralNormalization", linear=True)
def spectral_normalization(node: Node) -> Counts:
    """Count the wrapped layer: at inference its kernel is already normalised."""
    return count(node.inner("layer"))
