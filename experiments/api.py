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

import contextlib
import contextvars
import dataclasses
import functools
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from experiments.pages.results import Compared, Planned, Reproduced, Result, Runs, Swept, Trained
from model.errors import Refused

if TYPE_CHECKING:
  import numpy as np

  from experiments.pages.attention import Attention
  from experiments.pages.report import Report
  from experiments.protocol.claim import Claim
  from experiments.protocol.reproduce import Reproduction
  from experiments.protocol.study import Finished
  from experiments.run.runner import Options
  from experiments.run.store import Store
  from experiments.run.writing import Given as Named
  from experiments.worker.trained import Restored
  from model.language import Inputs
  from train.tasks.task import Batch

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
Given = ParamSpec("Given")
Found = TypeVar("Found")

TIERS = ("exact", "quick", "small", "long", "gpu")
MEASURES = ("accuracy", "loss", "auc", "t90_restricted", "wer", "per")  # what a sweep's table shows, where there is it
MOST_SEEDS = 10_000
BASIS = "what trials of a study took when the ledger's row was made, else the FLOPs of its models"
RATES = (1e-3, 3e-3, 1e-2, 3e-2)

_by_flags = contextvars.ContextVar("by_flags", default=False)


# ---------------------------------------------------------------------------------------------------------------------
# The verbs


def verb(function: Callable[Given, Found]) -> Callable[Given, Found]:
  """A mistake comes out as model.errors.Refused in one line; an interrupt as KeyboardInterrupt, after saving."""

  @functools.wraps(function)
  def told(*args: Given.args, **options: Given.kwargs) -> Found:
    from configs.errors import Refused as ConfigRefused
    from experiments.run.signals import Interrupted

    try:
      return function(*args, **options)
    except (Refused, ConfigRefused) as error:
      raise Refused(_spoken(" ".join(str(error).split()))) from None
    except Interrupted as stopped:
      if str(stopped) == "SIGINT":
        raise KeyboardInterrupt("SIGINT") from None
      raise

  return told


@contextlib.contextmanager
def by_flags() -> Iterator[None]:
  """Who calls from here gave flags of the command line, and refusals speak of these; else of keyword arguments."""
  before = _by_flags.set(True)
  try:
    yield
  finally:
    _by_flags.reset(before)


def _spoken(refusal: str) -> str:
  if _by_flags.get() or "--" not in refusal:
    return refusal
  from experiments.run import keywords

  return keywords.spoken(refusal)


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
    from experiments.pages import outcome, own_runs

    head = outcome.meta(_call("train", card), runner.backend, result["seconds"], workdir=str(root))
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
  from experiments.pages import outcome, own_runs
  from experiments.protocol import sweep as sweeps
  from experiments.record import corpora
  from experiments.run.progress import Progress
  from experiments.run.runner import Runner
  from experiments.run.store import opened, place

  started = time.monotonic()
  _whole("seeds", seeds, 1, MOST_SEEDS)
  options = _options(jobs, writer, keep=keep, profile=profile, keep_stale=keep_stale)
  card, given = override.located(str(card)), _settings(overrides)
  named = sweeps.points(card, given, _axes(axes))
  for config in named.values():
    corpora.present(config)
  root = place(workdir, "sweep", card)
  if dry_run:
    return _planned_sweep(named, seeds, root, jobs)
  with opened(root, {"command": "sweep", "card": card}) as store, Progress(f"sweep {card}") as progress:
    with Runner(store, options, progress) as runner:
      done = sweeps.run(card, named, seeds, "accuracy", runner)
    command = asked or _call("sweep", card, given, axes=axes, seeds=seeds)
    head = outcome.meta(command, runner.backend, time.monotonic() - started)
    page = own_runs.swept(card, done, store, head)
    report = outcome.write(root, page)
  return _swept(root, report, page, done, runner.counts)


def _planned_sweep(named: Mapping[str, dict[str, Any]], seeds: int, root: Path, jobs: int) -> Planned:
  """What a sweep of these points would run, and how long it would take."""
  from experiments.protocol import sweep as sweeps
  from experiments.run import estimate
  from train import compute

  items = sweeps.estimated(named, seeds, root)
  total = sweeps.seconds(items, jobs or compute.cores(), estimate.slowness())
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
  from experiments.pages import outcome, own_runs
  from experiments.protocol import compare as compares
  from experiments.run.progress import Progress
  from experiments.run.runner import Runner
  from experiments.run.store import opened, place

  started = time.monotonic()
  _whole("seeds", seeds, 1, MOST_SEEDS)
  options = _options(jobs, writer, profile=profile, keep_stale=keep_stale)
  _refuse_difference(delta, better)
  card, given = override.located(str(card)), _settings(overrides)
  chosen = [arm if isinstance(arm, str) else _settings(arm) for arm in _list("arms", arms)]
  named = compares.arms(card, given, chosen)
  plan = compares.plan(card, named, metric, seeds, _rates(lrs), better)
  configs = _configs(card, named)
  if warning := compares.warning(seeds):
    print(warning, file=sys.stderr)
  root = place(workdir, "compare", card)
  with opened(root, {"command": "compare", "card": card}) as store, Progress(f"compare on {card}") as progress:
    with Runner(store, options, progress) as runner:
      done, found = compares.run(plan, delta, runner)
    command = asked or _call("compare", card, chosen, given, metric=metric, seeds=seeds)
    head = outcome.meta(command, runner.backend, time.monotonic() - started)
    page = own_runs.compared(card, done, found, configs, store, head)
    report = outcome.write(root, page)
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
  _whole("jobs", jobs, 0)
  texts = [str(text) for text in claims]
  chosen = catalog.select(texts)
  if dry_run:
    return _planned(chosen, tier, jobs, workdir)
  from experiments.pages import outcome
  from experiments.protocol import reproduce as protocol
  from experiments.run.progress import Progress
  from experiments.run.runner import Runner
  from experiments.run.store import opened, place

  protocol.ready(chosen, tier)
  root = place(workdir, "reproduce", "claims")
  options = _options(jobs, profile=profile, keep_stale=keep_stale)
  with opened(root, {"command": "reproduce", "for": "claims"}) as store, Progress("reproduce") as progress:
    with Runner(store, options, progress) as runner:
      found = protocol.run(chosen, tier, runner, teller(progress) if teller else None)
    _keep_rows(store, found.rows)
    command = asked or _call("reproduce", *texts, tier=tier)
    head = outcome.meta(command, runner.backend, time.monotonic() - started, tier=tier)
    report = _claims_report(root, found, chosen, tier, store, head)
  document = {"schema": 1, "tier": tier, "workdir": str(root), "report": str(report), "claims": found.rows}
  document |= {"summary": dict(Counter(row["verdict"] for row in found.rows)), "trials": runner.counts}
  document |= {"seconds": round(time.monotonic() - started, 1)}
  complete = not (runner.counts["failed"] or _unanswered(texts, found.rows))
  return Reproduced(document, complete, lambda: outcome.read(root))


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
  from experiments.pages import outcome

  mark = outcome.fingerprint(found.rows, claims, tier)
  return outcome.drawn(root, mark) or outcome.write(root, outcome.claims_report(found, claims, store, head), mark)


def _unanswered(asked: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """The claims that were asked for by their id and have no verdict."""
  wanted = {text for text in asked if "-" in text}
  return [row["id"] for row in rows if row["verdict"] == "untested" and row["id"] in wanted]


def _planned(claims: "Sequence[Claim]", tier: str, jobs: int, workdir: Folder | None) -> Planned:
  """What a run would do, after the same examination as before a run: checks, benches and studies, and their time."""
  from experiments.protocol import ahead
  from experiments.protocol import reproduce as protocol
  from experiments.run import estimate
  from experiments.run.store import place
  from train import compute

  protocol.examined(claims, tier)
  items = ahead.items(claims, tier, place(workdir, "reproduce", "claims"))
  waiting = any(item["missing"] for item in items)
  total = ahead.seconds(items, jobs or compute.cores(), estimate.slowness() if waiting else 1.0)
  basis = f"{BASIS}; {estimate.BASIS}"
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
  from experiments.worker import trained

  warn = lambda text: print(f"warning: {text}", file=sys.stderr)  # noqa: E731
  return Model(root, key, trained.restored(root, key, config, keep_stale=keep_stale, warn=warn))


@dataclasses.dataclass(frozen=True, repr=False)
class Model:
  """A trained model. Inputs are model.language.Inputs, or rows of symbols such as [[3, 1, 2], [5, 4]]."""

  workdir: Path
  trial: str
  restored: "Restored"

  @property
  def config(self) -> Mapping[str, Any]:
    """The resolved config of the run."""
    return self.restored.config

  @property
  def step(self) -> int:
    """Training steps behind it."""
    return self.restored.step

  @property
  def task(self) -> Any:
    """The task it was trained on (train/tasks/task.py)."""
    return self.restored.task

  @property
  def module(self) -> Any:
    """The flax.nnx module itself."""
    return self.restored.model

  @functools.cached_property
  def params(self) -> "dict[str, np.ndarray]":
    """Every trained array by its path."""
    from experiments.worker import trained

    return trained.parameters(self.restored)

  @verb
  def examples(self, size: int = 4, *, seed: int = 0, split: str = "test") -> "Batch":
    """A batch of its task: inputs, targets (B, T, R), weights and slices; the same for the same seed."""
    from experiments.worker import trained

    _whole("size", size, 1)
    return trained.examples(self.restored, size, _whole("seed", seed, 0), split)

  @verb
  def predict(self, inputs: "Inputs | Iterable", *, source: Iterable | None = None) -> "np.ndarray":
    """Logits (B, T, R, V) in float32. source: rows of symbols that an encoder-decoder reads."""
    from experiments.worker import trained

    return trained.logits(self.restored, trained.inputs_of(self.restored, inputs, source))

  @verb
  def attention(self, inputs: "Inputs | Iterable", *, source: Iterable | None = None) -> "Attention":
    """Attention weights (B, H, T, S) of every place, by its name ("encoder/0"), with the tokens."""
    import numpy as np

    from experiments.pages.attention import Attention
    from experiments.worker import trained

    given = trained.inputs_of(self.restored, inputs, source)
    tokens_BTC, source_BSC = np.asarray(given.tokens_BTC), given.source_BSC
    there_BT = np.broadcast_to(np.asarray(given.positions.segment_BT) > 0, tokens_BTC.shape[:2])
    weights = trained.weights(self.restored, given)
    if source_BSC is None or given.source_positions is None:
      return Attention(weights, tokens_BTC, there_BT)
    source_BSC = np.asarray(source_BSC)
    source_there_BS = np.broadcast_to(np.asarray(given.source_positions.segment_BT) > 0, source_BSC.shape[:2])
    return Attention(weights, tokens_BTC, there_BT, source_BSC, source_there_BS)

  @verb
  def generate(
    self,
    inputs: "Inputs | Iterable",
    length: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: int | str | None = "task",
  ) -> "np.ndarray":
    """Symbols (B, length) that follow a prompt, or that answer a source.

    Args:
      inputs: the prompt; for an encoder-decoder the source (of Inputs their source).
      length: how many symbols.
      temperature: 0 takes the most probable symbol, above 0 draws from softmax(logits / temperature).
      seed: of the draws; the same seed gives the same symbols, a longer answer begins like a shorter one.
      stop: the symbol after whose first a row holds stops; None for none, "task" for the task's own, if it has one.
    """
    from experiments.worker import trained

    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature < math.inf:
      raise Refused(f"temperature={temperature!r}; allowed: 0 for the most probable symbols, or a number above")
    _whole("length", length, 1)
    end = self.task.stop if stop == "task" else stop
    if end is not None:
      _whole("stop", end, 0)
    options = {"temperature": float(temperature), "seed": _whole("seed", seed, 0), "stop": end}
    return trained.generated(self.restored, inputs, length, **options)

  def __repr__(self) -> str:
    model = self.config["model"]
    stale = f", trained by other code ({', '.join(self.restored.stale)} changed)" if self.restored.stale else ""
    return f"Model({model['kind']}, attention {model['attention']['kind']}, step {self.step}, {self.workdir}{stale})"


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

  _whole("jobs", jobs, 0)
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


def _whole(name: str, value: Any, low: int, high: int = 2**31 - 1) -> int:
  if isinstance(value, bool) or not hasattr(value, "__index__") or not low <= int(value) <= high:
    raise Refused(f"{name}={value!r}; allowed: a whole number from {low} to {high}")
  return int(value)


def _call(name: str, *args: Any, **options: Any) -> str:
  """The call as a report names it."""
  told = [repr(arg) for arg in args if arg not in ({}, None)] + [f"{key}={value!r}" for key, value in options.items()]
  return f"experiments.api.{name}({', '.join(told)})"
