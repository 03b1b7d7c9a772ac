"""Benchmarks. Each measures beside its baseline, in the same run and in turns with it, and writes what it found to
docs/benchmarks with the machine, the versions and the commit.

To add one: a module with a `BENCHMARK` in it, and its name in `bench/__main__.py`. `stack.py` brings the shop up,
`servers.py` and `baselines/` what it is compared with, `load.py`, `visits_by_wrk.py` and `visits.py` ask, and `sale.py`
counts afterwards.
"""
