"""Model files: reading and checking them, and building graphs from them."""
