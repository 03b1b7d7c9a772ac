"""Benchmarks. Each measures beside its baseline, in the same run and in turns with it, and writes what it found to
docs/benchmarks with the machine, the versions and the commit.

To add one: a module with a `Benchmark` in it, and its line in `bench/__main__.py`.
"""
