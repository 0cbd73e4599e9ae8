"""From a claim and its samples to a verdict: the one place where `reproduced` and `refuted` are decided.

The level of every test is .05 over the number of primary tests its group declares, so a verdict never depends on what
else was run.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.protocol.claim import Check, Citation, Claim

VERDICTS = ("reproduced", "conditional", "refuted", "inconclusive", "definition", "untested")
FAMILY = 0.05  # chance of a false verdict in a whole group, per direction


def level(group_claims: Iterable[Claim]) -> float:
  """One-sided level of each primary test: .05 / m, with m the group's empirical and measured rows, run or not."""
  return FAMILY / max(1, sum(claim.nature in ("empirical", "measured") for claim in group_claims))


def verdict(
  claim: Claim, samples: Mapping[str, Sequence[float]] | None, alpha: float, edge: bool = False
) -> dict[str, Any]:
  """Decide a claim: {"verdict", "condition", "reason", "tests"}.

  `samples` None (or a claim without an experiment) is `untested`. `edge`: the best learning rate of an arm still lies
  on the edge of the grid after its extension, which leaves any result inconclusive. Raises KeyError for a sample that
  the test names and the evidence did not bring.
  """
  if claim.experiment is None or samples is None:
    reason = f"no experiment has been run; it needs {_article(claim.evidence)}"
    return {"verdict": "untested", "condition": None, "reason": reason, "tests": []}
  from experiments.protocol.assess import assess  # scipy, which the command line must not wait for

  found = assess(claim.experiment.test, samples, alpha)
  tests = [dataclasses.asdict(result) for result in found.results]
  identity = isinstance(claim.experiment, Check | Citation) and claim.experiment.identity
  word = {
    "above": "definition" if identity else "reproduced",
    "below": "refuted",
    "conditional": "conditional",
    "unclear": "inconclusive",
  }[found.outcome]
  reason = "; ".join(_figures(found.results[index]) for index in found.decisive)
  if word == "inconclusive":
    reason = "; ".join(part for part in (found.note, reason) if part)
  if edge:
    reason = f"grid: the best learning rate stays on the edge of the grid after its extension ({reason})"
    return {"verdict": "inconclusive", "condition": None, "reason": _sentence(reason), "tests": tests}
  return {"verdict": word, "condition": found.condition, "reason": _sentence(reason), "tests": tests}


def _figures(result) -> str:
  """One clause about one test: its effect, the bound that decides, and what it was held against."""
  name = f"{result.name} [{result.cell}]" if result.cell else result.name
  if result.rule == "EXACT":
    low, high = result.ci
    if result.problem:
      return f"{name}: {result.problem}"
    span = f"all {result.n} values" if result.n > 1 else "the value"
    extent = _number(low) if low == high else f"{_number(low)} to {_number(high)}"
    miss = "" if result.passed else f", outside by up to {_number(result.effect)}"
    return f"{name}: {span} at {extent}{miss}"
  if result.problem:
    return f"{name}: {result.problem} (n = {result.n})"
  held = f"margin {_number(result.minimum_effect)}" if result.rule == "TOST" else _number(result.minimum_effect)
  figures = f"{name}: effect {_number(result.effect)}"
  where = f"n = {result.n}, one-sided level {_number(result.alpha)}"
  where += ", by Student's t: too few for the exact test" if result.rule == "T" else ""
  low, high = (_number(bound) for bound in result.bound)
  if result.rule == "TOST":
    relation = {"above": "inside", "below": "outside"}.get(result.outcome, "neither inside nor outside")
    text = f"{figures}, bounds {low} and {high} {relation} the {held}"
  elif result.outcome == "above":
    text = f"{figures}, lower bound {low} above the minimum effect {held}"
  elif result.outcome == "below":
    text = f"{figures}, upper bound {high} below the minimum effect {held}"
  else:
    text = f"{figures}, bounds {low} and {high} enclose the minimum effect {held}"
  if result.outcome == "unclear" and result.detectable is not None and math.isfinite(result.detectable):
    where += f", minimum detectable effect {_number(result.detectable)} at 80 % power"
  return f"{text} ({where})"


def _number(value: float) -> str:
  return f"{value:.3g}"


def _article(evidence: str) -> str:
  return f"a {evidence}" if evidence != "citation" else "a table of sources"


def _sentence(text: str) -> str:
  return text if text.endswith(".") else f"{text}."
