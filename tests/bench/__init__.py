"""Benchmarks: figures printed side by side, never asserted. `make bench` runs `python -m tests.bench.main_path`."""
