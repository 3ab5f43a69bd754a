"""What is better: one file for each kind of answer, all with the promises of :mod:`pretune.metrics.base`."""
