"""Attention Assay from Python: train, sweep, compare, reproduce, runs, load. The commands are thin layers over these.

    from experiments import api

    swept = api.sweep("recall", {"train.steps": 100}, axes={"model.heads": [1, 2]}, seeds=3)
    swept.frame(), swept.plot()
    model = api.load(api.train("recall", {"model.heads": 2}).workdir)
    model.attention(model.examples(1).inputs).plot()

A config is a card's name, a path or a stored config.json, with overrides {dotted key: value}. Results lie in the same
workdirs as those of the commands, and what is stored is not run again. A mistake raises Refused with one line that says
what was received, what is allowed and what to do. Nothing here imports jax before it is needed.
"""

import dataclasses
import functools
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from configs.values import whole
from experiments.run.signals import verb
from model.errors import Refused

if TYPE_CHECKING:
  from experiments.pages.loaded import Model
  from experiments.pages.report import Report
  from experiments.protocol.claim import Claim
  from experiments.protocol.reproduce import Reproduction
  from experiments.protocol.study import Finished
  from experiments.run.runner import Options
  from experiments.run.store import Store
  from experiments.run.writing import Given as Named

__all__ = [
  "Compared",
  "Model",
  "Planned",
  "Refused",
  "Reproduced",
  "Result",
  "Runs",
  "Swept",
  "Trained",
  "compare",
  "load",
  "reproduce",
  "runs",
  "sweep",
  "train",
]

Teller = Callable[[Any], Callable[[Any, Mapping[str, Any]], None]]
Settings = Mapping[str, Any] | Iterable[str]  # {"model.heads": 2} or ["model.heads=2"]
Folder = str | Path
Writers: TypeAlias = (
  "Named | Iterable[Named]"  # "tensorboard", "wandb", "./mine.py:Mine" or a Writer of yours; one or several
)

TIERS = ("exact", "quick", "small", "long", "gpu")
MEASURES = ("accuracy", "loss", "auc", "t90_restricted", "wer", "per")  # what a sweep's table shows, where there is it
MOST_SEEDS = 10_000
RATES = (1e-3, 3e-3, 1e-2, 3e-2)


# ---------------------------------------------------------------------------------------------------------------------
# What the verbs find: a document, flat rows, a pandas frame, a figure, a page for notebooks


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
  """What a verb found. `complete` is False where a trial failed or what was asked for has no answer."""

  found: Mapping[str, Any]  # the document, with numbers as numbers
  complete: bool = True

  @property
  def document(self) -> dict[str, Any]:
    """What the command prints with --json: plain values, NaN and infinities as "nan", "inf", "-inf"."""
    from experiments.record import atomic

    return json.loads(atomic.canonical(self.found))

  @property
  def workdir(self) -> Path:
    """Where the results lie."""
    return Path(self.found["workdir"])

  @property
  def rows(self) -> list[dict[str, Any]]:
    """The lines of `frame`, as flat dicts."""
    return [flat(item) for item in self.found["items"]]

  def frame(self) -> Any:
    """A pandas DataFrame. Raises Refused where pandas is not installed."""
    from experiments.pages import frames

    return frames.frame(self.rows)

  def plot(self) -> Any:
    """A matplotlib figure. Raises Refused where there is nothing to draw."""
    raise Refused(f"{type(self).__name__} has nothing to plot; use .frame()")

  def __repr__(self) -> str:
    where = f"{self.found['workdir']}, " if "workdir" in self.found else ""
    return f"{type(self).__name__}({where}{len(self.rows)} rows{'' if self.complete else ', incomplete'})"

  def _repr_html_(self) -> str:
    from experiments.pages import frames

    return frames.table(self.rows, type(self).__name__.lower())


@dataclasses.dataclass(frozen=True, repr=False)
class Planned(Result):
  """What a dry run would do."""


@dataclasses.dataclass(frozen=True, repr=False)
class Runs(Result):
  """Stored trials: workdir, status, steps, the config keys in which they differ, measures."""


@dataclasses.dataclass(frozen=True, repr=False)
class Paged(Result):
  """A result with a report."""

  read: "Callable[[], Report] | None" = None

  @functools.cached_property
  def report(self) -> "Report":
    """What the page shows, as plain data."""
    assert self.read is not None
    return self.read()

  def plot(self) -> Any:
    """The report's pictures as one matplotlib figure, a row per study."""
    from experiments.pages import plots

    return plots.studies(self.report.studies)

  def _repr_html_(self) -> str:
    from experiments.pages import build, frames

    return frames.embedded(build.html(self.report))


@dataclasses.dataclass(frozen=True, repr=False)
class Trained(Paged):
  """One trained model: its measures; `rows` are its learning curve."""

  @property
  def rows(self) -> list[dict[str, Any]]:
    from experiments.run.store import Store

    return Store(self.workdir).curve(self.found["trial"]) if self.found["status"] != "failed" else []

  @property
  def measures(self) -> dict[str, float]:
    """Measures at the end by name."""
    return dict(self.found["measures"])

  @property
  def judged(self) -> list[str]:
    """Those of them that the task's judge took, if it was asked."""
    from experiments.run.store import Store

    if self.found["status"] == "failed" or not Store(self.workdir).config(self.found["trial"])["eval"]["judge"]:
      return []
    from experiments.protocol import scales  # most trainings have no judge

    return [name for name in self.measures if scales.decoded(name)]


@dataclasses.dataclass(frozen=True, repr=False)
class Swept(Paged):
  """One row per point: the mean of every measure, its 95 % interval and the number of runs."""

  study: "Finished | None" = None

  @property
  def rows(self) -> list[dict[str, Any]]:
    return [flat(point) for point in self.found["points"]]


@dataclasses.dataclass(frozen=True, repr=False)
class Compared(Paged):
  """`rows` has one line per arm, `differences` one per contrast with the first arm."""

  study: "Finished | None" = None

  @property
  def rows(self) -> list[dict[str, Any]]:
    return [flat(arm) for arm in self.found["arms"]]

  @property
  def differences(self) -> list[dict[str, Any]]:
    """Effect with its interval, p and what it says, for each arm against the first."""
    return [flat(item) for item in self.found["comparisons"]]

  def frame(self, of: str = "arms") -> Any:
    """The arms as a pandas DataFrame, or of="differences"."""
    from experiments.pages import frames

    if of not in ("arms", "differences"):
      raise Refused(f"of={of!r}; allowed: arms, differences")
    return frames.frame(self.rows if of == "arms" else self.differences)


@dataclasses.dataclass(frozen=True, repr=False)
class Reproduced(Paged):
  """One row per claim: its verdict and the figures behind it."""

  @property
  def rows(self) -> list[dict[str, Any]]:
    return [_claim(row) for row in self.found["claims"]]


def flat(item: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """A nested item as one line: {"config": {"optim.lr": 1}} -> {"optim.lr": 1}, {"loss": {"mean": 2}} -> {"loss": 2}.

  An interval becomes two columns, "loss low" and "loss high".
  """
  line: dict[str, Any] = {}
  for name, value in item.items():
    whole = f"{prefix} {name}".strip()
    if name in ("config", "measures", "cost") and isinstance(value, Mapping):
      line |= flat(value)
    elif isinstance(value, Mapping):
      line |= {whole: value["mean"]} if "mean" in value else {}
      line |= flat({part: inner for part, inner in value.items() if part != "mean"}, whole)
    elif name == "ci":
      line |= dict(zip((f"{prefix} low".strip(), f"{prefix} high".strip()), value, strict=True))
    else:
      line[whole] = value
  return line


def _claim(row: Mapping[str, Any]) -> dict[str, Any]:
  """A ledger row as one line, with its first test; "tests" says how many there are."""
  first = next(iter(row["tests"]), {})
  told = {name: row[name] for name in ("id", "tier", "device", "nature", "verdict", "condition")}
  test = {name: first.get(name) for name in ("name", "n", "effect", "ci", "minimum_effect", "p", "alpha")}
  test["ci"] = test["ci"] or (None, None)
  return flat(told | {"test": test.pop("name")} | test) | {"tests": len(row["tests"]), "reason": row["reason"]}


# ---------------------------------------------------------------------------------------------------------------------
# The verbs


@verb
def train(
  card: Folder,
  overrides: Settings | None = None,
  *,
  workdir: Folder | None = None,
  profile: str = "",
  keep_stale: bool = False,
  writer: Writers = (),
) -> Trained:
  """Trains one model and keeps it; what was stopped goes on, what is stored is not run again.

  Args:
    card: a card's name, path/to/card.py or a stored config.json.
    overrides: {"model.heads": 2} or ["model.heads=2"].
    workdir: where results go, ./assay-results/train-<card> by default.
    profile: a folder for a profile of the run.
    keep_stale: keep a stored result that other code made, marked stale, instead of running it again.
    writer: what else gets the trial: "tensorboard", "wandb", "./mine.py:Mine", a Writer of yours, or several.
  """
  from configs import override
  from experiments.record import corpora
  from experiments.run.cohorts import cohort_key, trial_key
  from experiments.run.progress import Progress
  from experiments.run.runner import Runner
  from experiments.run.store import opened, place

  options = _options(1, writer, keep=True, profile=profile, keep_stale=keep_stale)
  card = override.located(str(card))
  config = override.resolve(override.load(card, _settings(overrides)))
  corpora.present(config)
  key = trial_key(config, corpora.hashes(config))
  root = place(workdir, "train", card)
  with (
    opened(root, {"command": "train", "trial": key}, config) as store,
    Progress(f"train {card}") as progress,
    Runner(store, options, progress) as runner,
  ):
    result = runner.trials({key: config})[key]
  document = {"schema": 1, "workdir": str(root), "trial": key, "cohort": cohort_key(config), **result}

  def page() -> "Report":
    from experiments.pages import from_runs, own_runs

    head = from_runs.meta(_call("train", card), runner.backend, result["seconds"], workdir=str(root))
    return own_runs.trained(card, config, found.rows, head)

  found = Trained(document, result["status"] != "failed", page)
  return found


@verb
def sweep(
  card: Folder,
  overrides: Settings | None = None,
  *,
  axes: Mapping[str, Iterable[Any]] | Sequence[str] = (),
  seeds: int = 3,
  workdir: Folder | None = None,
  jobs: int = 0,
  keep: bool = False,
  profile: str = "",
  keep_stale: bool = False,
  writer: Writers = (),
  dry_run: bool = False,
  asked: str = "",
) -> Swept | Planned:
  """Runs every point of the axes, crossed, or of the card's own sweep, with so many seeds each.

  Args are those of `train`, and:
    axes: {"model.heads": [1, 2, 4]}; none for the card's own sweep().
    seeds: seeds per point.
    jobs: worker processes, 0 = one per core.
    keep: keep the final checkpoints, so that `load` gives the models of trials that run now.
    dry_run: run nothing, say what would run.
    asked: what the report names as its command.
  """
  from configs import override
  from experiments.pages import from_runs, own_runs
  from experiments.protocol import sweep as sweeps
  from experiments.record import corpora
  from experiments.run.progress import Progress
  from experiments.run.runner import Runner
  from experiments.run.store import opened, place

  started = time.monotonic()
  whole("seeds", seeds, 1, MOST_SEEDS)
  options = _options(jobs, writer, keep=keep, profile=profile, keep_stale=keep_stale)
  card, given = override.located(str(card)), _settings(overrides)
  named = sweeps.points(card, given, _axes(axes))
  for config in named.values():
    corpora.present(config)
  root = place(workdir, "sweep", card)
  if dry_run:
    return _planned_sweep(named, seeds, root, jobs, keep_stale)
  with opened(root, {"command": "sweep", "card": card}) as store, Progress(f"sweep {card}") as progress:
    with Runner(store, options, progress) as runner:
      done = sweeps.run(card, named, seeds, "accuracy", runner)
    command = asked or _call("sweep", card, given, axes=axes, seeds=seeds)
    head = from_runs.meta(command, runner.backend, time.monotonic() - started)
    page = own_runs.swept(card, done, store, head)
    report = from_runs.write(root, page)
  return _swept(root, report, page, done, runner.counts)


def _planned_sweep(named: Mapping[str, dict[str, Any]], seeds: int, root: Path, jobs: int, keep_stale: bool) -> Planned:
  """What a sweep of these points would run, and how long it would take."""
  from experiments.protocol import estimate
  from experiments.protocol import sweep as sweeps
  from train import compute

  items = estimate.points(named, sweeps.numbered(seeds), estimate.Held(root, keep_stale))
  total = estimate.points_seconds(items, jobs or compute.cores(), estimate.slowness())
  size = {"cohorts": len({item["cohort"] for item in items}), "seconds": round(total, 1)}
  return Planned({"schema": 1, "items": items, **size, "based_on": estimate.BASIS})


def _swept(root: Path, report: Path, page: "Report", done: "Finished", counts: Mapping[str, int]) -> Swept:
  """The document of a sweep: one row per point, with the measures that its trials have."""
  from experiments.protocol import sweep as sweeps

  present = [m for m in MEASURES if any(m in r["measures"] for arm in done.arms.values() for r in arm.results)]
  rows = sweeps.summary(done, present)
  document = {"schema": 1, "workdir": str(root), "report": str(report), "points": rows, "trials": counts}
  return Swept(document, not counts["failed"], lambda: page, done)


@verb
def compare(
  card: Folder,
  arms: Sequence[str | Mapping[str, Any]],
  overrides: Settings | None = None,
  *,
  metric: str = "auc",
  delta: float = 0.0,
  better: str | None = None,
  seeds: int = 12,
  lrs: str | Iterable[float] = RATES,
  workdir: Folder | None = None,
  jobs: int = 0,
  profile: str = "",
  keep_stale: bool = False,
  writer: Writers = (),
  asked: str = "",
) -> Compared:
  """Tunes two or more arms alike and tells them apart on fresh paired seeds.

  Args are those of `sweep`, and:
    arms: [{"attention": "dot"}, {"attention": "additive", "model.heads": 2}], or as on the command line.
    metric: the measure compared.
    delta: the smallest difference that matters.
    better: "max" or "min", where the measure has no known direction.
    seeds: fresh seeds per arm.
    lrs: learning rates that every arm is tuned over; a single one is fixed.
  """
  from configs import override
  from experiments.pages import from_runs, own_runs
  from experiments.protocol import compare as compares
  from experiments.run.progress import Progress
  from experiments.run.runner import Runner
  from experiments.run.store import opened, place

  started = time.monotonic()
  whole("seeds", seeds, 1, MOST_SEEDS)
  options = _options(jobs, writer, profile=profile, keep_stale=keep_stale)
  _refuse_difference(delta, better)
  card, given = override.located(str(card)), _settings(overrides)
  chosen = [arm if isinstance(arm, str) else _settings(arm) for arm in _list("arms", arms)]
  named = compares.arms(card, given, chosen)
  study = compares.as_study(card, named, metric, seeds, _rates(lrs), better)
  configs = _configs(card, named)
  if warning := compares.warning(seeds):
    print(warning, file=sys.stderr)
  root = place(workdir, "compare", card)
  with opened(root, {"command": "compare", "card": card}) as store, Progress(f"compare on {card}") as progress:
    with Runner(store, options, progress) as runner:
      done, found = compares.run(study, delta, runner)
    command = asked or _call("compare", card, chosen, given, metric=metric, seeds=seeds)
    head = from_runs.meta(command, runner.backend, time.monotonic() - started)
    page = own_runs.compared(card, done, found, configs, store, head)
    report = from_runs.write(root, page)
  return _compared(root, report, page, done, found, runner.counts)


def _refuse_difference(delta: Any, better: Any) -> None:
  if not (isinstance(delta, int | float) and 0 <= delta < math.inf):
    raise Refused(f"delta={delta!r}; allowed: a number of at least 0")
  if better not in (None, "max", "min"):
    raise Refused(f"better={better!r}; allowed: max, min, or None where the measure says it")


def _configs(card: str, named: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """The resolved configs of arms, whose data is there."""
  from configs import override
  from experiments.record import corpora

  configs = {name: override.resolve(override.load(card, shared=settings)) for name, settings in named.items()}
  for config in configs.values():
    corpora.present(config)
  return configs


def _compared(
  root: Path, report: Path, page: "Report", done: "Finished", found: list[dict[str, Any]], counts: Mapping[str, int]
) -> Compared:
  """The document of a comparison: its contrasts, and its arms with their cost."""
  from experiments.pages import own_runs
  from experiments.protocol import compare as compares

  document = {"schema": 1, "workdir": str(root), "report": str(report), "comparisons": found}
  document |= {"arms": own_runs.arms(page, done), "trials": counts}
  unanswered = any(item["answer"].startswith(compares.NO_ANSWER) for item in found)
  return Compared(document, not (counts["failed"] or unanswered), lambda: page, done)


@verb
def reproduce(
  *claims: str | Path,
  tier: str = "quick",
  workdir: Folder | None = None,
  jobs: int = 0,
  profile: str = "",
  keep_stale: bool = False,
  dry_run: bool = False,
  asked: str = "",
  teller: Teller | None = None,
) -> Reproduced | Planned:
  """Claims in, verdicts out; what is stored is not run again.

  Args are those of `sweep`, and:
    claims: ids ("HEAD-1"), groups ("HEAD") or paths of claim files; none for all.
    tier: exact, quick, small, long or gpu.
    teller: given the progress shown, what gets each claim and its decision as soon as that is there.
  """
  from experiments.protocol import catalog

  started = time.monotonic()
  if tier not in TIERS:
    raise Refused(f"tier={tier!r}; allowed: {', '.join(TIERS)}")
  whole("jobs", jobs, 0)
  texts = [str(text) for text in claims]
  chosen = catalog.select(texts)
  if dry_run:
    return _planned(chosen, tier, jobs, workdir, keep_stale)
  from experiments.pages import from_runs
  from experiments.protocol import measures
  from experiments.protocol import reproduce as protocol
  from experiments.run.progress import Progress
  from experiments.run.runner import Runner
  from experiments.run.store import opened, place

  measures.ready(chosen, tier)
  root = place(workdir, "reproduce", "claims")
  options = _options(jobs, profile=profile, keep_stale=keep_stale)
  with opened(root, {"command": "reproduce", "for": "claims"}) as store, Progress("reproduce") as progress:
    with Runner(store, options, progress) as runner:
      found = protocol.run(chosen, tier, runner, teller(progress) if teller else None)
    _keep_rows(store, found.rows)
    command = asked or _call("reproduce", *texts, tier=tier)
    head = from_runs.meta(command, runner.backend, time.monotonic() - started, tier=tier)
    report = _claims_report(root, found, chosen, tier, store, head)
  document = {"schema": 1, "tier": tier, "workdir": str(root), "report": str(report), "claims": found.rows}
  document |= {"summary": dict(Counter(row["verdict"] for row in found.rows)), "trials": runner.counts}
  document |= {"seconds": round(time.monotonic() - started, 1)}
  complete = not (runner.counts["failed"] or _unanswered(texts, found.rows))
  return Reproduced(document, complete, lambda: from_runs.read(root))


def _keep_rows(store: "Store", rows: Sequence[Mapping[str, Any]]) -> None:
  """Adds rows to the workdir's ledger; what is damaged in it is told and set aside."""
  from experiments.ledger import ledger
  from experiments.run.store import told

  path = store.root / "ledger.jsonl"
  held, faults = ledger.salvage(path)
  if faults:
    lost = {f"ledger.jsonl:{line}": damage for line, damage in faults.items()}
    print(f"warning: {told('rows', lost, 'be made again when their claims are asked for')}", file=sys.stderr)
    store.set_aside(path)
  ledger.write(path, ledger.combine(held, rows))


def _claims_report(
  root: Path, found: "Reproduction", claims: "Sequence[Claim]", tier: str, store: "Store", head: Mapping[str, Any]
) -> Path:
  """The report's page: the one that is there where it shows these rows already, else a new one."""
  from experiments.pages import from_runs

  mark = from_runs.fingerprint(found.rows, claims, tier)
  return from_runs.drawn(root, mark) or from_runs.write(root, from_runs.claims_report(found, claims, store, head), mark)


def _unanswered(asked: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """The claims that were asked for by their id and have no verdict."""
  wanted = {text for text in asked if "-" in text}
  return [row["id"] for row in rows if row["verdict"] == "untested" and row["id"] in wanted]


def _planned(claims: "Sequence[Claim]", tier: str, jobs: int, workdir: Folder | None, keep_stale: bool) -> Planned:
  """What a run would do, after the same examination as before a run: checks, benches and studies, and their time."""
  from experiments.protocol import estimate, measures
  from experiments.run.store import place
  from train import compute

  measures.examined(claims, tier)
  items = estimate.items(claims, tier, estimate.Held(place(workdir, "reproduce", "claims"), keep_stale))
  waiting = any(item["missing"] for item in items)
  total = estimate.seconds(items, jobs or compute.cores(), estimate.slowness() if waiting else 1.0)
  basis = f"{estimate.PACES}; {estimate.BASIS}"
  return Planned({"schema": 1, "items": items, "seconds": round(total, 1), "based_on": basis})


@verb
def runs(*workdirs: Folder, where: str = "") -> Runs:
  """The stored trials of workdirs, by default of all under ./assay-results.

  Args:
    workdirs: folders of earlier verbs, or a folder that holds such folders.
    where: a condition such as "model.heads>=4 and status=done" (experiments/run/where.py).
  """
  from experiments.run import workdirs as stored

  if wrong := [folder for folder in workdirs if not isinstance(folder, str | Path)]:
    raise Refused(f"runs received the folder {wrong[0]!r}; allowed: paths one by one, as in runs(*folders)")
  return Runs({"schema": 1, "items": stored.listed(stored.found(workdirs), where)})


@verb
def load(workdir: Folder, trial: str = "", *, keep_stale: bool = False) -> "Model":
  """The trained model of a workdir of `train`, or of one trial of a sweep that kept its checkpoints.

  Args:
    workdir: the workdir, or WORKDIR/trials/KEY.
    trial: the trial's key, where the workdir holds several; `runs(workdir)` lists them.
    keep_stale: take a model that other code trained, as far as its checkpoint fits today's.

  Raises:
    Refused: no such trial, no result, no checkpoint, damaged files, or code that has changed since.
  """
  from experiments.run import workdirs

  root, key, config = workdirs.trial(Path(workdir), trial)
  from experiments.pages.loaded import Model
  from experiments.worker import trained

  warn = lambda text: print(f"warning: {text}", file=sys.stderr)  # noqa: E731
  return Model(root, key, trained.restored(root, key, config, keep_stale=keep_stale, warn=warn))


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


def _settings(given: Settings | None) -> dict[str, Any]:
  """Overrides as {dotted key: value}."""
  if given is None:
    return {}
  if isinstance(given, Mapping):
    return {str(key): _plain(value) for key, value in given.items()}
  pairs = {}
  for text in [given] if isinstance(given, str) else given:
    key, equals, value = str(text).removeprefix("--config.").partition("=")
    if not equals or not key.strip():
      raise Refused(f"override {text!r} is not key=value; give {{'model.heads': 4}} or ['model.heads=4']")
    pairs[key.strip()] = value.strip()
  return pairs


def _axes(given: Mapping[str, Iterable[Any]] | Sequence[str]) -> Mapping[str, Any] | Sequence[str]:
  if not isinstance(given, Mapping):
    return _list("axes", given)
  several = {key: value for key, value in given.items() if not isinstance(value, str) and isinstance(value, Iterable)}
  return {str(key): [_plain(one) for one in several[key]] if key in several else given[key] for key in given}


def _plain(value: Any) -> Any:
  """Numbers and arrays of numpy as Python's."""
  return value.tolist() if hasattr(value, "tolist") else value


def _options(jobs: int, writer: Writers = (), **more: Any) -> "Options":
  """How to run, checked before anything is made."""
  from experiments.run.runner import Options

  whole("jobs", jobs, 0)
  if not writer:
    return Options(jobs=jobs, **more)
  from experiments.run import writing

  return Options(jobs=jobs, writers=writing.chosen(writer), **more)


def _list(name: str, given: Any) -> list:
  if isinstance(given, str) or not isinstance(given, Iterable):
    raise Refused(f"{name}={given!r}; allowed: a list, such as ['attention=dot', ...]")
  return list(given)


def _rates(given: str | Iterable[float]) -> str:
  """Learning rates as the command line has them."""
  if isinstance(given, str):
    return given
  rates = [given] if isinstance(given, int | float) else list(given)
  return ",".join(rate if isinstance(rate, str) else repr(float(rate)) for rate in rates)


def _call(name: str, *args: Any, **options: Any) -> str:
  """The call as a report names it."""
  told = [repr(arg) for arg in args if arg not in ({}, None)] + [f"{key}={value!r}" for key, value in options.items()]
  return f"experiments.api.{name}({', '.join(told)})"


def __getattr__(name: str) -> Any:
  """`api.Model`, imported once somebody asks for it: no verb but `load` needs it."""
  if name == "Model":
    from experiments.pages.loaded import Model

    return Model
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
