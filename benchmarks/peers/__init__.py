"""One worker script for each contestant, run in an environment of its own (see worker.py)."""
