"""Firing rates and events measured on example data, batch by batch."""

__all__: list[str] = []
