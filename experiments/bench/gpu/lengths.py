"""The bench `attention_growth` at an accelerator's sizes: time and memory by length, in each process once."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from experiments.bench import attention_growth, growth
from experiments.bench.attention_growth import Size, Subject
from experiments.bench.gpu import parts
from experiments.bench.gpu.figures import figure

SUBJECTS = (
  Subject("naive"),
  Subject("dot", {"kind": "dot"}),
  Subject("dot blockwise", {"kind": "dot"}, 1024),
  Subject("banded window=256", {"kind": "banded", "window": 256}),
  Subject("linear", {"kind": "linear"}),
)
LENGTHS, TINY_LENGTHS = (1024, 4096, 16384), (32, 64)
SIZE, TINY_SIZE = Size(batch=1, heads=8, head_dim=64, rule="causal"), Size(1, 2, 8, "causal")
REPEATS, TINY_REPEATS = 7, 2
LIMIT = 0.8  # of the device's memory: what needs more beside its inputs is skipped

Cells = Mapping[int, Mapping[str, Mapping[str, Any]]]  # by length and subject


def measure(request: parts.Request) -> Iterator[dict[str, Any]]:
  """All that is known, each time another length is measured."""
  jax.config.update("jax_enable_compilation_cache", False)  # compiling is timed
  cells: dict[int, Mapping[str, Mapping[str, Any]]] = {}
  for event in attention_growth.one(asked(request)):
    if event["event"] == "measured":
      cells[event["length"]] = event["cells"]
      yield {"figures": _figures(cells, _note(request)), "details": {"left_out": _left_out(cells)}}


def asked(request: parts.Request) -> dict[str, Any]:
  """The bench's own request for one process."""
  tiny = request["tiny"]
  return {
    "process": request["process"],
    "processes": request["processes"],
    "subjects": SUBJECTS,
    "lengths": TINY_LENGTHS if tiny else LENGTHS,
    "size": TINY_SIZE if tiny else SIZE,
    "repeats": TINY_REPEATS if tiny else REPEATS,
    "limit_bytes": LIMIT * (request["memory_bytes"] or attention_growth.LIMIT * 2**30),
  }


def _note(request: parts.Request) -> str:
  sizes = ", ".join(f"{name} {value}" for name, value in asked(request)["size"]._asdict().items())
  return f"forward and backward, float32 as the backend multiplies it, {sizes}"


def _figures(cells: Cells, note: str) -> list[dict[str, Any]]:
  """Time, memory and compile time of each subject, and their exponents between successive lengths."""
  found = []
  for subject in SUBJECTS:
    known = {length: of[subject.name] for length, of in cells.items() if of[subject.name]["status"] == "done"}
    for length, cell in known.items():
      where = f"{subject.name}, {length} tokens"
      found += [
        figure(f"time of {where}", 1e3 * statistics.median(cell["seconds"]), "ms", f"{note}; a process's median"),
        figure(f"memory of {where}", cell["memory_bytes"] / 2**20, "MiB", f"{note}; by the compiler's count"),
        figure(f"compiling {where}", cell["compile_seconds"], "s", note),
      ]
    found += _exponents(subject.name, known, note)
  return found


def _exponents(name: str, known: Mapping[int, Mapping[str, Any]], note: str) -> Sequence[dict[str, Any]]:
  found = []
  for pair in itertools.pairwise(sorted(known)):
    span = f"{name}, {pair[0]} to {pair[1]} tokens"
    seconds = [statistics.median(known[length]["seconds"]) for length in pair]
    sizes = [known[length]["memory_bytes"] for length in pair]
    found.append(figure(f"exponent of time, {span}", growth.exponent(pair, seconds), "1", note))
    if all(sizes):
      found.append(figure(f"exponent of memory, {span}", growth.exponent(pair, sizes), "1", note))
  return found


def _left_out(cells: Cells) -> list[str]:
  """What was not timed, and why."""
  return [
    f"{name}, {length} tokens: {cell['status']}: {cell['reason']}"
    for length, of in cells.items()
    for name, cell in of.items()
    if cell["status"] != "done"
  ]
