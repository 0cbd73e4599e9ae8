"""Short CPU trials compile with other options than XLA's own, where that takes less time and the steps do not suffer.

Most attention models of one or two layers do without the fusion emitters, which are most of the compiler's time, and
their steps stay as fast. Recurrent networks and the rest need the emitters and lose nothing by less optimization.
Backends other than the CPU keep their compiler's settings. No pass is switched off: without fusion and its emitters XLA
drew other random numbers (seen on CPU with jax 0.10).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from model import build

Options = Mapping[str, bool | int | str]

STEPS, DEPTH = 500, 2  # trials up to so many steps compile longer than they run; deeper stacks are deep
LEVEL: Options = {"xla_backend_optimization_level": 1}
QUICK: Options = {"xla_cpu_use_fusion_emitters": False, **LEVEL}
SIMPLE = ("dot", "banded")  # two layers of these fare well without the emitters


def options(config: Mapping[str, Any]) -> Options:
  """What the programs of a trial are compiled with; nothing is the compiler's own."""
  model = config["model"]
  if jax.default_backend() != "cpu" or config["train"]["steps"] > STEPS:
    return {}
  if _is_recurrent(model["kind"]) or model["depth"] > (DEPTH if model["attention"]["kind"] in SIMPLE else 1):
    return LEVEL
  return QUICK


def _is_recurrent(kind: str) -> bool:
  """Whether a model.kind of ours is built of cells; of a user's nothing is known."""
  return ":" not in kind and build.resolve("models", kind).built_of == "cells"


class Brief:
  """A jitted function whose programs are compiled with these options, one for each set of argument shapes."""

  def __init__(self, jitted: Any, options: Options):
    self.jitted, self.options = jitted, options
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
      return lowered.compile(compiler_options=dict(self.options))
    except jax.errors.JaxRuntimeError as error:
      if "option" not in str(error).lower():
        raise
      return lowered.compile()  # another version of the compiler, which does not know these options
