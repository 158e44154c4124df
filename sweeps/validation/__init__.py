"""Published measurements against the simulator: one YAML file per case, one module per kind of evaluation."""
