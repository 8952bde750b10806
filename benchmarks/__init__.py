"""Benchmarks, for anyone to repeat: ``make bench``. Figures and what they mean are in docs/benchmarks.md."""
