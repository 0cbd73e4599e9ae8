"""What a worker does with one request: train a pack, call a check or a bench; every outcome is told, none is lost."""

import ast
import contextlib
import importlib
import traceback
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import jax

from experiments import pack as packs
from experiments import stamp
from experiments.cohorts import Pack
from experiments.store import Store
from model.errors import Refused

Tell = Callable[..., Any]


def one(root: Path, request: dict[str, Any], cohorts: MutableMapping[str, Any], *, keep: bool, stop, tell: Tell) -> str:
  """Serves one request; returns "done", "stopped", "failed" or "refused"."""
  try:
    if request["kind"] == "call":
      tell(event="called", name=request["name"], samples=call(request["name"], request["prefix"]))
      return "done"
    return _train(root, request, cohorts, keep=keep, stop=stop, tell=tell)
  except Refused as refusal:
    tell(event="refused", message=str(refusal))
    return "refused"
  except (Exception, SystemExit, KeyboardInterrupt) as error:  # a class that ends the program ends its own trials
    cause = _cause(error)
    with contextlib.suppress(OSError), (root / "crash.txt").open("a") as crash:
      crash.write(traceback.format_exc())
    if request["kind"] == "pack":
      packs.fail(Store(root), _pack(request), cause, stamp.code)
      tell(event="failed", keys=request["keys"], cause=cause)
    else:
      tell(event="call_failed", name=request["name"], cause=cause)
    return "failed"


def call(name: str, prefix: str) -> dict[str, list[float]]:
  """Samples of the function `<prefix>.<module>.<function>`, called with the arguments that stand behind its name."""
  named, _, given = name.partition("(")
  module, function = named.rsplit(".", 1)
  pairs = ast.parse(f"f({given or ')'}", mode="eval").body.keywords  # pyright: ignore[reportAttributeAccessIssue]
  arguments = {pair.arg: ast.literal_eval(pair.value) for pair in pairs}
  samples = getattr(importlib.import_module(f"{prefix}.{module}"), function)(**arguments)
  return {key: [float(value) for value in values] for key, values in samples.items()}


def _train(root: Path, request, cohorts, *, keep: bool, stop, tell: Tell) -> str:
  pack = _pack(request)
  if pack.cohort not in cohorts:
    tell(event="compiling", cohort=pack.cohort)
    cohorts[pack.cohort] = packs.prepare(pack.configs[0])
  finished = packs.run(
    Store(root),
    pack,
    cohorts[pack.cohort],
    stamp=lambda config: stamp.code(config) | stamp.device() | {"pack_width": len(pack.keys)},
    keep=keep,
    stop=stop,
    progress=lambda step: tell(event="step", keys=request["keys"], step=step),
    warn=lambda text: tell(event="warning", text=text),
  )
  tell(event="done" if finished else "stopped", keys=request["keys"])
  return "done" if finished else "stopped"


def _pack(request: dict[str, Any]) -> Pack:
  return Pack(request["cohort"], tuple(request["keys"]), tuple(request["configs"]))


def _cause(error: BaseException) -> str:
  text = " ".join(str(error).split())[:300]
  if isinstance(error, MemoryError) or (isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in text):
    return f"out of memory; use a smaller train.batch, model.block > 0 or fewer --jobs ({text})"
  return f"{type(error).__name__}: {text}"
