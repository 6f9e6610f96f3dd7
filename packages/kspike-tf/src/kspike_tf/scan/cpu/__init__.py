"""Scans as machine code on this machine's processor: loops, what surrounds them, who calls them."""
