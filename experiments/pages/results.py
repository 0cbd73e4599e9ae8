"""What the verbs of experiments/api.py find: a document, flat rows, a pandas frame, a figure, a page for notebooks."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import Refused

if TYPE_CHECKING:
  from experiments.pages.report import Report
  from experiments.protocol.study import Finished


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
  """What a verb found. `complete` is False where a trial failed or what was asked for has no answer."""

  found: Mapping[str, Any]  # the document, with numbers as numbers
  complete: bool = True

  @property
  def document(self) -> dict[str, Any]:
    """What the command prints with --json: plain values, NaN and infinities as "nan", "inf", "-inf"."""
    import json

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
