"""Who may import whom, read from the syntax trees: `tests -> experiments -> {configs, train} -> model`."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("model", "train", "configs", "experiments")
MAY_IMPORT = {  # of ours, and of other people's
  "model": ({"model"}, {"jax", "flax", "numpy"}),
  "train": ({"model", "train"}, {"jax", "flax", "numpy", "optax", "orbax", "datasets"}),
  "configs": ({"configs", "model.schema"}, {"ml_collections"}),
  "experiments": (set(OURS), None),
}
HEAVY = {"orbax", "datasets", "matplotlib", "jinja2", "torch", "transformers"}  # never at the top of a file
AT_START = {"jax", "jaxlib", "flax", "optax", "orbax", "numpy", "scipy", "matplotlib", "jinja2", "datasets", "torch"}


@functools.cache
def modules() -> dict[str, Path]:
  found = {}
  for package in OURS:
    for path in (ROOT / package).rglob("*.py"):
      parts = path.relative_to(ROOT).with_suffix("").parts
      found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
  return found


@functools.cache
def imports(module: str) -> tuple[tuple[str, bool], ...]:
  """(name, at the top of the file) of all that a module imports; `from a import b` names a.b where that is a module."""
  tree = ast.parse(modules()[module].read_text())
  return tuple(_walk(tree, module, True))


def _walk(node, module, top) -> Iterator[tuple[str, bool]]:
  for child in ast.iter_child_nodes(node):
    if isinstance(child, ast.Import):
      yield from ((alias.name, top) for alias in child.names)
    elif isinstance(child, ast.ImportFrom):
      assert child.level == 0, f"{module}: relative import"
      assert child.module is not None
      for alias in child.names:
        whole = f"{child.module}.{alias.name}"
        yield whole if whole in modules() else child.module, top
    elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
      yield from _walk(child, module, False)
    else:
      inner = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
      yield from _walk(child, module, top and not inner)


def test_all_packages_are_found():
  assert {name.split(".")[0] for name in modules()} == set(OURS)
  assert len(modules()) > 60


@pytest.mark.parametrize("package", OURS)
def test_arrows_point_one_way(package):
  ours, others = MAY_IMPORT[package]
  wrong = []
  for module in modules():
    if module.split(".")[0] != package:
      continue
    for name, _ in imports(module):
      top = name.split(".")[0]
      allowed = {top, name} & ours if top in OURS or top == "tests" else others is None or top in others
      if not allowed and top not in sys.stdlib_module_names:
        wrong.append(f"{module} imports {name}")
  assert not wrong


def test_orbax_and_datasets_have_one_door_each():
  doors = {"orbax": ("train.checkpoint",), "datasets": ("train.corpora",)}
  for module in modules():
    for name, _ in imports(module):
      door = doors.get(name.split(".")[0])
      assert door is None or module.startswith(door), f"{module} imports {name}"


def test_train_names_no_mechanism_scheme_or_feedforward():
  families = ("model.attention", "model.position", "model.feedforward")
  wrong = [
    f"{m} imports {n}" for m in modules() if m.startswith("train") for n, _ in imports(m) if n.startswith(families)
  ]
  assert not wrong


def test_mechanisms_do_not_know_each_other():
  allowed = {"model.attention.mechanism", "model.mask", "model.kernels", "model.initial", "model.errors"}
  for module in modules():
    if module.startswith("model.attention.") and module != "model.attention.mechanism":
      ours = {name for name, _ in imports(module) if name.startswith("model")}
      extra = {name for name in ours if not name.startswith(tuple(allowed))}
      assert not extra, f"{module} imports {sorted(extra)}"


def test_kernels_know_no_mechanism():
  for module in modules():
    if module.startswith("model.kernels"):
      wrong = [name for name, _ in imports(module) if name.startswith("model.attention")]
      assert not wrong, f"{module} imports {wrong}"


def test_heavy_packages_are_imported_in_functions():
  wrong = [f"{m} imports {n}" for m in modules() for n, top in imports(m) if top and n.split(".")[0] in HEAVY]
  assert not wrong


def closure(roots) -> dict[str, str]:
  """{module or package of others: who imports it} of all that is imported when `roots` are."""
  seen, todo = {}, [(root, "the start") for root in roots]
  while todo:
    name, by = todo.pop()
    if name in seen:
      continue
    seen[name] = by
    if name.split(".")[0] not in OURS:
      continue
    parents = [name.rsplit(".", i)[0] for i in range(1, name.count(".") + 1)]
    todo += [(parent, name) for parent in parents]
    todo += [(other, name) for other, top in imports(name) if top]
  return seen


def test_the_command_line_starts_without_jax():
  """Lists, help, configs and their errors are answered by these modules alone."""
  roots = [
    name
    for name in modules()
    if name
    in (
      "experiments.cli.cli",
      "experiments.api",
      "experiments.protocol.claim",
      "experiments.ledger.ledger",
      "model.errors",
      "model.vocabulary",
    )
    or name.startswith("configs")
    or (name.startswith("experiments.claims") and not re.search(r"\.(checks\w*|grid|known_arms)$", name))
  ]
  assert {"experiments.cli.cli", "experiments.api"} <= set(roots)
  wrong = [f"{by} imports {name}" for name, by in closure(roots).items() if name.split(".")[0] in AT_START]
  assert not wrong


@pytest.mark.parametrize("arguments", [["--help"], ["list", "claims"], ["list", "configs"]])
def test_the_command_line_answers_without_jax(tmp_path, arguments):
  code = (
    "import sys\nfrom experiments.cli import cli\n"
    f"try: rc = cli.main({arguments!r})\nexcept SystemExit as end: rc = end.code\n"
    "assert not rc, rc\nassert 'jax' not in sys.modules, 'jax was imported'"
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-1000:]
  assert done.stdout.strip()


# Rooms of experiments/ from the ground up: a room knows its own floor and those below it.
FLOORS = (
  {"record"},
  {"run"},
  {"probes", "worker"},
  {"protocol", "claims", "ledger", "bench"},
  {"pages"},
  {"proof"},
  {"api"},  # experiments/api.py, the one file beside the rooms
  {"cli"},
)
# A process of its own that answers for a task must build it as a worker does.
UPWARD = {("experiments.record.declared", "experiments.worker.serve")}


def floor(module: str) -> int:
  room = module.split(".")[1]
  return next((index for index, rooms in enumerate(FLOORS) if room in rooms), len(FLOORS))


def test_rooms_know_what_stands_below_them():
  inside = {name for name in modules() if name.startswith("experiments.") and name.count(".") > 1}
  ours = inside | {"experiments.api"}
  pairs = {(module, name) for module in ours for name, _ in imports(module) if name in ours}
  assert len(pairs) > 300
  assert {pair for pair in pairs if floor(pair[0]) < floor(pair[1])} == UPWARD


def test_every_room_has_its_floor():
  folder = ROOT / "experiments"
  rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
  flat = {path.stem for path in folder.glob("*.py")} - {"__init__"}
  assert flat == {"api"}
  assert rooms | flat == set().union(*FLOORS)


def test_commands_reach_the_rooms_of_their_verbs_through_the_api():
  """The verbs that Python has too are thin layers over it: no runner, no store, no protocol's run."""
  below = ("experiments.run.runner", "experiments.run.store", "experiments.protocol.reproduce", "experiments.worker")
  for verb in ("train", "sweep", "compare", "reproduce", "runs"):
    names = {name for name, _ in imports(f"experiments.cli.commands.{verb}")}
    assert "experiments.api" in names, verb
    assert not {name for name in names if name.startswith(below)}, verb


def test_what_runs_without_jax_never_imports_it():
  """The driver's side of the seam: run/ and record/ in whatever way they are imported."""
  roots = [name for name in modules() if name.startswith(("experiments.run.", "experiments.record."))]
  wrong = [
    f"{by} imports {name}" for name, by in closure(roots).items() if name.split(".")[0] in {"jax", "jaxlib", "flax"}
  ]
  assert not wrong
