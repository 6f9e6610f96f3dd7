"""Counts of connections and unit updates from layer shapes and configurations."""

__all__: list[str] = []
