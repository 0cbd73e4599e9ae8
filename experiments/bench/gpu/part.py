"""The process of one part: a request on stdin, what is found in the file that it names, whole at every moment."""

import importlib
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.bench.gpu.parts import Skipped
from experiments.record import atomic
from model.errors import Refused
from train import compute


def main() -> int:
  """Runs `measure` of the module asked for; a part that is skipped or refused ends with 0 and says so in its file."""
  request = json.load(sys.stdin)
  found: dict[str, Any] = {"figures": [], "details": {}, "problems": [], "skipped": ""}
  path = Path(request["result"])
  if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    compute.cache_compiled()
  try:
    for event in importlib.import_module(request["module"]).measure(request):
      _take(found, event)
      atomic.write_json(path, found)
  except Skipped as reason:
    found["skipped"] = " ".join(str(reason).split())
  except Refused as refusal:
    found["problems"].append(" ".join(str(refusal).split()))
  except Exception as error:
    traceback.print_exc()  # for the log
    found["crash"] = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    atomic.write_json(path, found)
    return 1
  atomic.write_json(path, found)
  return 0


def _take(found: dict[str, Any], event: Mapping[str, Any]) -> None:
  """Adds what a part yields: {"figures": [...], "details": {...}, "problems": [...]}, each if there are any."""
  taken = {one["name"] for one in event.get("figures", ())}
  kept = [one for one in found["figures"] if one["name"] not in taken]
  found["figures"] = kept + [
    one if "device" in one else {**one, "device": _device()} for one in event.get("figures", ())
  ]
  found["details"] |= event.get("details", {})
  found["problems"] += event.get("problems", ())


def _device() -> str:
  """The platform that jax computes on in this process."""
  import jax

  return jax.default_backend()


if __name__ == "__main__":
  code = main()
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)  # libraries of two frameworks in one process have crashed at exit; all that was found is on disk
