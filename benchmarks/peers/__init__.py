"""Worker scripts, one per contestant, which run in their own environments (see worker.py)."""
