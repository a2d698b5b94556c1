"""Benchmarks: a folder each, with `main.py`, its parts and its results; `python -m benchmarks --list` says what each asks.

What several of them use lies beside this file: `machine` writes results with date, machine and command, `records` keeps
runs that take hours, `synthetic_engine` draws without a model, `vllm_on_cpu` makes real vLLM run on a CPU.
"""
