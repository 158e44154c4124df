"""Traces that other programs wrote: one file of formats/ for each format, and what they share."""
