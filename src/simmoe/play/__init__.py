"""Play one workload on a machine: what is asked, run, counted and answered."""
