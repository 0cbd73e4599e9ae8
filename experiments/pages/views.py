"""The parts of a page as plain values: what the templates print, already put into words and digits."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence

from experiments.pages import figures, marks, methods, numbers, tables, verdicts
from experiments.pages.report import ArmData, Comparison, Report, StudyPlot

COSTS = {
  "parameters": ("parameters", ""),
  "flops": ("FLOPs a step", ""),
  "step_seconds": ("time a step", "s"),
  "memory_bytes": ("temporary memory", "B"),
}


def meta(given: Mapping) -> list[tuple[str, str]]:
  """The page's head as (name, text), in a fixed order; keys nobody foresaw come last. Calibration is one of methods."""
  known = {
    "tier": "Tier",
    "device": "Device",
    "device_name": "",
    "date": "Date",
    "seconds": "Time",
    "workdir": "Folder",
  }
  facts = []
  for key, name in known.items():
    if name and given.get(key) not in (None, ""):
      text = numbers.duration(given[key]) if key == "seconds" else numbers.plain(given[key])
      if key == "device" and given.get("device_name"):
        text += f" · {numbers.plain(given['device_name'])}"
      facts.append((name, text))
  facts += [
    (numbers.plain(key).replace("_", " ").capitalize(), numbers.plain(text))
    for key, text in sorted(given.items())
    if key not in (*known, "versions", "command", "calibration") and not isinstance(text, (dict, list, tuple))
  ]
  versions = given.get("versions") or {}
  if versions:
    facts.append(("Versions", ", ".join(f"{name} {versions[name]}" for name in sorted(versions))))
  return facts


def ways(report: Report) -> list[str]:
  """The paragraphs on methods; the last tells of the calibration, where one is known."""
  known = report.meta.get("calibration")
  paragraphs = [*(report.methods or (methods.assayed(report.rows) if report.rows else ()))]
  return [*paragraphs, f"Calibration. {known}"] if known else paragraphs


def digest(rows: Sequence[Mapping]) -> list[dict]:
  """How many claims have each verdict, each by its largest tier."""
  return [
    {"verdict": name, "count": count, "sign": verdicts.SIGNS.get(name, "·"), "meaning": verdicts.MEANINGS.get(name, "")}
    for name, count in verdicts.counts(list(verdicts.per_claim(rows).values())).items()
  ]


def _test(test: Mapping, claim: Mapping) -> dict:
  from markupsafe import Markup

  return {
    "name": test.get("name", ""),
    "rule": test.get("rule", ""),
    "n": test.get("n"),
    "exact": test.get("rule") == "EXACT",
    "figures": numbers.pretty(verdicts.figures(test)),
    "measure": verdicts.measure(test, claim),
    "comparison": verdicts.comparison(test, claim),
    "needed": numbers.pretty(verdicts.needed(test, claim)),
    "p": numbers.short(test.get("p")),
    "alpha": numbers.short(test.get("alpha")),
    "passed": test.get("passed"),
    "cell": test.get("cell") or "",
    "aside": ", ".join(str(test[key]) for key in ("cell", "role") if test.get(key) not in (None, "primary")),
    "problem": test.get("problem") or "",
    "forest": Markup(marks.forest(test)),  # digits only
  }


def row(given: Mapping, claim: Mapping) -> dict:
  """A ledger row beside its claim, as table line and as folded details."""
  tests = [_test(test, claim) for test in given.get("tests") or ()]
  return {
    "id": given["id"],
    "anchor": re.sub(r"[^\w-]", "-", f"{given['id']}-{given.get('tier', '')}-{given.get('device', '')}"),
    "row": given,
    "claim": claim,
    "verdict": given.get("verdict", "untested"),
    "sign": verdicts.SIGNS.get(given.get("verdict", "untested"), "·"),
    "place": claim.get("place", ""),
    "statement": claim.get("statement", ""),
    "shown": [_test(test, claim) for test in verdicts.shown(given)],
    "tests": tests,
    "arms": [_row_arm(arm, claim) for arm in given.get("arms") or ()],
    "literature": verdicts.literature(claim),
    "seeds": verdicts.seeds(given),
    "versions": ", ".join(f"{name} {text}" for name, text in sorted((given.get("versions") or {}).items())),
    "hashes": [(name, given[f"{name}_sha256"]) for name in ("config", "code") if given.get(f"{name}_sha256")]
    + sorted((given.get("data_sha256") or {}).items()),
    "condition": given.get("condition") or "",
    "again": verdicts.again(given),
    "stale": bool(given.get("stale")),
  }


def _row_arm(arm: Mapping, claim: Mapping) -> dict:
  name = str(arm.get("name") or "")
  measure = verdicts.of_arm(name, claim)
  return {
    **arm,
    "name": name.partition(":")[0] if measure else name,
    "measure": measure,
    "mean": numbers.pretty(numbers.effect(arm.get("mean"), arm.get("ci"))),
    "lr": numbers.short(arm.get("lr")),
  }


def study(given: StudyPlot, prefix: str, best: Mapping) -> dict:
  """A study's pictures and the numbers behind them."""
  from markupsafe import Markup

  panels = figures.panels(given, prefix)
  return {
    "study": given,
    "panels": [
      {
        "caption": panel.caption,
        "note": panel.note,
        "svg": Markup(panel.svg),  # escaped by svg.tidy
        "legend": [(Markup(swatch), label) for swatch, label in panel.legend],
      }
      for panel in panels
    ],
    "arms": [_arm(arm, given) for arm in given.arms],
    "settings": [(arm.name, _settings(arm)) for arm in given.arms if arm.settings],
    "measured": numbers.capital(given.y_label or "mean"),
    "beside": numbers.capital(given.beside_label),
    "paced": any(math.isfinite(numbers.value(arm.cost.get("step_seconds"))) for arm in given.arms),
    "csv": tables.study(given),
    "claims": [(identifier, best.get(identifier)) for identifier in given.claims],
    "grouped": any(arm.group not in ("", arm.name) for arm in given.arms),
  }


def _arm(arm: ArmData, study: StudyPlot) -> dict:
  return {
    "arm": arm,
    "n": len(figures.finite(arm.values)),
    "of": len(arm.values),
    "mean": _mean(arm.values, study.within),
    "beside": _mean(arm.beside, study.beside_within),
    "lr": numbers.short(arm.chosen_lr),
    "pace": numbers.quantity(arm.cost.get("step_seconds"), "s"),
  }


def _mean(given: Sequence[float], within: tuple[float, float]) -> str:
  """Mean and interval of the seeds that have a number."""
  values = figures.finite(given)
  interval = figures.interval(values, within)
  if not values:
    return numbers.NONE
  return numbers.pretty(
    numbers.effect(statistics.fmean(values), interval if all(map(math.isfinite, interval)) else None)
  )


def _settings(arm: ArmData) -> str:
  return ", ".join(f"{key}={value}" for key, value in arm.settings.items())


def comparison(given: Comparison) -> dict:
  """One contrast of `assay compare`."""
  from markupsafe import Markup

  effect = {"effect": given.effect, "ci": given.ci, "minimum_effect": given.minimum_effect}
  return {
    "it": given,
    "figures": numbers.pretty(numbers.effect(given.effect, given.ci)) if given.n else numbers.NONE,
    "needed": numbers.pretty(numbers.short(given.minimum_effect)),
    "p": numbers.short(given.p),
    "alpha": numbers.short(given.alpha),
    "forest": Markup(marks.forest(effect)),
  }


def costs(studies: Sequence[StudyPlot]) -> dict | None:
  """Parameters, FLOPs, step time and memory of every arm, each beside its ratio to the first arm."""
  arms = [arm for study in studies for arm in study.arms if arm.cost]
  found = {key for arm in arms for key, value in arm.cost.items() if math.isfinite(numbers.value(value))}
  names = [name for name in (*COSTS, *sorted(found - {*COSTS})) if name in found]
  if not names:
    return None
  lines = []
  for arm in arms:
    cells = []
    for name in names:
      ours, first = numbers.value(arm.cost.get(name)), numbers.value(arms[0].cost.get(name))
      ratio = f"×{numbers.number(ours / first)}" if arm is not arms[0] and first and math.isfinite(ours / first) else ""
      text = numbers.number(ours) if 1 <= ours < 1e6 and name == "parameters" else numbers.quantity(ours, _unit(name))
      cells.append((text, ratio))
    lines.append((arm.name, cells))
  heads = [COSTS.get(name, (name.replace("_", " "), ""))[0] for name in names]
  rows = [(arm.name, *(numbers.value(arm.cost.get(name)) for name in names)) for arm in arms]
  units = [f"{head} ({_unit(name)})" if _unit(name) else head for head, name in zip(heads, names, strict=True)]
  return {"heads": heads, "lines": lines, "csv": tables.link("costs", ("arm", *units), rows)}


def _unit(cost: str) -> str:
  return COSTS.get(cost, ("", ""))[1]


def contradictions(report: Report, items: Mapping, best: Mapping) -> list[dict]:
  """Given pairs, else what the claims themselves name; a pair is shown when one side of it has a row."""
  pairs = list(report.contradictions)
  if not pairs:
    named = {frozenset((a, b)): (a, b) for a in items for b in items[a].get("contradicts") or () if b in items}
    pairs = list(named.values())
  shown = []
  for first, second, *subject in pairs:
    if first in best or second in best:
      sides = [{"id": side, "claim": items.get(side, {}), "row": best.get(side)} for side in (first, second)]
      shown.append({"subject": subject[0] if subject else "", "sides": sides})
  return shown


def lost(judged: Sequence[dict]) -> list[dict]:
  """Arms of the rows with trials that did not train."""
  lines = []
  for row in judged:
    for arm in row["arms"]:
      if any(arm.get(status) for status in ("diverged", "stalled", "failed")):
        lines.append({"id": row["id"], "anchor": row["anchor"], "arm": arm})
  return lines


def untested(report: Report, items: Mapping, judged: set[str]) -> list[dict]:
  """Claims without a verdict here, in the order of the catalog."""
  reasons = {row["id"]: row.get("reason") or "" for row in report.rows if row.get("verdict") == "untested"}
  known = [*items, *(identifier for identifier in reasons if identifier not in items)]
  return [
    {"id": identifier, "claim": items.get(identifier, {}), "reason": reasons.get(identifier, "")}
    for identifier in known
    if identifier not in judged
  ]
