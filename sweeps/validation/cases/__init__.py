"""One case per file: setup, source, what is fitted, what is predicted, and the measured numbers."""
