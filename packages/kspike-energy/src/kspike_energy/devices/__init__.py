"""Devices and their published energy figures."""

__all__: list[str] = []
