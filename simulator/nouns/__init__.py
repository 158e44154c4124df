"""The nouns: frozen data with the units in the names."""
