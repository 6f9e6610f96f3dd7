"""Scans as TensorFlow operations: for exports, saved graphs, accelerators and older versions."""
