"""Figures and the pages that hold them: one function for each figure, from plain data, drawn by plotly (docs/reports.md)."""
