"""Measured speeds of engines: read from what their benchmarks and logs print."""
