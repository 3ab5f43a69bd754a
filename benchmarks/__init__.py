"""Speed against plain tools, measured in turn on one machine: ``python -m benchmarks`` (see ``docs/benchmarks.md``)."""
