"""What an accelerator that comes for ten minutes can tell: `python -m experiments.bench.gpu OUT`.

It needs jax, flax, optax, numpy and what they bring; no network, and neither ml_collections nor datasets.
Configurations come resolved, from `python -m experiments.bench.gpu.prepare OUT/inputs`, run where `configs` can be
imported. PyTorch, pytest and jinja2 are used where they are installed, and missed in words where they are not. Each
part runs in a process of its own, so that one which crashes, or runs out of memory or time, costs its own figures.
"""
