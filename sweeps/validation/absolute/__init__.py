"""Absolute speed: every usable public measurement of an engine, predicted with constants that were fitted without its machine.

rule.md says which measurements are rows and which are not, rows.csv holds them, models.yaml the shapes that are not bundled.
"""
