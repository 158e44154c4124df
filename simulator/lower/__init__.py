"""From what was decided to operations: what each takes, what waits for what."""
