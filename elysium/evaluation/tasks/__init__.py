"""The tasks: what is asked on each set, how answers become figures, and the baselines beside them."""
