"""Items of `assay list`, in the contract's fields."""

from typing import Any

from experiments.protocol import glossary
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
  """One task as `list tasks` shows it; floor and ceiling are those of its default options."""
  from model.build import make

  built = make("tasks", {"kind": item["kind"]}, package="train")
  return {
    "kind": item["kind"],
    "file": item["file"],
    "summary": item["summary"].splitlines()[0] if item["summary"] else "",
    "floor": built.floor,
    "ceiling": built.ceiling,
    "exact_entropy": built.exact_entropy,
    "needs": list(built.needs),
    "options": item["options"],
  }
