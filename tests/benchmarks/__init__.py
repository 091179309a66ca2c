"""Measured claims about speed and memory: `python -m tests.benchmarks [name ...]`, results in docs/results."""
