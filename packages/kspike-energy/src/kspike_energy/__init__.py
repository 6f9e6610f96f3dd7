"""Energy estimates for spiking and ordinary networks that say what they count."""

from kspike_energy.config import DefaultManager, default

__all__ = ["DefaultManager", "default"]
