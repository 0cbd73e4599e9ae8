"""Items of `assay list`, in the contract's fields."""

import ast
from typing import Any

from configs import slots, source
from configs.source import ROOT
from experiments.protocol import glossary, scales
from experiments.protocol.claim import All, Bound, Claim, Contrast, Equivalent, Moderated, Test, Trial


def claim(one: Claim) -> dict[str, Any]:
  """One claim as `list claims` shows it."""
  experiment = one.experiment
  test = experiment.test if experiment else None
  metric = experiment.study.metric if isinstance(experiment, Trial) else ""
  return {
    "id": one.id,
    "group": one.group,
    "document": one.document,
    "place": one.place,
    "statement": one.statement,
    "nature": one.nature,
    "evidence": one.evidence,
    "tiers": list(one.tiers),
    "config": experiment.study.card if isinstance(experiment, Trial) else None,
    "measure": one.measure,
    "rule": rule(test) if test else None,
    "minimum_effect": minimum_effect(test) if test else None,
    "primary_tests": 1 if test else 0,
    "contradicts": list(one.contradicts),
    "literature": [entry._asdict() for entry in one.literature],
    "note": one.note,
    "metric": metric or None,
    "tested": glossary.tested(test, metric) if test else {},
  }


def rule(test: Test) -> str:
  """The rule's code: EXACT, PERM, TOST, and how parts are joined."""
  match test:
    case Bound():
      return "EXACT"
    case Contrast():
      return "PERM"
    case Equivalent():
      return "TOST"
    case All():
      return " and ".join(dict.fromkeys(rule(part) for part in test.parts))
    case Moderated():
      return f"{' | '.join(dict.fromkeys(rule(cell) for cell in test.cells.values()))} by {test.moderator}"


def minimum_effect(test: Test) -> float | None:
  """The first minimum effect or margin that the test names; None for exact rules."""
  match test:
    case Contrast():
      return test.above
    case Equivalent():
      return test.margin
    case All():
      return next((value for part in test.parts if (value := minimum_effect(part)) is not None), None)
    case Moderated():
      cells = (minimum_effect(cell) for cell in test.cells.values())
      return next((value for value in cells if value is not None), None)
    case _:
      return None


def kind(item: dict[str, Any]) -> dict[str, Any]:
  """One mechanism or position as the lists show it: paper and formula are the first line of its module."""
  attributes = item["attributes"]
  return {
    "kind": item["kind"],
    "file": item["file"],
    "paper": item["paper"],
    "formula": item["formula"],
    "cost_time": attributes.get("cost_time"),
    "cost_memory": attributes.get("cost_memory"),
    "options": item["options"],
    "supports": item["supports"],
  }


def task(item: dict[str, Any]) -> dict[str, Any]:
  """One task as `list tasks` shows it; floor and ceiling are those of its default options.

  One that needs an option of the user's, such as a file, is not built: its bounds are those of its class, or None.
  """
  from model.build import make, resolve

  ready = all("default" in option for option in item["options"].values())
  kind = item["kind"]
  built = make("tasks", {"kind": kind}, package="train") if ready else resolve("tasks", kind, package="train")
  return {
    "kind": kind,
    "file": item["file"],
    "summary": item["summary"].splitlines()[0] if item["summary"] else "",
    "floor": getattr(built, "floor", None),
    "ceiling": getattr(built, "ceiling", None),
    "exact_entropy": built.exact_entropy,
    "needs": list(built.needs),
    "options": item["options"],
  }


def described(family: str, kind: str) -> dict[str, Any]:
  """One kind of any family by what its file says of it."""
  item = slots.describe(family, kind)
  shown = {"kind": kind, "file": item["file"], "summary": _first(item["summary"] or ""), "definition": item["summary"]}
  about = {name: item[name] for name in ("paper", "formula") if item.get(name) and item[name] != shown["summary"]}
  costs = {name: item["attributes"].get(name) for name in ("cost_time", "cost_memory")}
  return shown | about | costs | {"options": item["options"], "supports": item.get("supports") or {}}


def models() -> list[dict[str, Any]]:
  """Every kind of model, read from the source and not imported."""
  return [described("models", kind) for kind in slots.kinds("models")]


def probes() -> list[dict[str, Any]]:
  """Every reader of trained models: what it is, and the keys it reads, as its file says."""
  found = []
  for name in scales.probes():
    path = scales.PROBES / f"{name}.py"
    tree = source.tree_of(path)
    read = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "read")
    about, text = ast.get_docstring(tree) or "", ast.get_docstring(read) or ""
    keys = list(scales.keys(name))
    item = {"name": name, "file": _below(path), "summary": _first(about), "definition": f"{about}\n\n{text}".strip()}
    found.append(item | {"keys": keys, "measures": [f"probe.{name}.{key}" for key in keys]})
  return found


def measures() -> list[dict[str, Any]]:
  """Every measure of a trial: of the loop, of judges, of slices, of the window, and of each probe."""
  file = "experiments/protocol/glossary.py"
  own = [_measure(name, entry, file) for name, entry in glossary.MEASURES.items()]
  own += [_measure("accuracy/SLICE", glossary.SLICE, file), _measure("window", glossary.WINDOW, file)]
  read = [
    {"name": name, "file": probe["file"], "label": glossary.label(name), "unit": "", "better": "", "range": None}
    | {"summary": f"read by the probe {probe['name']}: {probe['summary']}", "definition": probe["definition"]}
    for probe in probes()
    for name in probe["measures"]
  ]
  return own + read


def _measure(name: str, entry: glossary.Entry, file: str) -> dict[str, Any]:
  scale = scales.OF_A_SLICE if name.startswith(scales.SLICE) else scales.LOOP.get(name) or scales.JUDGED.get(name)
  low, high = (scale.low, scale.high) if scale else (None, None)
  item = {"name": name, "file": file, "label": entry.label.format("SLICE"), "unit": entry.unit}
  better = scale.better if scale else ""
  return item | {"better": better, "range": [low, high], "summary": entry.definition, "definition": entry.definition}


def _below(path) -> str:
  return path.relative_to(ROOT).as_posix()


def _first(text: str) -> str:
  return text.strip().partition("\n")[0]
