"""Short CPU trials of small models compile with less optimization, which takes less time.

A step of plain attention keeps its time. Elsewhere it does not pay: the steps of an LSTM and of hashed attention become
slower, and a deep stack compiles no sooner. Backends other than the CPU keep their compiler's settings.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

STEPS, DEPTH = 500, 2  # trials up to this size compile longer than they run
OPTIONS = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 1}


def pays(config: Mapping[str, Any]) -> bool:
  """Whether a trial of this config is short, shallow and of plain attention, on a CPU."""
  model = config["model"]
  plain = model["kind"] in ("bert", "gpt", "seq2seq") and model["attention"]["kind"] == "dot"
  return jax.default_backend() == "cpu" and plain and model["depth"] <= DEPTH and config["train"]["steps"] <= STEPS


class Brief:
  """A jitted function whose programs are compiled with `OPTIONS`, one for each set of argument shapes."""

  def __init__(self, jitted: Any):
    self.jitted = jitted
    self.programs: dict[Any, Callable] = {}

  def __call__(self, *args):
    leaves, tree = jax.tree.flatten(args)
    kind = (tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
    if kind not in self.programs:
      self.programs[kind] = self._compile(args)
    return self.programs[kind](*args)

  def _compile(self, args) -> Callable:
    lowered = self.jitted.lower(*args)
    try:
      return lowered.compile(compiler_options=OPTIONS)
    except jax.errors.JaxRuntimeError as error:
      if "option" not in str(error).lower():
        raise
      return lowered.compile()  # another version of the compiler, which does not know these options
