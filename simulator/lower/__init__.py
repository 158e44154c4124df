"""From what was decided to operations: what each takes, who waits for what."""
