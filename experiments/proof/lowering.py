"""Answers for one tree: what its claims resolve to, which programs their trials run, what a run or a call gives.

A script for a fresh process whose current folder and PYTHONPATH are the tree; the tree may be an older one without
this file:

    PYTHONPATH=TREE python -P .../experiments/proof/lowering.py OUT

Requests are JSON lines on stdin, answers JSON lines on stdout; texts of programs go to OUT by their hash. A trial is
its programs (StableHLO) and what the host gives to them: the numbers of its member, its data, the facts of its task.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import json
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SPLITS = ("train", "validation", "test")
FACTS = ("vocabulary", "slices", "start", "stop", "needs", "floor", "ceiling", "exact_entropy")
CACHED = 24  # configs that are lowered before jax's caches are dropped: a process stays below 2 GB

Request = dict[str, Any]


def main(argv: list[str]) -> int:
  """Argv = [OUT]; serves requests until stdin ends."""
  out, here = Path(argv[0]), Path.cwd().resolve()
  with contextlib.suppress(ImportError, AttributeError):
    importlib.import_module("train.compute").cache_compiled()
  answers = os.fdopen(os.dup(1), "w", buffering=1)
  os.dup2(2, 1)  # whatever prints goes to stderr
  for line in sys.stdin:
    try:
      imported = Path(str(_module("experiments.protocol.study").__file__)).resolve()
      if not imported.is_relative_to(here):
        raise ImportError(f"{imported} was imported instead of the tree in {here}")
      request = json.loads(line)
      answer = OPERATIONS[request["op"]](request, out)
    except Exception as error:
      answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    answers.write(json.dumps(answer) + "\n")
  return 0


def _module(name: str):
  """The module of this tree that is called so today."""
  return importlib.import_module(name if _found(name) else MOVED.before(name))


def _found(name: str) -> bool:
  """Whether this tree has a module of that name; what else Python could find is another tree's."""
  path = Path.cwd() / name.replace(".", "/")
  return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _moved() -> Any:
  """experiments/record/moved.py of the tree that this file belongs to: the one it answers for may be older."""
  path = Path(__file__).parents[1] / "record" / "moved.py"
  spec = importlib.util.spec_from_file_location("moved", path)
  assert spec is not None
  assert spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


MOVED = _moved()


# ---------------------------------------------------------------------------------------------------------------------
# What a row's claim says in this tree (without jax)


def resolve(request: Request, out: Path) -> dict[str, Any]:
  """Config by arm, keys of the reporting trials, the test and the declared hash, for one row."""
  catalog, study = _module("experiments.protocol.catalog"), _module("experiments.protocol.study")
  hashes, trial_key = _module("experiments.record.corpora").hashes, _module("experiments.run.cohorts").trial_key
  row = request["row"]
  claim, tier, seeds = catalog.by_id(row["id"]), row["tier"], row["seeds"]["reporting"]
  experiment: Any = claim.experiment
  plan = experiment.study
  rates = {entry["name"].partition(":")[0]: entry["lr"] for entry in row["arms"]}
  configs, keys = {}, []
  for arm, lr in rates.items():
    points = [study.point(plan, tier, arm, lr=lr, seed=seed, split="test") for seed in seeds]
    configs[arm] = points[0]
    keys += [trial_key(config, hashes(config)) for config in points]
  return {
    "configs": configs,
    "trials": sorted(keys),
    "test": plain(experiment.test),
    "window": list(plan.window),
    "config_sha256": _declared(claim, tier),
  }


def card(request: Request, out: Path) -> dict[str, Any]:
  """The config of a card of this tree with these settings."""
  from configs import override

  return {"config": override.resolve(override.load("recall", request["settings"]))}


def _declared(claim, tier: str) -> str:
  try:
    return _module("experiments.protocol.today").config_sha256(claim, tier)
  except ImportError:  # a tree from before that file
    declared = vars(_module("experiments.protocol.reproduce"))["_declared"]
    return _module("experiments.run.cohorts").digest(declared(claim, tier))


def plain(value: Any) -> Any:
  """A test as JSON; fields that hold their default are marked, since another tree may not know them yet."""
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    usual = [field.name for field in dataclasses.fields(value) if getattr(value, field.name) == field.default]
    return {"is": type(value).__name__, "fields": fields, "default": usual}
  if isinstance(value, Mapping):
    return {str(name): plain(item) for name, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item) for item in value]
  return repr(value) if isinstance(value, float) else value


def code(request: Request, out: Path) -> dict[str, Any]:
  """Digests of lists of files as this tree reads them; None where a file is missing."""
  digest = _module("experiments.record.digest")

  def one(files):
    return digest.code_sha256(files) if all(Path(file).is_file() for file in files) else None

  return {"code": [one(files) for files in request["files"]]}


# ---------------------------------------------------------------------------------------------------------------------
# Programs


_lowered: dict[str, dict[str, Any]] = {}  # by config without what is a number of the member alone
_read: dict[str, dict[str, str]] = {}  # programs of probes, likewise


def lower(request: Request, out: Path) -> dict[str, Any]:
  """Programs (name -> hash of the text in OUT) and values of a config's trial; the programs of its probes too."""
  config = request["config"]
  alike = {**config, "optim": {**config["optim"], "lr": 1.0}, "probes": []}
  name = json.dumps(alike, sort_keys=True)
  if name not in _lowered:
    _lowered[name] = _lower(alike, out)
    if len(_lowered) % CACHED == 0:
      import jax

      jax.clear_caches()
  found = _lowered[name]
  if config["probes"] and (asked := f"{config['probes']} {name}") not in _read:
    _read[asked] = _probed({**alike, "probes": config["probes"]}, out)
  return {
    "programs": {**found["programs"], **_read.get(f"{config['probes']} {name}", {})},
    "values": {**found["values"], "member": _member(config)},
    "device": found["device"],
  }


def _lower(config: Mapping[str, Any], out: Path) -> dict[str, Any]:
  import jax

  with contextlib.suppress(AttributeError, ValueError):  # constants belong into the text, not beside it
    jax.config.update("jax_use_simplified_jaxpr_constants", False)
  from train import step

  task = _task(config)
  build = getattr(step, "ensemble", None) or step.Ensemble  # a function in older trees
  whole = build(config, task)
  state, member = jax.eval_shape(lambda: whole.init([config])), whole.members([config])
  data = {split: jax.tree.map(jax.numpy.asarray, task.data(split)) for split in SPLITS}
  programs = {
    "draw": jax.jit(lambda: whole.init([config])).lower(),
    "advance": whole.advance.lower(state, member, data["train"]),
    "evaluate on validation": whole.evaluate.lower(state, member, data["validation"]),
    "evaluate on test": whole.evaluate.lower(state, member, data["test"]),
  }
  values = {f"data of {split}": _hash(held) for split, held in data.items()}
  values |= {f"task {name}": repr(getattr(task, name, None)) for name in FACTS}
  values["data files"] = json.dumps(task.data_sha256(), sort_keys=True)
  values["compiler options"] = _options(config)
  if config["eval"]["judge"]:
    generated, values["judge"] = _judged(whole, task, config, state, member)
    programs |= generated
  texts = {name: _keep(_text(lowered), out) for name, lowered in programs.items()}
  return {"programs": texts, "values": values, "device": jax.default_backend()}


def _task(config):
  from model import build

  return build.make("tasks", dict(config["task"]), package="train")


def _member(config) -> str:
  """The numbers that the host gives to a member's programs, in the order in which they are given."""
  from train.step import member_of

  return _hash(member_of(config, _task(config)))


def _options(config) -> str:
  return json.dumps(dict(_module("experiments.worker.brief").options(config)), sort_keys=True)


def _judged(whole, task, config, state, member):
  """Programs for every shape that the task's judge generates, and what it asks and says of answers made up here."""
  import jax
  import numpy as np

  one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), (state._replace(opt=()), member))
  programs, asked = {}, hashlib.sha256()

  def generate(source, where, length):
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves((source, where))]
    name = f"generate {shapes} {length}"
    if name not in programs:
      programs[name] = whole.generate.lower(*one, source, where, length)
    asked.update(f"{_hash((source, where))} {length}\n".encode())
    made_up = np.random.default_rng(zlib.crc32(name.encode()))
    return made_up.integers(0, task.vocabulary.outputs, (np.shape(source)[0], length)).astype(np.int32)

  says = {split: dict(task.judge(generate, split)) for split in ("validation", "test")}
  return programs, f"{asked.hexdigest()} {says}"


def _probed(config, out: Path) -> dict[str, str]:
  """Every program that the probes run on the untrained model, and the numbers they read."""
  import jax

  from train.loop import Fitted

  cohort = _module("experiments.worker.pack").prepare(config)
  split = config["eval"]["split"]
  cohort.eval_data[split] = jax.tree.map(jax.numpy.asarray, cohort.task.data(split))
  fitted = Fitted(cohort.whole.init([config]), cohort.whole.members([config]), [[]], stopped=False)
  found = {}
  for name in config["probes"]:
    read = importlib.import_module(f"experiments.probes.{name}").read
    jax.clear_caches()  # what was compiled before would not be told
    with tempfile.TemporaryDirectory() as folder, _dumping(folder):
      numbers = read(_subject_of(cohort, config, fitted))
      texts = [_canonical(path.read_text()) for path in sorted(Path(folder).iterdir())]
    if not texts:
      raise RuntimeError(f"no program of probe {name} was told")
    numbers = {key: float(value).hex() for key, value in numbers.items()}
    found[f"probe {name}"] = _keep("\n".join([json.dumps(numbers, sort_keys=True), *texts]), out)
  return found


def _subject_of(cohort, config, fitted):
  """What the tree gives its probes to look at; older trees make it in pack.py."""
  for name in ("measured", "pack"):
    with contextlib.suppress(ImportError, AttributeError):
      return _module(f"experiments.worker.{name}").subject(cohort, config, fitted, 0)
  raise RuntimeError("this tree makes no subject of probes")


@contextlib.contextmanager
def _dumping(folder: str):
  """Inside, jax writes every program that it compiles into the folder."""
  import jax

  jax.config.update("jax_dump_ir_modes", "stablehlo")
  jax.config.update("jax_include_debug_info_in_dumps", False)
  jax.config.update("jax_dump_ir_to", folder)
  try:
    yield
  finally:
    jax.config.update("jax_dump_ir_to", "")


def _text(lowered) -> str:
  """A program as text, whole: constants of any size stand in it."""
  beside = getattr(lowered._lowering, "const_args", ())
  return "\n".join([_canonical(lowered.as_text()), *(_hash(constant) for constant in beside)])


LEFT_OUT = re.compile(r'^#loc.*\n|^module @\S+|,? ?jax\.(?:result_info|arg_info) = "(?:[^"\\]|\\.)*"', re.M)
SYMBOL = re.compile(r'func\.func (?:public |private )?(@[\w.$-]+|@"[^"]+")')


def _canonical(text: str) -> str:
  """StableHLO without what names alone decide: the module's, those of its functions, of arguments and results."""
  if "dense_resource" in text or "__elided__" in text:
    raise RuntimeError("a constant does not stand in the program's text")
  text = LEFT_OUT.sub("", text).replace(" {}", "")
  names = {name: f"@f{index}" for index, name in enumerate(SYMBOL.findall(text))}
  if not names:
    return text
  ahead = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
  return re.sub(rf"(?:{ahead})(?![\w.$-])", lambda match: names[match.group()], text)


def _hash(tree: Any) -> str:
  """The hash of the leaves of a tree of arrays in their order: types, shapes and bytes, not names."""
  import jax
  import numpy as np

  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(tree):
    array = np.asarray(leaf)
    digest.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
  return digest.hexdigest()


def _keep(text: str, out: Path) -> str:
  name = hashlib.sha256(text.encode()).hexdigest()
  if not (out / name).exists():
    (out / name).write_bytes(zlib.compress(text.encode(), 1))
  return name


# ---------------------------------------------------------------------------------------------------------------------
# Running again


def replay(request: Request, out: Path) -> dict[str, Any]:
  """The curve and the measures of one trial, trained here and now."""
  cohorts, pack = _module("experiments.run.cohorts"), _module("experiments.worker.pack")
  config = request["config"]
  with tempfile.TemporaryDirectory() as folder:
    store = _module("experiments.run.store").Store(Path(folder))
    packs = cohorts.packs({"0" * 16: config}, 1)
    pack.run(store, packs[0], pack.prepare(config), stamp=lambda config: {})
    curve, result = store.curve("0" * 16), store.result("0" * 16) or {}
  return {"curve": _exact(curve), "result": {name: _exact(result.get(name)) for name in ("status", "measures")}}


def call(request: Request, out: Path) -> dict[str, Any]:
  """The samples of a check."""
  import jax

  module, _, function = f"{request['prefix']}.{request['name']}".partition("(")[0].rpartition(".")
  package, _, file = MOVED.before(module).rpartition(".") if not _found(module) else module.rpartition(".")
  given = request["name"].partition("(")[1:]
  samples = _module("experiments.worker.serve").call(f"{file}.{function}{''.join(given)}", package)
  jax.clear_caches()
  return {"samples": _exact(samples), "device": jax.default_backend()}


def device(request: Request, out: Path) -> dict[str, Any]:
  """What programs would run on here."""
  import jax

  return {"device": jax.default_backend()}


def _exact(value: Any) -> Any:
  """Floats as hexadecimal text: every bit arrives, NaN too."""
  if isinstance(value, Mapping):
    return {str(name): _exact(item) for name, item in sorted(value.items())}
  if isinstance(value, list | tuple):
    return [_exact(item) for item in value]
  return value.hex() if isinstance(value, float) else value


OPERATIONS: dict[str, Callable[[Request, Path], dict[str, Any]]] = {
  "resolve": resolve,
  "code": code,
  "card": card,
  "lower": lower,
  "replay": replay,
  "call": call,
  "device": device,
}

if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
