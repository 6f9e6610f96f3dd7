"""Execution of graphs: inputs, blocks, streaming, threads, costs and counts."""
