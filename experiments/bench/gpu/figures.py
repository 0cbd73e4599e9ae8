"""Measured numbers as data: a name, a unit, all values, their median and range, and the device that they are of."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Figure = dict[str, Any]


def figure(name: str, values: Sequence[float] | float, unit: str, note: str = "") -> Figure:
  """One figure; its values are of one process unless `merged` has joined several."""
  listed = [float(value) for value in (values if isinstance(values, Sequence) else [values])]
  return {"name": name, "unit": unit, "note": note, "processes": 1, **_summed(listed)}


def merged(figures: Iterable[Figure]) -> list[Figure]:
  """Figures of several processes: those of one name, unit and device become one, with the values of all."""
  found: dict[tuple, Figure] = {}
  for one in figures:
    key = (one["name"], one["unit"], one.get("device"))
    before = found.get(key)
    found[key] = one if before is None else _joined(before, one)
  return list(found.values())


def _joined(before: Mapping[str, Any], one: Mapping[str, Any]) -> Figure:
  processes = before["processes"] + one["processes"]
  return {**before, **_summed([*before["values"], *one["values"]]), "processes": processes}


def _summed(values: list[float]) -> dict[str, Any]:
  low, high = (min(values), max(values)) if values else (None, None)
  middle = statistics.median(values) if values else None
  return {"values": values, "n": len(values), "median": middle, "low": low, "high": high}
