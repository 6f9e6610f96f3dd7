"""Running a graph on arrays: inputs, blocks, streaming, threads, costs and counts."""
