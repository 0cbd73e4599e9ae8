"""Claims as data: what a document states, where, and the experiment that can refute it.

A claim names one kind of evidence, one primary test and its minimum effect. It never names the verdict: that is
computed by `experiments.protocol.verdict` from samples and the test. Nothing here imports jax.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from model.errors import Refused

NATURES = ("exact", "empirical", "measured", "cited", "paper_scale")
TIERS = ("exact", "quick", "small", "long", "gpu")


class Literature(NamedTuple):
  """A published number beside ours; `checked` is False when it is quoted from memory."""

  value: str
  unit: str
  source: str
  checked: bool = False


# ---------------------------------------------------------------------------------------------------------------------
# Tests: data-only rules over samples. A sample is a named list of numbers, one per unit (seed, shape, process).
# For trials the name is the arm ("heads=4"), or "arm:measure" for another measure of the same trials.


@dataclasses.dataclass(frozen=True)
class Bound:
  """Every number of a sample lies in [low, high]: the rule EXACT for checks, tables and inspections."""

  sample: str
  low: float = -float("inf")
  high: float = float("inf")


@dataclasses.dataclass(frozen=True)
class Contrast:
  """Rule PERM: the weighted sum of samples, paired by seed, exceeds `above` (the minimum effect).

  The interval of the per-seed sums is inverted from the exact sign-flip test at the row's one-sided level.
  """

  name: str
  weights: Mapping[str, float]
  above: float = 0.0


@dataclasses.dataclass(frozen=True)
class Equivalent:
  """Rule TOST: the contrast lies inside +-margin, while the contrast `worse` (a known difference) does not."""

  contrast: Contrast
  margin: float
  worse: Contrast


@dataclasses.dataclass(frozen=True)
class All:
  """A compound claim: every part passes at the row's level."""

  parts: tuple["Test", ...]


@dataclasses.dataclass(frozen=True)
class Moderated:
  """Two cells of a moderator named beforehand.

  Opposite outcomes, with the interaction passing (None where both cells are exact), make the row conditional.
  """

  moderator: str
  cells: Mapping[str, "Test"]
  interaction: Contrast | None = None


Test = Bound | Contrast | Equivalent | All | Moderated


def names(test: Test) -> set[str]:
  """Every sample that a test reads, by its name."""
  match test:
    case Contrast():
      return set(test.weights)
    case Equivalent():
      return names(test.contrast) | names(test.worse)
    case All():
      return set().union(*(names(part) for part in test.parts))
    case Moderated():
      cells = set().union(*(names(cell) for cell in test.cells.values()))
      return cells | (names(test.interaction) if test.interaction else set())
    case _:
      return {test.sample}


def greater(better: str, worse: str, by: float, name: str = "") -> Contrast:
  """The paired difference `better` - `worse` exceeds `by`; a negative `by` states non-inferiority."""
  if better == worse:
    raise Refused(f"greater({better!r}, {worse!r}) compares a sample with itself; name two")
  return Contrast(name or f"{better} > {worse}", {better: 1.0, worse: -1.0}, by)


def interaction(first: tuple[str, str], second: tuple[str, str], by: float, name: str) -> Contrast:
  """(first[0] - first[1]) - (second[0] - second[1]) exceeds `by`."""
  weights: dict[str, float] = {}
  for sample, weight in zip((*first, *second), (1.0, -1.0, -1.0, 1.0), strict=True):
    weights[sample] = weights.get(sample, 0.0) + weight
  return Contrast(name, weights, by)


def slope(samples: tuple[str, ...], x: tuple[float, ...], by: float, name: str) -> Contrast:
  """The least-squares slope of the samples over x, one slope per seed, exceeds `by`."""
  if len(set(samples)) < len(samples) or len(samples) != len(x) or len(set(x)) < 2:
    raise Refused(f"slope of {samples} over {x}: give each sample once, one x to each, and two that differ")
  center = sum(x) / len(x)
  spread = sum((value - center) ** 2 for value in x)
  return Contrast(name, {s: (value - center) / spread for s, value in zip(samples, x, strict=True)}, by)


# ---------------------------------------------------------------------------------------------------------------------
# Evidence: where the samples come from.


class At(NamedTuple):
  """Where an arm stands in a picture: at the number `x` on the line of its `group`; x None: it differs in kind."""

  x: float | None = None
  group: str = ""


@dataclasses.dataclass(frozen=True)
class Study:
  """One sweep under the protocol: every arm gets the same learning-rate grid on tuning seeds, then fresh seeds.

  `arms` maps an arm's name to overrides of the card ({"model.heads": 4}); `tiers` maps a tier to overrides that all
  arms share (its steps, its sizes). `metric` is what the learning rate is chosen by and what an arm's sample holds.
  The measure "window" is the metric's mean over the rates of `window`, the same for all arms: what a model is worth
  when nobody tunes its rate (Wortsman et al. 2023 call it sensitivity).
  """

  name: str
  card: str
  arms: Mapping[str, Mapping[str, object]]
  metric: str
  tiers: Mapping[str, Mapping[str, object]]
  grid: tuple[float, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
  better: str = "max"
  probes: tuple[str, ...] = ()
  window: tuple[float, ...] = ()  # rates at which the reporting seeds run too, for the measure "window"
  tuning: tuple[int, ...] = (0, 1, 2)
  reporting: tuple[int, ...] = tuple(range(100, 112))
  lean: tuple[str, ...] = ()  # the arms that the quick tier runs; all when empty
  x: str = ""  # what the arms vary, for the report's axis ("heads", "key width")
  at: Mapping[str, At] = dataclasses.field(default_factory=dict)  # arms along that axis; else by the key named like x

  def arms_at(self, tier: str) -> Mapping[str, Mapping[str, object]]:
    """The arms that run at a tier: all of them, or the lean ones at quick."""
    chosen = self.lean if tier == "quick" and self.lean else tuple(self.arms)
    return {name: self.arms[name] for name in chosen}


@dataclasses.dataclass(frozen=True)
class Check:
  """A pure function `experiments.claims.<module>.<function>` -> {sample: numbers}; identity: a matter of wording."""

  run: str
  test: Test
  tiers: tuple[str, ...] = ("exact",)
  identity: bool = False


@dataclasses.dataclass(frozen=True)
class Trial:
  """Samples are a study's metric (or "arm:measure") on the reporting seeds and the test split."""

  study: Study
  test: Test


@dataclasses.dataclass(frozen=True)
class Probe(Trial):
  """Samples are what `experiments.probes.<name>` read from the trained models: "arm:probe.name.key"."""


@dataclasses.dataclass(frozen=True)
class Bench:
  """A measured function `experiments.bench.<module>.<function>` -> {sample: numbers}, one per fresh process."""

  run: str
  test: Test
  tiers: tuple[str, ...] = ("small",)


@dataclasses.dataclass(frozen=True)
class Citation:
  """A table of sources; `samples` holds what was counted in it."""

  table: tuple[tuple[str, ...], ...]
  samples: Mapping[str, tuple[float, ...]]
  test: Test
  identity: bool = False
  tiers: tuple[str, ...] = ("exact",)


Evidence = Check | Trial | Probe | Bench | Citation


KINDS = {"check": Check, "trial": Trial, "probe": Probe, "bench": Bench, "citation": Citation}
EVIDENCE = tuple(KINDS)
NATURE_OF = {"check": "exact", "trial": "empirical", "probe": "empirical", "bench": "measured", "citation": "cited"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
  """One row of the ledger.

  `place` is document + item ("D2a-5"); `statement` is our paraphrase (at most 30 words). `evidence` is the kind of the
  experiment, and is given only while that is None: it then says which kind the row will need. `nature` is what such
  evidence usually is, and is given where it is another: a check whose samples are drawn is empirical.
  """

  id: str
  document: str
  place: str
  statement: str
  measure: str
  nature: str = ""
  evidence: str = ""
  experiment: Evidence | None = None
  contradicts: tuple[str, ...] = ()
  literature: tuple[Literature, ...] = ()
  note: str = ""  # what the reader must know beside the verdict: scope, matching, caveats

  def __post_init__(self):
    """What follows from the experiment's type need not be said."""
    evidence = self.evidence or next((kind for kind, of in KINDS.items() if type(self.experiment) is of), "")
    object.__setattr__(self, "evidence", evidence)
    object.__setattr__(
      self, "nature", self.nature or next((of for kind, of in NATURE_OF.items() if kind == evidence), "")
    )

  @property
  def group(self) -> str:
    """The part of the id before the first hyphen."""
    return self.id.split("-")[0]

  @property
  def tiers(self) -> tuple[str, ...]:
    """Tiers at which this row can run, in order; empty while untested."""
    if self.experiment is None:
      return ()
    own = self.experiment.study.tiers if isinstance(self.experiment, Trial) else self.experiment.tiers
    return tuple(tier for tier in TIERS if tier in own)

  def tier_for(self, requested: str) -> str | None:
    """The largest own tier that `requested` includes (exact < quick < small < long; gpu stands apart)."""
    if requested == "gpu":
      return "gpu" if "gpu" in self.tiers else None
    reach = TIERS[: TIERS.index(requested) + 1]
    within = [tier for tier in self.tiers if tier in reach]
    return within[-1] if within else None
