"""How time and memory grow with length, from timed processes: v ~ n^exponent, locally and over the top octaves.

The unit of an interval is a process: each gives one exponent, and Student's t joins them. Memory is what the compiler
counts, equal in every process.
"""

import itertools
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.errors import Refused

OCTAVES = 2  # an exponent is fitted over lengths from the longest down to the longest / 2^OCTAVES
LEVEL = 0.025  # on each side: intervals of 95 %

# One subject at one length in one process: status, reason, seconds of each call, the compiler's time and memory.
Cell = dict[str, Any]
Found = dict[int, list[dict[str, Cell]]]  # by length, process and subject


def lengths(text: str) -> list[int]:
  """The lengths in order, each once."""
  parts = text.split(",")
  if not all(part.strip().isdecimal() and 0 < int(part) <= 2**20 for part in parts):
    raise Refused(f"--lengths={text} are no lengths; give numbers from 1 to {2**20}, such as --lengths=512,1024,2048")
  return sorted({int(part) for part in parts})


def row(name: str, found: Found, naive: str, reference: str) -> dict[str, Any]:
  """A subject's lengths, growth of time and memory, and compile time as a multiple of the reference's."""
  found = {length: processes for length, processes in found.items() if processes}
  compiling = [
    ratio for processes in found.values() for ratio in _ratios(processes, name, reference, "compile_seconds")
  ]
  return {
    "name": name,
    "lengths": [_length(length, processes, name, naive) for length, processes in found.items()],
    "time": _growth(_series(found, name, "seconds")),
    "memory": _growth(_series(found, name, "memory_bytes")[:1]),
    f"compile_over_{reference}": _median(compiling),
  }


def _length(length: int, processes: Sequence[dict[str, Cell]], name: str, naive: str) -> dict[str, Any]:
  """Medians over processes of a process's medians; ratios are paired by process."""
  cells = [process[name] for process in processes]
  shown = next((cell for cell in cells if cell["status"] == "done"), cells[0])
  by_process = _known(cells, "seconds")
  return {
    "length": length,
    "status": shown["status"],
    "reason": shown["reason"],
    "seconds": _median(by_process),
    "seconds_by_process": by_process,
    "over_naive": _median(_ratios(processes, name, naive, "seconds")),
    "memory_bytes": shown.get("memory_bytes"),
    "output_bytes": shown.get("output_bytes"),
    "memory_over_naive": _median(_ratios(processes, name, naive, "memory_bytes")),
    "compile_seconds": _median(_known(cells, "compile_seconds")),
  }


def _growth(series: Sequence[dict[int, float]]) -> dict[str, Any]:
  """Exponents between successive lengths and over the top octaves, with intervals over processes."""
  measured = sorted({length for one in series for length in one})
  local = [{"from": pair[0], "to": pair[1], **_exponent(series, pair)} for pair in itertools.pairwise(measured)]
  return {"local": local, "fitted": {"lengths": top(measured), **_exponent(series, top(measured))}}


def _exponent(series: Sequence[dict[int, float]], lengths: Sequence[int]) -> dict[str, Any]:
  whole = [one for one in series if len(lengths) > 1 and all(one.get(length) for length in lengths)]
  slopes = [exponent(lengths, [one[length] for length in lengths]) for one in whole]
  return interval(slopes) if slopes else {"value": None, "ci": None, "method": "none", "n": 0}


def exponent(lengths: Sequence[int], values: Sequence[float]) -> float:
  """The least-squares slope of log value over log length; of two lengths log(v2 / v1) / log(n2 / n1)."""
  x, y = ([math.log(number) for number in side] for side in (lengths, values))
  center_x, center_y = sum(x) / len(x), sum(y) / len(y)
  spread = sum((one - center_x) ** 2 for one in x)
  return sum((one - center_x) * (other - center_y) for one, other in zip(x, y, strict=True)) / spread


def top(lengths: Sequence[int]) -> list[int]:
  """The lengths of the top octaves, where the leading term rules: the last two at least, none if there is only one."""
  lengths = sorted(lengths)
  longest = [length for length in lengths if length * 2**OCTAVES >= lengths[-1]]
  return longest if len(longest) > 1 else lengths[-2:] if len(lengths) > 1 else []


def interval(values: Sequence[float]) -> dict[str, Any]:
  """Mean and 95 % t interval over processes; one process says nothing of the spread, and gets the whole line."""
  from experiments.protocol import stats

  low, high, method = stats.t_interval(values, LEVEL)
  return {"value": sum(values) / len(values), "ci": [low, high], "method": method, "n": len(values)}


def _series(found: Found, name: str, fact: str) -> list[dict[int, float]]:
  """Per process the figure at every length for which it has one."""
  count = max((len(processes) for processes in found.values()), default=0)
  series: list[dict[int, float]] = [{} for _ in range(count)]
  for length, processes in found.items():
    for one, process in zip(series, processes, strict=False):
      if known := _known([process[name]], fact):
        one[length] = known[0]
  return series


def _ratios(processes: Sequence[dict[str, Cell]], name: str, other: str, fact: str) -> list[float]:
  """Ours over the other's, one per process in which both have the figure."""
  pairs = [(_known([process[name]], fact), _known([process[other]], fact)) for process in processes]
  return [ours[0] / theirs[0] for ours, theirs in pairs if ours and theirs and theirs[0]]


def _known(cells: Sequence[Cell], fact: str) -> list[float]:
  """The figure of each cell that has it; of several calls their median."""
  values = [cell.get(fact) for cell in cells]
  return [statistics.median(v) if isinstance(v, list) else v for v in values if v is not None and v != []]


def _median(values: Sequence[float]) -> float | None:
  return statistics.median(values) if values else None


def notes(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
  """What was not measured, and why, in one line per subject and reason."""
  for one in rows:
    left = [entry for entry in one["lengths"] if entry["status"] != "done"]
    for (status, reason), entries in itertools.groupby(left, lambda entry: (entry["status"], entry["reason"])):
      where = ", ".join(str(entry["length"]) for entry in entries)
      yield f"{one['name']} at {where}: {status}: {reason}"


def table(rows: Sequence[Mapping[str, Any]], reference: str):
  """A rich table: time and memory by length, each with its multiple of naive; exponents with intervals; compiling."""
  from rich.table import Table

  shown = Table(box=None)
  lengths = [f"T={entry['length']}" for entry in rows[0]["lengths"]]
  for column in ("attention", *lengths, "exponents", "compile"):
    shown.add_column(column, no_wrap=column != "attention")
  for one in rows:
    growth = f"time {_grown(one['time']['fitted'])}\nmemory {_grown(one['memory']['fitted'])}"
    shown.add_row(one["name"], *map(_shown, one["lengths"]), growth, _compiled(one, reference))
  return shown


def _shown(entry: Mapping[str, Any]) -> str:
  if entry["status"] != "done":
    return entry["status"]
  seconds, size = entry["seconds"], entry["memory_bytes"] / 2**20
  time = f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
  memory = f"{size / 2**10:.3g} GiB" if size >= 1000 else f"{size:.3g} MiB"
  return f"{time}{_times(entry['over_naive'])}\n{memory}{_times(entry['memory_over_naive'])}"


def _times(ratio: float | None) -> str:
  return "" if ratio is None else f" {ratio:.2g}x"


def _grown(fitted: Mapping[str, Any]) -> str:
  if fitted["value"] is None:
    return "-"
  known = fitted["method"] != "none"
  return f"{fitted['value']:.2f}" + (f" [{fitted['ci'][0]:.2f}, {fitted['ci'][1]:.2f}]" if known else "")


def _compiled(one: Mapping[str, Any], reference: str) -> str:
  seconds = [entry["compile_seconds"] for entry in one["lengths"] if entry["compile_seconds"] is not None]
  ratio = one[f"compile_over_{reference}"]
  over = f"\n{ratio:.2g}x {reference}" if ratio is not None else ""
  return f"{statistics.median(seconds):.2f} s{over}" if seconds else "-"
