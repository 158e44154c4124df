"""Traces and where they come from: the v1 format, bundled models and their traces, model shapes, importers."""
