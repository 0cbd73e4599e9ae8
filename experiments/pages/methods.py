"""What was done, in words: the paragraphs under a report's Methods, one kind for each command."""

from collections.abc import Iterable, Mapping, Sequence

from experiments.pages import numbers

TUNED = (
  "Every arm of a study gets the same grid of learning rates on tuning seeds; the best mean wins, a tie goes to the"
  " smaller rate, and a best rate on the edge makes the grid grow for all arms alike, three times at most. A"
  " grid of one rate is fixed: nothing is tuned then."
)
PAIRED = (
  "Seeds are paired across arms: one seed means the same batches and the same start of all shared parameters. Test and"
  " validation data are separate streams."
)
LOST = (
  "A run that diverged counts with the worst that it stands for: accuracy 0, or its untrained loss. A run that failed"
  " is no score: what needs its number has no answer."
)
CLAIMS = (
  "Each claim has one primary test, its minimum effect and its level written down before its reporting seeds are"
  f" drawn. {TUNED} The chosen rate then runs on fresh reporting seeds. {PAIRED}"
)
VERDICTS = (
  "An effect is a paired difference in the document's direction. Its bounds come from the exact sign-flip test at the"
  " row's one-sided level, .05 divided by the number of primary tests of its group; the 95 % interval is printed"
  " beside them. A claim is reproduced when the lower bound exceeds the minimum effect, refuted when the upper bound"
  " stays below it, inconclusive otherwise, and conditional only when two cells named beforehand come out opposite and"
  " their interaction passes. A claim of equality needs the whole interval inside its margin, and in the same run a"
  " known difference that falls outside."
)

Used = Iterable[tuple[str, int]]  # (method, number of values) of intervals


def intervals(used: Used) -> str:
  """The methods behind some intervals in words: "exact sign-flip"; "" for none."""
  from experiments.protocol import stats  # scipy: not at start

  found = [(method, n) for method, n in used if method != "none"]
  if len({method for method, _ in found if method.startswith("t")}) > 1:  # of several measures: said once for all
    found = [("t within each measure's range" if method.startswith("t") else method, n) for method, n in found]
  return "; ".join(dict.fromkeys(stats.said(method, n) for method, n in found))


def assayed(rows: Sequence[Mapping]) -> list[str]:
  """Of `assay reproduce`: the protocol of the claims, and where it had to leave the exact test."""
  few = [row["id"] for row in rows if any(test.get("rule") == "T" for test in row.get("tests") or ())]
  student = f" Too few seeds for the exact test, so decided by Student's t (rule T): {', '.join(few)}." if few else ""
  return [CLAIMS, f"{VERDICTS}{student} {LOST}"]


def trained(seed: int, split: str) -> list[str]:
  """Of `assay train`: one model, nothing to compare."""
  return [
    f"One model, trained with seed {seed} at the learning rate of its config and measured on the {split} split while it"
    " trained. One seed tells no spread: there are no intervals."
  ]


def swept(seeds: Sequence[int], splits: Iterable[str], used: Used) -> list[str]:
  """Of `assay sweep`: nothing is tuned."""
  rates = (
    "Every point runs at the learning rate of its own config; nothing is tuned. Points run on the same seeds,"
    f" {_range(seeds)}, and are measured on the {' and '.join(sorted(set(splits)))} split. {PAIRED}"
  )
  said = intervals(used)
  how = f"95 % intervals of the mean: {said}." if said else "One seed tells no spread: there are no intervals."
  return [rates, f"{how} Points are not tested against each other. {LOST}"]


def compared(
  metric: str, *, rates: Sequence[float], tuning: Sequence[int], reporting: Sequence[int], used: Used
) -> list[str]:
  """Of `assay compare`: tuned over `rates` on seeds of their own, or, where there is a single one, at that rate."""
  tried = ", ".join(numbers.short(rate) for rate in sorted(rates))
  tuned = f"{TUNED} Rates tried: {tried}, on seeds {_range(tuning)} and the validation split, by {metric}."
  fixed = f"All arms run at the one learning rate given, {tried}; nothing is tuned."
  fresh = f"Arms are judged on fresh seeds, {_range(reporting)}, and the test split."
  effect = (
    "An effect is the mean of the differences from the first arm, paired by seed. Its 95 % interval:"
    f" {intervals(used) or 'none, for want of numbers'}; p is two-sided, of the same test."
  )
  return [f"{tuned if len(rates) > 1 else fixed} {fresh} {PAIRED}", f"{effect} {LOST}"]


def _range(seeds: Sequence[int]) -> str:
  first, last = min(seeds), max(seeds)
  return f"{first}" if first == last else f"{first} to {last}"
