"""The machine: decisions, clocks and the nouns they work on. Knows no policy, no model file, no optimiser, no torch."""
