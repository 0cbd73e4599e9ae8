"""The committed evidence: one JSON row per (claim, tier, device), sorted, written whole or not at all."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from experiments.protocol.claim import Claim
from experiments.record import atomic, digest
from model.errors import Refused

SCHEMA = 1
DIGITS = 10  # significant digits kept: the last bits of a sum differ between processors
QUOTES = "'\""
MARKS = ("<!-- ledger excerpt begin -->", "<!-- ledger excerpt end -->")

Row = dict[str, Any]
Render = Callable[[Sequence[Row]], str]


def committed() -> Path:
  """Where the ledger of this repository lies."""
  return Path(__file__).resolve().parent / "ledger.jsonl"


def key(row: Mapping) -> tuple[str, str, str]:
  """What identifies a row, and the order of the file."""
  return str(row["id"]), str(row["tier"]), str(row["device"])


def arm(
  name: str,
  values: Sequence[float],
  *,
  lr: float | None = None,
  lr_on_edge: bool = False,
  diverged: int = 0,
  stalled: int = 0,
  within: tuple[float, float] | None = None,
) -> Row:
  """One entry of a row's `arms`: mean and 95 % interval of its reporting seeds, with how many failed.

  `within` is the range of the measure, which no interval leaves.
  """
  from experiments.protocol import stats  # scipy, which the command line must not wait for

  usable = len(values) > 0 and not any(math.isnan(x) for x in values) and not {math.inf, -math.inf} <= set(values)
  mean = math.fsum(values) / len(values) if usable else math.nan
  found = stats.interval(values, 0.025) if usable else stats.Interval(math.nan, math.nan, "none")
  ci = (stats.within(found, *within) if within and usable else found)[:2]
  return {
    "name": name,
    "lr": lr,
    "lr_on_edge": lr_on_edge,
    "n": len(values),
    "mean": mean,
    "ci": list(ci),
    "diverged": diverged,
    "stalled": stalled,
  }


def row(
  claim: Claim,
  tier: str,
  device: str,
  verdict: Mapping[str, Any],
  *,
  arms: Sequence[Mapping] = (),
  seeds: Mapping[str, Sequence[int]] | None = None,
  configs_tried: int = 1,
  config_sha256: str = "",
  code_files: Iterable[str] = (),
  code_sha256: str | None = None,
  data_sha256: Mapping[str, str] | None = None,
  trials: Iterable[str] = (),
  stale: bool = False,
  look: Mapping[str, Any] | None = None,
  versions: Mapping[str, str] | None = None,
  run: Mapping[str, object] | None = None,
) -> Row:
  """A row of schema 1. `verdict` is what `experiments.protocol.verdict.verdict` returned.

  `code_files` (relative to the repository) is recorded so that `check` can tell a stale row; `code_sha256` is their
  digest now unless a stored trial's digest is given. Only `run` may vary between honest reruns.
  """
  from experiments.protocol.verdict import VERDICTS

  if verdict["verdict"] not in VERDICTS:
    raise ValueError(f"verdict {verdict['verdict']!r} is none of {VERDICTS}")
  files = sorted(set(code_files))
  made = {
    "schema": SCHEMA,
    "id": claim.id,
    "tier": tier,
    "device": device,
    "nature": claim.nature,
    "verdict": verdict["verdict"],
    "condition": verdict["condition"],
    "reason": verdict["reason"],
    "arms": [dict(entry) for entry in arms],
    "tests": verdict["tests"],
    "seeds": {name: list(numbers) for name, numbers in (seeds or {}).items()},
    "configs_tried": configs_tried,
    "config_sha256": config_sha256,
    "code_files": files,
    "code_sha256": code_sha256 if code_sha256 is not None else digest.code_sha256(files),
    "data_sha256": dict(data_sha256 or {}),
    "trials": sorted(trials),
    "stale": stale,
    "look": dict(look) if look else None,
    "versions": dict(versions or {}),
    "run": dict(run or {}),
  }
  return rounded(made)


def rounded(value: Any) -> Any:
  """The value with every float at DIGITS significant digits and every sequence a list; NaN and infinities stay."""
  if isinstance(value, Mapping):
    return {str(name): rounded(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [rounded(item) for item in value]
  value = value.item() if hasattr(value, "item") else value  # a NumPy scalar
  return float(f"{value:.{DIGITS}g}") if isinstance(value, float) and abs(value) < 1e300 else value


def numbers(value: Any) -> Any:
  """What was read, with "nan", "inf" and "-inf" as floats again."""
  if isinstance(value, dict):
    return {name: numbers(item) for name, item in value.items()}
  if isinstance(value, list):
    return [numbers(item) for item in value]
  return float(value) if value in ("nan", "inf", "-inf") else value


def dumps(rows: Iterable[Mapping]) -> str:
  """The rows as JSON lines: sorted by key, keys sorted, one line each, each sealed by the hash of the rest of it."""
  return "".join(atomic.canonical(atomic.sealed(r)) + "\n" for r in sorted(rows, key=key))


def read(path: Path, *, old: bool = True) -> list[Row]:
  """Rows of a file in its order, without their seals; [] where there is none.

  Raises Refused (a ValueError) with the line for what is no row or was changed. A file none of whose rows has a
  checksum is read as it is where `old` allows it: `assay ledger render` gives it some.
  """
  rows, faults = salvage(path)
  unsealed = [fault for fault in faults.values() if isinstance(fault, atomic.Unsealed)]
  if old and faults and len(unsealed) == len(faults) and not rows:
    return [_entry(line, None) for line in _lines(path)]
  for index, fault in faults.items():
    raise Refused(f"{path}:{index} is damaged: {fault}; take the file from where it is whole, or run its claims again")
  return rows


def salvage(path: Path) -> tuple[list[Row], dict[int, atomic.Damaged]]:
  """The rows that are as they were written, and what is wrong with the other lines, by number."""
  rows, faults, seen = [], {}, set()
  try:
    found = _lines(path)
  except atomic.Damaged as damage:
    return [], {0: damage}
  for index, line in enumerate(found, 1):
    try:
      entry = _entry(line, atomic.unsealed)
      if key(entry) in seen:
        raise atomic.Damaged(f"a second row of {'/'.join(key(entry))}")
      seen.add(key(entry))
      rows.append(entry)
    except atomic.Damaged as damage:
      faults[index] = damage
  return rows, faults


def _lines(path: Path) -> list[str]:
  try:
    text = atomic.decoded(atomic.read_bytes(path))
  except FileNotFoundError:
    return []
  if text and not text.endswith("\n"):
    text += "(cut short)"  # no JSON any more
  return text.split("\n")[: -1 if text.endswith("\n") else None]


def _entry(line: str, opened: Callable[[str], dict] | None) -> Row:
  """A row from its line; raises Damaged, of an unsealed line only where it is no row either."""
  try:
    entry = numbers(json.loads(line))
    key(entry)
    if entry.get("schema") != SCHEMA:
      raise atomic.Damaged(f"schema {entry.get('schema')}, this version reads {SCHEMA}")
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
    raise atomic.Damaged(f"no ledger row ({type(fault).__name__})") from fault
  return numbers(opened(line)) if opened else entry


def write(path: Path, rows: Iterable[Mapping]) -> None:
  """Replace the file: a reader sees the old rows or the new ones, also after a power cut. Keys must be unique."""
  rows = list(rows)
  if len({key(r) for r in rows}) < len(rows):
    raise ValueError(f"{path}: two rows share one (id, tier, device)")
  atomic.write_text(path, dumps(rows))


def combine(old: Iterable[Mapping], new: Iterable[Mapping]) -> list[Row]:
  """New rows take the place of old ones with their key; another config for a key is one more configuration tried.

  An untested row never displaces a verdict, and goes once its claim has one at any tier. An early look never displaces
  a later one at the same seeds by the same code.
  """
  rows = {key(r): dict(r) for r in old}
  for fresh in new:
    held = rows.get(key(fresh))
    if held and (fresh["verdict"] == "untested" != held["verdict"] or _looked_less(fresh, held)):
      continue
    tried = fresh["configs_tried"]
    if held:
      tried = max(tried, held["configs_tried"] + (held["config_sha256"] != fresh["config_sha256"]))
    kept = {"replications": held["replications"]} if held and "replications" in held else {}
    rows[key(fresh)] = {**kept, **fresh, "configs_tried": tried}
  decided = {r["id"] for r in rows.values() if r["verdict"] != "untested"}
  return sorted((r for r in rows.values() if r["verdict"] != "untested" or r["id"] not in decided), key=key)


def _looked_less(fresh: Mapping, held: Mapping) -> bool:
  """Whether `held` is the same row at a later look."""
  numbers = [(row.get("look") or {}).get("number", 1) for row in (fresh, held)]
  return numbers[0] < numbers[1] and all(fresh[name] == held[name] for name in ("config_sha256", "code_sha256"))


def merge(workdir: Path, path: Path | None = None) -> list[Row]:
  """Merge WORKDIR/ledger.jsonl, and what WORKDIR/replications.jsonl says of rows, into the committed file."""
  from experiments.protocol import replication

  path = path or committed()
  rows = combine(read(path), read(workdir / "ledger.jsonl", old=False))
  again = {key(r): r for r in read(workdir / "replications.jsonl", old=False)}
  rows = [replication.with_entry(r, replication.entry(r, again[key(r)])) if key(r) in again else r for r in rows]
  write(path, rows)
  return rows


def with_excerpt(text: str, summary: str) -> str:
  """The text (README) with `summary` between its two marks. Raises ValueError where a mark is missing."""
  begin, found, rest = text.partition(MARKS[0])
  _, closed, end = rest.partition(MARKS[1])
  if not found or not closed:
    raise ValueError(f"no place for the ledger's excerpt: put {MARKS[0]} and {MARKS[1]} around it")
  return f"{begin}{MARKS[0]}\n{summary.strip()}\n{MARKS[1]}{end}"


def check(
  ids: Iterable[str],
  *,
  path: Path | None = None,
  page: tuple[Path, Render] | None = None,
  readme: tuple[Path, Render] | None = None,
) -> list[str]:
  """What is wrong with the committed ledger, one line each; [] when nothing is. Whether rows are stale: see `stale`.

  `ids`: every claim that must have a row. `page` and `readme`: a file and the function that renders it, or its excerpt,
  from the rows; both are compared byte for byte.
  """
  path = path or committed()
  try:
    rows, wanted = read(path), set(ids)
  except Refused as damage:
    return [str(damage)]
  text = path.read_text(encoding="utf-8") if path.exists() else ""
  present = {str(r["id"]) for r in rows}
  found = [f"{claim}: no row in {path.name}" for claim in sorted(wanted - present)]
  found += [f"{claim}: a row in {path.name}, but no such claim" for claim in sorted(present - wanted)]
  if text != dumps(rows):
    found.append(f"{path.name} is not in its canonical form: run `assay ledger render`")
  if page and (not page[0].exists() or page[0].read_text(encoding="utf-8") != page[1](rows)):
    found.append(f"{page[0].name} is out of date: run `assay ledger render`")
  if readme:
    shown = readme[0].read_text(encoding="utf-8") if readme[0].exists() else ""
    if MARKS[0] not in shown or MARKS[1] not in shown or with_excerpt(shown, readme[1](rows)) != shown:
      found.append(f"{readme[0].name}: the ledger's excerpt is out of date: run `assay ledger render`")
  return found


class Stamp(Protocol):
  """What a row would be stamped with if it were made today."""

  @property
  def files(self) -> Sequence[str]: ...
  @property
  def config_sha256(self) -> str: ...
  @property
  def trials(self) -> Sequence[str]: ...


def stale(
  rows: Iterable[Row], now: Callable[[Row], Stamp | None] = lambda row: None, base: Path | None = None
) -> dict[tuple[str, str, str], str]:
  """Rows that today's code or claims would not stamp so, by key, and why.

  `now(row)` says what they would stamp it with; None for a row of no claim of ours, KeyError for one whose claim has
  lost what the row is of. Without it only the files that a row names are looked at.
  """
  known: dict[tuple[str, ...], str] = {}
  reasons = ((key(entry), _stale(entry, base or digest.root(), now, known)) for entry in rows)
  return {name: reason for name, reason in reasons if reason}


def _stale(entry: Row, base: Path, now: Callable[[Row], Stamp | None], known: dict[tuple[str, ...], str]) -> str:
  """Why the row is stale, "" when it is not; `known` keeps digests, as many rows share their files."""
  if entry["verdict"] == "untested":
    return ""
  if entry["stale"]:
    return "built from stale trials"
  files = tuple(entry["code_files"])
  gone = [file for file in files if not (base / file).is_file()]
  if gone:
    return f"its code is gone ({', '.join(gone)})"
  if files not in known:
    known[files] = digest.code_sha256(files, base)
  if known[files] != entry["code_sha256"]:
    return "its code has changed"
  try:
    wanted = now(entry)
  except KeyError as missing:
    return f"its claim has changed: no {str(missing).strip(QUOTES)} any more"
  return _told_apart(entry, wanted) if wanted else ""


def _told_apart(entry: Row, wanted: Stamp) -> str:
  """In what the row's stamp is not today's."""
  beside = sorted(set(wanted.files) - set(entry["code_files"]))
  if beside:
    return f"its digest leaves out {', '.join(beside)}"
  if list(wanted.files) != entry["code_files"]:
    return f"it no longer uses {', '.join(sorted(set(entry['code_files']) - set(wanted.files)))}"
  if list(wanted.trials) != entry["trials"]:
    return "the configs or the data of its trials have changed"
  return "its claim has changed" if wanted.config_sha256 != entry["config_sha256"] else ""
