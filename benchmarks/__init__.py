"""Side-by-side benchmarks: the same work through kspike and through what people use today."""
