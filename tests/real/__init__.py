"""llama.cpp on this machine: built from source, run on small models with random weights, and compared with what simmoe says."""
