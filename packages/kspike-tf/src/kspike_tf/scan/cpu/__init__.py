"""Scans as machine code for the CPU: loops, their driver, and the calls from TensorFlow and XLA."""
