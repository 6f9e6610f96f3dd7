"""Devices and their energy figures, with citations."""

from kspike_energy.devices.device import Device
from kspike_energy.devices.published import published_devices
from kspike_energy.devices.table import DeviceTable

__all__ = ["Device", "DeviceTable", "published_devices"]
