"""Several tasks on one trunk: what ``pretune multitask`` is made of."""
