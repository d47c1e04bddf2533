"""Who measures the cells of a run: this process, others of this machine, or those of a Ray cluster."""
