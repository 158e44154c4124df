"""Classes of routing: statistics of one model each. `python -m benchmarks.routing_classes` writes them."""
