"""What a report shows: rows of the ledger and the studies behind them, as plain data. Nothing here imports jax.

`build.html` turns a `Report` into one offline HTML page, `page` renders LEDGER.md, README's excerpt and terminal text.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class ArmData:
  """One arm of a study. NaN stands for a seed without a number (diverged, failed): it is counted, never dropped."""

  name: str
  group: str = ""  # the variant: arms of one group form one line over x
  x: float | None = None  # the swept number; None where arms differ in kind
  values: Sequence[float] = ()  # the metric, one number per reporting seed
  curves: Sequence[Sequence[tuple[float, float]]] = ()  # per seed: (step, metric on validation)
  tuning: Sequence[tuple[float, float]] = ()  # (learning rate, mean metric over tuning seeds)
  chosen_lr: float | None = None
  edge: bool = False  # the chosen rate lies on the grid's edge
  diverged: int = 0
  stalled: int = 0
  failed: int = 0
  stale: int = 0  # trials that other code made, kept because the command asked for it
  cost: Mapping[str, float] = dataclasses.field(
    default_factory=dict
  )  # "parameters" "flops" "step_seconds" "memory_bytes"
  beside: Sequence[float] = ()  # the measure that stands beside `values`: the end beside the mean over training
  settings: Mapping[str, str] = dataclasses.field(default_factory=dict)  # the config's keys in which arms differ


@dataclasses.dataclass(frozen=True)
class StudyPlot:
  """One sweep: every arm at every seed. `floor` and `ceiling` (chance, perfect) are drawn as reference lines."""

  name: str
  title: str
  x_label: str = ""
  y_label: str = ""
  arms: Sequence[ArmData] = ()
  claims: Sequence[str] = ()  # ids of the claims that read this study
  floor: float | None = None
  ceiling: float | None = None
  within: tuple[float, float] = (-math.inf, math.inf)  # the range of the metric, which no interval leaves
  curves_within: tuple[float, float] = (-math.inf, math.inf)
  beside_label: str = ""  # of `ArmData.beside`
  beside_within: tuple[float, float] = (-math.inf, math.inf)
  curve_label: str = ""  # of the learning curves


@dataclasses.dataclass(frozen=True)
class Comparison:
  """One contrast of `assay compare`: the paired difference `name` with its 95 % interval and minimum effect."""

  name: str
  effect: float
  ci: tuple[float, float]
  minimum_effect: float = 0.0
  n: int = 0
  p: float | None = None
  alpha: float | None = None
  reason: str = ""
  measure: str = ""  # what the effect is a difference in, with the unit


@dataclasses.dataclass(frozen=True)
class Outcome:
  """One trial that did not train: status is diverged, stalled or failed."""

  study: str
  arm: str
  lr: float | None
  seed: int
  status: str
  cause: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
  """All a page shows. `rows` are ledger rows and `claims` the items of `assay list claims` (contract of both: README).

  `contradictions` holds (claim id, claim id) or (claim id, claim id, subject). `meta` may hold tier, device,
  device_name, date, seconds, command, workdir and versions (a mapping); any other key is shown as it is.
  """

  title: str
  rows: Sequence[Mapping] = ()
  claims: Sequence[Mapping] = ()
  studies: Sequence[StudyPlot] = ()
  contradictions: Sequence[tuple[str, ...]] = ()
  meta: Mapping = dataclasses.field(default_factory=dict)
  comparisons: Sequence[Comparison] = ()
  outcomes: Sequence[Outcome] = ()
  methods: Sequence[str] = ()  # paragraphs that say what was done: `methods.swept`, `.compared` or `.assayed`
