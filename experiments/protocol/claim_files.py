"""Claims of users' files, examined whole before anything runs: every fault is one line with file, claim and field.

`faults` holds for every claim; those of this repository pass it too. Nothing here imports jax.
"""

import ast
import dataclasses
import math
import reprlib
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from configs import Refused as ConfigRefused
from configs import override, slots, userfile
from configs.values import INT_LIMIT
from experiments.protocol import catalog, measures
from experiments.protocol.claim import (
  EVIDENCE,
  KINDS,
  NATURES,
  TIERS,
  All,
  Bench,
  Bound,
  Check,
  Citation,
  Claim,
  Contrast,
  Equivalent,
  Literature,
  Moderated,
  Probe,
  Study,
  Test,
  Trial,
)
from experiments.record import digest, moved
from model.errors import Refused

BRINGS = {  # what kinds of evidence a nature can rest on
  "exact": ("check", "citation"),
  "empirical": ("check", "trial", "probe"),
  "measured": ("bench",),
  "cited": ("citation",),
  "paper_scale": ("trial", "probe", "citation"),
}
DEEPEST = 8  # tests within tests

Faults = Iterator[str]


def load(name: str) -> list[Claim]:
  """The claims of a user's file, known to the catalog from now on; Refused for the first fault in it."""
  path = slots.existing(name)
  if path is None or path.suffix != ".py":
    raise Refused(f"there is no file {name} of claims; `assay new claim NAME` writes one")
  module = _executed(path, name)
  claims = getattr(module, "CLAIMS", None)
  if not isinstance(claims, tuple | list) or not claims or not all(isinstance(claim, Claim) for claim in claims):
    raise catalog.NoClaims(f"{name} has no CLAIMS, a tuple of Claim; `assay new claim NAME` writes an example")
  claims = [_at_home(claim, path.parent) for claim in claims]
  ids = [claim.id for claim in claims]
  for claim in claims:
    _examine(claim, name, ids)
  if len(set(ids)) < len(ids):
    raise Refused(f"{name} uses one id for two claims: {', '.join(ids)}; give each its own")
  for study in (claim.experiment.study for claim in claims if isinstance(claim.experiment, Trial)):
    _named_once(study, claims, path, name)
  for claim in claims:
    catalog.remember(claim, path, name)
  return list(claims)


def _executed(path: Path, name: str):
  try:
    return userfile.run(path, f"user_claims_{zlib.crc32(str(path).encode()):08x}", name)
  except ConfigRefused as refusal:
    raise Refused(f"{refusal}{moved.remedy(str(refusal))}") from None


def _at_home(claim: Claim, folder: Path) -> Claim:
  """The claim whose study names files by their absolute paths: from the current folder, else from the claim's own."""
  if not isinstance(claim.experiment, Trial) or not isinstance(claim.experiment.study, Study):
    return claim
  study, found = claim.experiment.study, {}
  if isinstance(study.card, str) and study.card.endswith((".py", ".json")):
    found["card"] = str(slots.existing(study.card) or slots.existing(folder / study.card) or study.card)
  try:
    for field in ("arms", "tiers"):
      given = getattr(study, field)
      found[field] = {name: override.at_home(overrides, folder) for name, overrides in given.items()}
  except (AttributeError, ConfigRefused):
    return claim  # no such file, or no overrides: told when the study is examined
  return dataclasses.replace(
    claim, experiment=dataclasses.replace(claim.experiment, study=dataclasses.replace(study, **found))
  )


def _examine(claim: Claim, name: str, ids: Collection[str]) -> None:
  """Refuses a claim that cannot be run, shown, or told from ours."""
  try:
    fault = next(faults(claim, ids), None)
  except RecursionError:
    fault = "it nests too deeply; write it flat"
  if fault is None and claim.group in catalog.groups():
    fault = f"group {claim.group} is one of ours; choose another, such as MINE"
  if fault is not None:
    raise Refused(f"{name}: {_shown(claim.id) if not isinstance(claim.id, str) else claim.id}: {fault}")


def _named_once(study: Study, claims: Iterable[Claim], path: Path, name: str) -> None:
  """Two studies of one name would be taken for one."""
  others = [*catalog.all_claims(), *catalog.of_other_files(path), *claims]
  for other in others:
    theirs = other.experiment.study if isinstance(other.experiment, Trial) else study
    if theirs.name == study.name and theirs != study:
      raise Refused(f"{name}: study.name {study.name!r} is that of another study, of {other.id}; choose another name")


# ---------------------------------------------------------------------------------------------------------------------
# One claim


def faults(claim: Claim, ids: Collection[str] = ()) -> Faults:
  """What is wrong with a claim, field by field: received, allowed. `ids`: claims that come with it.

  A fault may rest on those before it: take the first.
  """
  if not isinstance(claim.id, str) or not catalog.ID.fullmatch(claim.id):
    yield f"id is {_shown(claim.id)}; allowed: such as MINE-1 or MINE-1a, of capitals, digits and one hyphen"
  yield from _choice("document", claim.document, catalog.DOCUMENTS)
  for field in ("place", "measure", "statement"):
    yield from _text(field, getattr(claim, field))
  words = len(claim.statement.split())
  if words > catalog.LONGEST:
    yield f"statement has {words} words; allowed: {catalog.LONGEST} at most"
  if not isinstance(claim.note, str):
    yield f"note is {_shown(claim.note)}; allowed: a text, or none"
  if not claim.evidence and claim.experiment is not None:
    given = type(claim.experiment).__name__
    yield f"experiment is a {given}; allowed: {_or(kind.__name__ for kind in KINDS.values())}"
  yield from _choice("evidence", claim.evidence, EVIDENCE)
  yield from _choice("nature", claim.nature, NATURES)
  if claim.evidence not in BRINGS[claim.nature]:
    yield f"evidence is {claim.evidence!r}; allowed for a claim of nature {claim.nature}: {_or(BRINGS[claim.nature])}"
  yield from _related(claim, ids)
  yield from _literature(claim)
  wanted = KINDS[claim.evidence]
  if claim.experiment is not None and type(claim.experiment) is not wanted:
    given = type(claim.experiment).__name__
    yield f"experiment is a {given}; allowed with evidence {claim.evidence!r}: {wanted.__name__}(...), or None"
  yield from _experiment(claim.experiment)


def _related(claim: Claim, ids: Collection[str]) -> Faults:
  yield from _tuple("contradicts", claim.contradicts, "ids of claims", empty=True)
  known = {one.id for one in catalog.all_claims()} | set(ids) | set(catalog.own())
  for other in claim.contradicts:
    if other not in known or other == claim.id:
      yield f"contradicts names {_shown(other)}; allowed: the id of another claim, see `assay list claims`"


def _literature(claim: Claim) -> Faults:
  yield from _tuple("literature", claim.literature, "Literature(value, unit, source)", empty=True)
  for entry in claim.literature:
    if not isinstance(entry, Literature):
      yield f"literature holds {_shown(entry)}; allowed: Literature(value, unit, source)"
    for field in ("value", "source"):
      yield from _text(f"literature.{field}", getattr(entry, field))
    if not isinstance(entry.unit, str):
      yield f"literature.unit is {_shown(entry.unit)}; allowed: a text"
    if not isinstance(entry.checked, bool):
      yield f"literature.checked is {_shown(entry.checked)}; allowed: True, or False where it is quoted from memory"


def _experiment(experiment) -> Faults:
  match experiment:
    case Trial():
      yield from _trial(experiment)
    case Check() | Bench():
      yield from _tiers("experiment.tiers", experiment.tiers)
      yield from _function(experiment)
      yield from _test(experiment.test, lambda sample: None)  # what a function brings is known when it has run
    case Citation():
      yield from _tiers("experiment.tiers", experiment.tiers)
      yield from _citation(experiment)
  if isinstance(experiment, Check | Citation) and not isinstance(experiment.identity, bool):
    yield f"experiment.identity is {_shown(experiment.identity)}; allowed: True or False"


# ---------------------------------------------------------------------------------------------------------------------
# Checks, benches, citations


def _function(experiment: Check | Bench) -> Faults:
  folder, files, form = (
    ("claims", "*/checks*.py", "GROUP.FILE") if isinstance(experiment, Check) else ("bench", "*.py", "FILE")
  )
  known = _functions(digest.root() / "experiments" / folder, files)
  if experiment.run not in known:
    hint = slots.suggestion(str(experiment.run), known)
    yield f"experiment.run is {_shown(experiment.run)}; {hint}allowed: {form}.FUNCTION of experiments/{folder}"


def _functions(folder: Path, files: str) -> list[str]:
  """Functions without arguments, as "file.function", read without importing them."""
  found = []
  for path in sorted(folder.glob(files)):
    for node in ast.parse(path.read_text()).body:
      if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
        needed = len(node.args.posonlyargs + node.args.args) - len(node.args.defaults)
        if not needed and None not in node.args.kw_defaults:
          found.append(".".join((*path.relative_to(folder).with_suffix("").parts, node.name)))
  return found


def _citation(experiment: Citation) -> Faults:
  yield from _tuple("experiment.table", experiment.table, "rows, tuples of texts", empty=True)
  for row in experiment.table:
    if not isinstance(row, tuple) or not all(isinstance(cell, str) for cell in row):
      yield f"experiment.table holds {_shown(row)}; allowed: a tuple of texts"
  yield from _mapping("experiment.samples", experiment.samples, "a sample's name to its numbers")
  for name, values in experiment.samples.items():
    yield from _numbers(f"experiment.samples[{name!r}]", values, "finite numbers")

  names: list[str] = []
  yield from _test(experiment.test, names.append)
  for sample in names:
    if sample not in experiment.samples:
      yield f"experiment.test names the sample {sample!r}; allowed: {_or(experiment.samples)}"


# ---------------------------------------------------------------------------------------------------------------------
# Trials and their study


def _trial(experiment: Trial) -> Faults:
  study = experiment.study
  if not isinstance(study, Study):
    yield f"experiment.study is {_shown(study)}; allowed: Study(...)"
  yield from _study(study)
  if isinstance(experiment, Probe) and not study.probes:
    yield "study.probes is (); allowed for evidence 'probe': files of experiments/probes, such as ('entropy',)"
  names: list[str] = []
  yield from _test(experiment.test, names.append)
  try:
    measures.refuse_unknown(study, names)
  except (ConfigRefused, Refused) as refusal:
    yield str(refusal)


def _study(study: Study) -> Faults:
  for field in ("name", "card", "metric"):
    yield from _text(f"study.{field}", getattr(study, field))
  if not isinstance(study.x, str):
    yield f"study.x is {_shown(study.x)}; allowed: a text, what the arms vary"
  yield from _text("study.better", study.better)
  yield from _numbers("study.grid", study.grid, "learning rates")
  yield from _numbers("study.window", study.window, "learning rates", empty=True)
  yield from _seeds(study)
  yield from _probes(study)
  yield from _tiers("study.tiers", study.tiers, mapping=True)
  yield from _mapping("study.arms", study.arms, "an arm's name to its overrides")
  yield from _tuple("study.lean", study.lean, "names of arms", empty=True)
  for arm in study.lean:
    if arm not in study.arms:
      yield f"study.lean names {_shown(arm)}; allowed: {_or(study.arms)}"
  for kind, given in (("arms", study.arms), ("tiers", study.tiers)):
    for name, overrides in given.items():
      yield from _overrides(f"study.{kind}[{name!r}]", overrides)
  yield from _resolved(study)


def _seeds(study: Study) -> Faults:
  for field in ("tuning", "reporting"):
    seeds, allowed = getattr(study, field), f"whole numbers from 0 to {INT_LIMIT}"
    yield from _tuple(f"study.{field}", seeds, allowed, empty=True)
    if not all(type(seed) is int and 0 <= seed <= INT_LIMIT for seed in seeds):
      yield f"study.{field} is {_shown(seeds)}; allowed: {allowed}"


def _probes(study: Study) -> Faults:
  yield from _tuple("study.probes", study.probes, "names of files of experiments/probes", empty=True)
  known = [
    path.stem
    for path in sorted((digest.root() / "experiments" / "probes").glob("*.py"))
    if any(isinstance(node, ast.FunctionDef) and node.name == "read" for node in ast.parse(path.read_text()).body)
  ]
  for probe in study.probes:
    if probe not in known or study.probes.count(probe) > 1:
      yield f"study.probes names {_shown(probe)}; allowed, each once: {_or(known)}"


def _overrides(field: str, overrides: object) -> Faults:
  if not isinstance(overrides, Mapping) or not all(isinstance(key, str) for key in overrides):
    yield f"{field} is {_shown(overrides)}; allowed: overrides of the card, such as {{'model.heads': 4}}"
  assert isinstance(overrides, Mapping)
  for key, value in overrides.items():
    plain = value if isinstance(value, list | tuple) else (value,)
    if not all(part is None or isinstance(part, bool | int | float | str) for part in plain):
      yield f"{field} sets {key} to {_shown(value)}; allowed: a number, a word, or several"


def _resolved(study: Study) -> Faults:
  """Every arm at every tier as the worker would get it, and every rate once; no key may be without effect."""
  configs = []
  for tier, shared in study.tiers.items():
    for arm, overrides in study.arms.items():
      try:
        configs.append(override.load(study.card, overrides, shared=shared))
      except (ConfigRefused, Refused) as refusal:
        yield f"study.arms[{arm!r}] at tier {tier}: {refusal}"
  for tier, shared in study.tiers.items():
    try:
      override.refuse_idle_shared(study.card, shared, configs)  # what one tier has no use for may serve another
    except ConfigRefused as refusal:
      yield f"study.tiers[{tier!r}]: {refusal}"
  tier, arm = next(iter(study.tiers)), next(iter(study.arms))
  for rate in (*study.grid, *study.window):
    settings = {**study.tiers[tier], **study.arms[arm], "optim.lr": rate, "probes": study.probes}
    try:
      override.load(study.card, shared=settings)
    except (ConfigRefused, Refused) as refusal:
      yield f"study.grid or study.window holds {rate}: {refusal}"


# ---------------------------------------------------------------------------------------------------------------------
# Tests

Read = Callable[[str], None]  # gets each sample that a test reads


def _test(test: object, read: Read) -> Faults:
  """A test and all within it, without recursion: a file may nest ten thousand."""
  todo: list[tuple[object, str, int]] = [(test, "experiment.test", 1)]
  while todo:
    one, field, depth = todo.pop()
    if depth > DEEPEST:
      yield f"experiment.test nests more than {DEEPEST} tests; allowed: fewer, such as All((first, second))"
    yield from _one_test(one, field, read)
    todo += [(part, f"{field}{name}", depth + 1) for name, part in _parts(one)]


def _parts(test: object) -> list[tuple[str, object]]:
  match test:
    case Equivalent():
      return [(".contrast", test.contrast), (".worse", test.worse)]
    case All():
      return [(f".parts[{index}]", part) for index, part in enumerate(test.parts)]
    case Moderated():
      inner = [] if test.interaction is None else [(".interaction", test.interaction)]
      return [*((f".cells[{name!r}]", cell) for name, cell in test.cells.items()), *inner]
  return []


def _one_test(test: object, field: str, read: Read) -> Faults:
  match test:
    case Bound():
      yield from _sample(f"{field}.sample", test.sample, read)
      for side in ("low", "high"):
        if not _number(getattr(test, side)) or math.isnan(getattr(test, side)):
          yield f"{field}.{side} is {_shown(getattr(test, side))}; allowed: a number, or an infinity"
      if test.low > test.high:
        yield f"{field} has low={test.low:g} above high={test.high:g}; allowed: low at most high"
    case Contrast():
      yield from _contrast(test, field, read)
    case Equivalent():
      for part in ("contrast", "worse"):
        if not isinstance(getattr(test, part), Contrast):
          yield f"{field}.{part} is {_shown(getattr(test, part))}; allowed: Contrast(...)"
      if not _finite(test.margin) or test.margin <= 0:
        yield f"{field}.margin is {_shown(test.margin)}; allowed: a finite number above 0"
    case All():
      yield from _tuple(f"{field}.parts", test.parts, "tests")
    case Moderated():
      yield from _text(f"{field}.moderator", test.moderator)
      yield from _mapping(f"{field}.cells", test.cells, "a cell's name to its test")
      if len(test.cells) != 2:
        yield f"{field}.cells are {_or(test.cells)}; allowed: exactly two"
      if not isinstance(test.interaction, Contrast | None):
        yield f"{field}.interaction is {_shown(test.interaction)}; allowed: Contrast(...), or None"
    case _:
      yield f"{field} is {_shown(test)}; allowed: {_or(kind.__name__ for kind in Test.__args__)}"


def _contrast(test: Contrast, field: str, read: Read) -> Faults:
  yield from _text(f"{field}.name", test.name)
  yield from _mapping(f"{field}.weights", test.weights, "a sample's name to its weight")
  for name, weight in test.weights.items():
    yield from _sample(f"{field}.weights", name, read)
    if not _finite(weight):
      yield f"{field}.weights[{name!r}] is {_shown(weight)}; allowed: a finite number"
  if not any(test.weights.values()):
    yield f"{field}.weights are all 0; allowed: at least one that is not"
  if not _finite(test.above):
    yield f"{field}.above is {_shown(test.above)}; allowed: a finite number, the smallest effect that matters"


def _sample(field: str, name: object, read: Read) -> Faults:
  yield from _text(field, name)
  read(str(name))


# ---------------------------------------------------------------------------------------------------------------------
# Fields


def _text(field: str, value: object) -> Faults:
  if not isinstance(value, str) or not value.strip():
    yield f"{field} is {_shown(value)}; allowed: a text that is not empty"


def _choice(field: str, value: object, allowed: Sequence[str]) -> Faults:
  if not isinstance(value, str) or value not in allowed:
    yield f"{field} is {_shown(value)}; use one of {', '.join(allowed)}"


def _tuple(field: str, value: object, what: str, empty: bool = False) -> Faults:
  if not isinstance(value, tuple) or not (value or empty):
    yield f"{field} is {_shown(value)}; allowed: a tuple of {what}"


def _mapping(field: str, value: object, what: str) -> Faults:
  if not isinstance(value, Mapping) or not value or not all(isinstance(key, str) and key.strip() for key in value):
    yield f"{field} is {_shown(value)}; allowed: a dictionary that is not empty, {what}"


def _numbers(field: str, value: object, what: str, empty: bool = False) -> Faults:
  yield from _tuple(field, value, what, empty)
  assert isinstance(value, tuple)
  for number in value:
    if not _finite(number):
      yield f"{field} holds {_shown(number)}; allowed: {what}"


def _tiers(field: str, tiers: object, mapping: bool = False) -> Faults:
  if mapping:
    yield from _mapping(field, tiers, "a tier to the overrides that all arms share")
  else:
    yield from _tuple(field, tiers, "tiers")
  assert isinstance(tiers, Mapping | tuple)
  for tier in tiers:
    if tier not in TIERS:
      yield f"{field} names {_shown(tier)}; allowed: {_or(TIERS)}"


def _number(value: object) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: object) -> bool:
  try:
    return _number(value) and math.isfinite(value)  # pyright: ignore[reportArgumentType]
  except OverflowError:  # a whole number beyond every float
    return False


def _or(words: Iterable[object]) -> str:
  return ", ".join(str(word) for word in words)


def _shown(value: object) -> str:
  """A value in a few words, whatever it is."""
  short = reprlib.Repr()
  short.maxstring = short.maxother = 60
  return " ".join(short.repr(value).split())
