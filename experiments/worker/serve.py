"""What a worker does with one request: train a pack, call a check or a bench; every end is told, none is lost."""

import ast
import contextlib
import importlib
import itertools
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import jax

from experiments.record import corpora, digest, stamp
from experiments.run import messages
from experiments.run.cohorts import Pack, trial_key
from experiments.run.store import Store
from experiments.worker import brief
from experiments.worker import pack as packs
from model.errors import Refused
from train import step

Tell = Callable[[messages.Event], Any]


def one(
  root: Path, request: messages.Request, cohorts: MutableMapping[str, Any], *, keep: bool, stop, tell: Tell
) -> str:
  """Serves one request; returns "done", "stopped", "failed" or "refused"."""
  try:
    if isinstance(request, messages.Call):
      tell(messages.Called(request.name, call(request.name, request.prefix)))
      return "done"
    return _train(root, request, cohorts, keep=keep, stop=stop, tell=tell)
  except Refused as refusal:
    tell(messages.Declined(str(refusal)))
    return "refused"
  except (Exception, SystemExit, KeyboardInterrupt) as error:  # a class that ends the program ends its own trials
    told = _crashed(root, error)
    if isinstance(request, messages.Train):
      packs.fail(Store(root), _pack(request), told, stamp.code)
      tell(messages.Failed(request.keys, told))
    else:
      tell(messages.CallFailed(request.name, told))
    return "failed"


def call(name: str, prefix: str) -> dict[str, list[float]]:
  """Samples of the function `<prefix>.<module>.<function>`, called with the arguments that stand behind its name."""
  named, _, given = name.partition("(")
  module, function = named.rsplit(".", 1)
  pairs = ast.parse(f"f({given or ')'}", mode="eval").body.keywords  # pyright: ignore[reportAttributeAccessIssue]
  arguments = {pair.arg: ast.literal_eval(pair.value) for pair in pairs}
  samples = getattr(importlib.import_module(f"{prefix}.{module}"), function)(**arguments)
  return {key: [float(value) for value in values] for key, values in samples.items()}


def _train(root: Path, request: messages.Train, cohorts, *, keep: bool, stop, tell: Tell) -> str:
  """Trains a pack, in parts where its members cannot share one program after all."""
  pack, store = _pack(request), Store(root)
  stamps = [stamp.code(config) for config in pack.configs]  # of the files as they are before anything is built of them
  if tuple(each["code_sha256"] for each in stamps) != request.code:
    raise Changed("the code was changed while the command ran; run it again")
  causes = []
  for name, part in _parts(pack, cohorts, tell):
    try:
      _verify(part, cohorts[name])
      finished = packs.run(
        store,
        part,
        cohorts[name],
        stamp=lambda config, held=cohorts[name]: _made(config, held, len(pack.keys)),
        keep=keep,
        stop=stop,
        progress=lambda step: tell(messages.Step(request.keys, step)),
        warn=lambda text: tell(messages.Warned(text)),
      )
    except Refused:
      raise
    except Exception as error:
      causes.append(_crashed(root, error))
      packs.fail(store, part, causes[-1], stamp.code)
      continue
    if not finished:
      return "stopped"
  if causes:
    tell(messages.Failed(request.keys, causes[0]))
    return "failed"
  tell(messages.Done(request.keys))
  return "done"


def _made(config: Mapping[str, Any], cohort: packs.Cohort, width: int) -> dict[str, Any]:
  """What a result says of how it was made."""
  data = {"data_sha256": corpora.hashes(config, said=cohort.data_sha256)}
  compiled = {"compiler": dict(brief.options(config)), "pack_width": width}
  return stamp.code(config) | data | stamp.device() | compiled


class Changed(RuntimeError):
  """What a trial is made of is not what it was when the trial was asked for."""


def _parts(pack: Pack, cohorts: MutableMapping[str, Any], tell: Tell) -> list[tuple[str, Pack]]:
  """The pack by the compiled cohorts that may serve its members, compiling (later, by the first call) what is missing.

  The keys say that one program serves all of a cohort; whether it does, the models themselves say: members whose
  models differ in more than dials get programs of their own.
  """
  parts: dict[str, list[int]] = {}
  for index, config in enumerate(pack.configs):
    parts.setdefault(_name_of(pack.cohort, config, cohorts, tell), []).append(index)
  if len(parts) == 1:
    return [(next(iter(parts)), pack)]
  return [
    (name, Pack(pack.cohort, tuple(pack.keys[i] for i in chosen), tuple(pack.configs[i] for i in chosen)))
    for name, chosen in parts.items()
  ]


def _name_of(cohort: str, config: Mapping[str, Any], cohorts: MutableMapping[str, Any], tell: Tell) -> str:
  """The name under which `cohorts` holds the programs for this config: the cohort's own, or that with a number."""
  for number in itertools.count():
    name = f"{cohort}.{number}" if number else cohort
    if name not in cohorts:
      tell(messages.Compiling(name))
      cohorts[name] = packs.prepare(config)
      return name
    if _alike(cohorts[name], config):
      return name
  raise AssertionError  # never: count() has no end


def _alike(cohort: packs.Cohort, config: Mapping[str, Any]) -> bool:
  """Whether the programs of a cohort are those of this config."""
  try:
    return bool(step.outline(cohort.whole.config, cohort.task) == step.outline(config, cohort.task))
  except (TypeError, ValueError):
    return False  # something in them cannot be compared


def _verify(pack: Pack, cohort: packs.Cohort) -> None:
  """Raises Changed when a trial's key speaks of other data than the task was built from."""
  for key, config in zip(pack.keys, pack.configs, strict=True):
    found = corpora.hashes(config, said=cohort.data_sha256)
    if trial_key(config, found) != key:
      names = ", ".join(sorted(found)) or "none"
      raise Changed(
        f"the data of task.kind={config['task']['kind']} is not what it was when the trial was asked for (it reads "
        f"{names}): it was changed while the command ran, or the class states `needs` without all that data_sha256() "
        "names"
      )


def _pack(request: messages.Train) -> Pack:
  return Pack(request.cohort, request.keys, request.configs)


def _crashed(root: Path, error: BaseException) -> str:
  """The cause in one line; the traceback goes to crash.txt."""
  with contextlib.suppress(OSError), (root / "crash.txt").open("a") as crash:
    crash.write("".join(traceback.format_exception(error)))
  return cause(error)


def cause(error: BaseException) -> str:
  """What went wrong and where, in one line: "ValueError: text (mine.py:12)"."""
  text = " ".join(str(error).split())[:300]
  if isinstance(error, MemoryError) or (isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in text):
    return f"out of memory; use a smaller train.batch, model.block > 0 or fewer --jobs ({text})"
  where = _where(error)
  return f"{type(error).__name__}: {text}" + (f" ({where})" if where else "")


def _where(error: BaseException | None) -> str:
  """File and line of the deepest frame that is the user's, or else ours; those of installed packages tell nothing.

  jax hides frames of an error behind another one, so causes are looked at too.
  """
  ours = ""
  for one in _with_causes(error):
    for frame in reversed(traceback.extract_tb(one.__traceback__)):
      path = Path(frame.filename)
      if _installed(path):
        continue
      inside = path.is_relative_to(digest.root()) and path.relative_to(digest.root()).parts[0] in digest.OURS
      if not inside:
        return f"{path.name}:{frame.lineno}"
      ours = ours or f"{path.relative_to(digest.root()).as_posix()}:{frame.lineno}"
  return ours


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
  for _ in range(10):
    if error is None:
      return
    yield error
    error = error.__cause__ or error.__context__


def _installed(path: Path) -> bool:
  library = sysconfig.get_paths()["stdlib"]
  return not path.is_absolute() or path.is_relative_to(library) or any(one in digest.INSTALLED for one in path.parts)
