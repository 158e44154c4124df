"""Bundled routing traces (npz, format v1)."""
