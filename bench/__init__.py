"""Benchmarks: each is run by `python -m bench.<name>` and prints ratios measured in one run."""
