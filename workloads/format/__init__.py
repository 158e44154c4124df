"""Trace format v1: reading, checking, describing."""
