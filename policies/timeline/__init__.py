"""How a layer's verdicts become operations: what waits for what. One file per discipline of an engine."""
