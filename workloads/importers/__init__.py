"""Model shapes from a model's own files."""
