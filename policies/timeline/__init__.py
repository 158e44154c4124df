"""How a layer's verdicts become operations: who waits for whom. One file per discipline of an engine."""
