"""Bundled search spaces (YAML, docs/sweeps.md)."""
