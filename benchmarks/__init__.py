"""aiotun beside its peers, measured: `python -m benchmarks`. README.md says how."""
