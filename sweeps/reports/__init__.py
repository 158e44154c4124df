"""What `simmoe report` draws: a study, or the JSON of another command, read and made into plain data for the figures."""
