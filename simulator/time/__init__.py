"""Times of what was decided."""
