"""What every page says about a row: its verdict, its deciding test, its figures as text."""

from collections.abc import Mapping, Sequence

from experiments.pages import numbers
from experiments.protocol import glossary, repeats, replication
from experiments.protocol.claim import TIERS
from experiments.protocol.verdict import VERDICTS as ORDER

NOTHING: Mapping = {}
SIGNS = {"reproduced": "✓", "conditional": "◐", "refuted": "✗", "inconclusive": "?", "definition": "≡", "untested": "○"}
MEANINGS = {
  "reproduced": "the effect exceeds the minimum stated beforehand",
  "conditional": "it holds in one of two cells named beforehand and fails in the other",
  "refuted": "the effect stays below the minimum stated beforehand",
  "inconclusive": "the interval holds the minimum effect: more evidence is needed",
  "definition": "an identity or a matter of wording; nothing empirical",
  "untested": "no verdict yet",
}
GROUPS = {
  "MECH": "the mechanism",
  "POS": "positions",
  "RES": "residual connections",
  "NORM": "layer normalization",
  "FFN": "feed-forward layers",
  "COMP": "components together",
  "HEAD": "number of heads",
  "SCALE": "the scale 1/√d",
  "ADD": "dot product against additive",
  "QK": "separate projections",
  "RNN": "recurrent networks against transformers",
  "CTX": "context length and cost",
  "OPT": "schedules, divergence, overfitting",
  "DROP": "dropout",
  "PRE": "pre-training",
  "TL": "transfer",
  "GB": "GPT against BERT",
  "G2P": "spelling to sound",
  "MT": "translation",
}


def group(identifier: str) -> str:
  """The part of an id before its first hyphen."""
  return identifier.split("-")[0]


def counts(rows: Sequence[Mapping]) -> dict[str, int]:
  """Rows per verdict, in the pages' order; a verdict of another name comes last."""
  found = [row.get("verdict", "untested") for row in rows]
  return {name: found.count(name) for name in (*ORDER, *sorted({*found} - {*ORDER})) if name in found}


def deciding(row: Mapping) -> Mapping:
  """The test that settles the verdict: the first primary one that did not pass, else the first; {} without tests."""
  tests = [test for test in row.get("tests") or () if test.get("role", "primary") == "primary"]
  tests = tests or list(row.get("tests") or ())
  return next((test for test in tests if not test.get("passed")), tests[0] if tests else {})


def shown(row: Mapping) -> list[Mapping]:
  """What a line about a row prints: its deciding test, or both cells of a conditional one."""
  primary = [test for test in row.get("tests") or () if test.get("role", "primary") == "primary"]
  if row.get("verdict") == "conditional" and primary:
    return primary
  decided = deciding(row)
  return [decided] if decided else []


def figures(test: Mapping) -> str:
  """A test's effect with its 95 % interval; for an exact test the span of its values."""
  if test.get("rule") == "EXACT" and test.get("ci"):
    low, high = (numbers.short(end) for end in test["ci"])
    return low if low == high else f"{low} … {high}"
  return numbers.effect(test.get("effect"), test.get("ci"))


def needed(test: Mapping, claim: Mapping = NOTHING) -> str:
  """What the effect was held against: `> 0.1`, `within ±0.05`, `≤ 0.001`; "" where nothing says it."""
  minimum = test.get("minimum_effect")
  if minimum is None:
    return _told(test, claim).get("needed", "")
  return f"within ±{numbers.short(minimum)}" if test.get("rule") == "TOST" else f"> {numbers.short(minimum)}"


def measure(test: Mapping, claim: Mapping) -> str:
  """What the figures of a test are of, with the unit: "accuracy, mean over training"; else the test's own name."""
  told = _told(test, claim)
  return told.get("measure") or told.get("what") or test.get("name", "")


def comparison(test: Mapping, claim: Mapping) -> str:
  """What a test sets side by side, without what `measure` says already: "heads=4 > heads=1"; "" for nothing more."""
  told = _told(test, claim)
  return told.get("what", "") if told.get("measure") else ""


def named(test: Mapping, claim: Mapping, *, briefly: bool = False) -> str:
  """`accuracy, mean over training (heads=4 > heads=1): 0.628 [0.599, 0.646], needed > 0.1`; briefly: no comparison."""
  more = "" if briefly else comparison(test, claim)
  said = measure(test, claim) + (f" ({more})" if more else "")
  held, cell = needed(test, claim), test.get("cell") or ""
  cell = "" if cell.lower() in said.lower() else cell
  return (f"{cell}: " if cell else "") + f"{said}: {figures(test)}" + (f", needed {held}" if held else "")


def of_arm(name: str, claim: Mapping) -> str:
  """The measure that an arm's figures are of; "" where its name says it."""
  return glossary.label(name.partition(":")[2] or claim["metric"], claim["metric"]) if claim.get("metric") else ""


def _told(test: Mapping, claim: Mapping) -> Mapping[str, str]:
  return (claim.get("tested") or {}).get(test.get("name", ""), {})


def again(row: Mapping) -> list[str]:
  """How likely fresh seeds give the verdict again, and what replications that were run said; [] where neither."""
  chance, told = repeats.expected(row), replication.told(row)
  likely = "" if chance is None else f"again with probability {chance:.2f}"
  return [text for text in (likely, f"replicated: {told}" if told else "") if text]


def per_claim(rows: Sequence[Mapping]) -> dict[str, Mapping]:
  """One row per claim: its largest tier, and there the device that sorts first."""
  best: dict[str, Mapping] = {}
  for row in sorted(rows, key=lambda row: (row["id"], -tier(row), str(row.get("device")))):
    best.setdefault(row["id"], row)
  return best


def tier(row: Mapping) -> int:
  """The place of a row's tier; -1 for a tier unknown here."""
  return TIERS.index(row["tier"]) if row.get("tier") in TIERS else -1


def literature(claim: Mapping) -> list[str]:
  """Published numbers of a claim as text; what nobody looked up says so."""
  texts = []
  for entry in claim.get("literature") or ():
    unit = f" {entry['unit']}" if entry.get("unit") else ""
    mark = "" if entry.get("checked") else " (from memory)"
    texts.append(f"{numbers.plain(entry.get('value', ''))}{unit}: {numbers.plain(entry.get('source', ''))}{mark}")
  return texts


def seeds(row: Mapping) -> str:
  """`tuning 0–2, reporting 100–111`; "" where a row has no seeds."""
  parts = []
  for name in ("tuning", "reporting"):
    given = (row.get("seeds") or {}).get(name)
    if given:
      low, high = min(given), max(given)
      parts.append(f"{name} {low}" if low == high else f"{name} {low}–{high}")
  return ", ".join(parts)
