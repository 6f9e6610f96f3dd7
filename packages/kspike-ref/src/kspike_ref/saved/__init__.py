"""Model files: what they say, checked, and the graphs built from it."""
