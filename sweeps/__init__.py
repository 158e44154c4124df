"""Searching over scenarios: spaces, Optuna studies that survive a kill, Pareto fronts, machines side by side."""
