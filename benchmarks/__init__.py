"""Side-by-side benchmarks: the same work in kspike and in other packages."""
