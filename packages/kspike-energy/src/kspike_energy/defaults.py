"""Default number and length of time steps, from the layers and the data."""

import math

from kspike_energy.config import default
from kspike_energy.network import BY_HAND, Network
from kspike_energy.settings import Settings

__all__ = ["default_dt", "default_steps", "why_no_steps"]


def default_steps(network: Network, settings: Settings) -> tuple[int | None, str]:
    """Return the default number of time steps per inference, and its origin."""
    if settings.options.convention == "keras-spiking":
        return 1, "KerasSpiking's default"
    if network.time_axis == BY_HAND:
        return 1, "default of a network described by hand"
    if len(network.data_steps) == 1:
        return network.data_steps[0], "length of example_data"
    return None, "unknown"


def why_no_steps(network: Network) -> str:
    """Return the reason why `default_steps` finds no number."""
    lengths = network.data_steps
    if lengths:
        return f"example_data has sequences of {lengths[0]} to {lengths[-1]} steps"
    if network.layer_rates(default.dt):
        return "example_data has no time axis"
    return "there is no example_data"


def default_dt(network: Network, settings: Settings) -> tuple[float, str, bool]:
    """Return the default time step, its origin, and whether layers keep their own.

    Signals before the first layer with a time step use that layer's step.
    """
    own = [layer.dt for layer in network.layers if layer.dt is not None]
    if settings.options.convention == "keras-spiking":
        return default.dt, "KerasSpiking's default", False
    if not own:
        return default.dt, "default, because no layer has a time step", False
    shortest, longest = min(own), max(own)
    if math.isclose(shortest, longest, rel_tol=1e-6):
        return own[0], "the layers' own", True
    return own[0], f"the first layer's own; layers have {shortest:g} to {longest:g} s", True
