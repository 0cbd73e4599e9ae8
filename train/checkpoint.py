"""Checkpoints that cannot lie: Orbax arrays under a sha256 manifest, saved whole or not at all.

    FOLDER/<step>/state/            the arrays, written by Orbax, named by their place in the tree
    FOLDER/<step>/manifest.json     tree, shapes, dtypes, `extra`, and the sha256 of every file (train/manifest.py)

Orbax alone restores flipped bits and casts dtypes without a word; hence the manifest and the check of the tree.
This is the only file that imports orbax, and only inside functions. Nothing here pickles.
"""

import contextlib
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from model.errors import Refused
from train import manifest

KEEP = 2
_STATE, _DRAFT, _REPLACED = "state", ".saving", ".replaced"
_FAULTS = (OSError, ValueError, KeyError, RuntimeError)  # what Orbax raises for a bad disk or bad files


def save(folder: str | os.PathLike, step: int, tree: Any, extra: dict | None = None, keep: int = KEEP) -> None:
  """Saves a pytree of arrays (typed PRNG keys included) and a JSON dict as `step`, then keeps the newest `keep` steps.

  A step with a higher number than the one saved belongs to a run that was given up, and goes. A process killed at any
  moment leaves the earlier steps whole. Raises Refused when the folder cannot be written.
  """
  folder, step = Path(folder), int(step)
  draft, final, replaced = folder / f"{_DRAFT}-{step}", folder / str(step), folder / f"{step}{_REPLACED}"
  arrays = {_name(i): _raw(leaf) for i, leaf in enumerate(jax.tree.leaves(tree)) if _size(leaf)}
  try:
    for left_behind in folder.glob(f"{_DRAFT}-*"):  # by a process that was killed
      shutil.rmtree(left_behind, ignore_errors=True)
    draft.mkdir(parents=True)
    if arrays:
      with _orbax() as ocp:
        ocp.Checkpointer(ocp.PyTreeCheckpointHandler()).save(draft.absolute() / _STATE, arrays)
    manifest.seal(draft, {"step": step, "tree": _describe(tree), "extra": extra or {}})
    if final.exists():
      shutil.rmtree(replaced, ignore_errors=True)
      os.replace(final, replaced)
    os.replace(draft, final)
    manifest.flush(folder)
  except _FAULTS as error:
    shutil.rmtree(draft, ignore_errors=True)
    raise Refused(
      f"step {step} cannot be saved in {folder}: {_one_line(error)}; "
      "earlier steps are intact, make room or choose another --workdir"
    ) from error
  _prune(folder, step, keep)


def latest(folder: str | os.PathLike) -> int | None:
  """The newest step saved in the folder, or None. Whether its bytes are still good, `restore` finds out."""
  return max(_steps(Path(folder)), default=None)


def restore(
  folder: str | os.PathLike, like: Any, step: int | None = None, warn: Callable[[str], object] = warnings.warn
) -> tuple[Any, dict]:
  """Loads (tree, extra) of `step`, or of the newest step whose every byte is as it was saved.

  Args:
    folder: what `save` was given.
    like: a pytree of the same structure whose leaves (arrays or ShapeDtypeStructs) give shape, dtype and sharding.
    step: the one step wanted; None falls back from a damaged step to the one before it.
    warn: is told, in one line, about every damaged step that was passed over.

  Raises:
    Refused: no such step, no undamaged step, or another tree, shape or dtype than `like` (nothing is ever cast).
  """
  folder = Path(folder)
  found = _steps(folder)
  wanted = sorted(found, reverse=True) if step is None else [step]
  if not found or wanted[0] not in found:
    which = "no checkpoint" if step is None else f"no step {step}"
    have = f"; it has {', '.join(map(str, sorted(found)))}" if found else ""
    raise Refused(f"{folder} holds {which}{have}; give the folder of a run that saved one")
  faults = []
  for number in wanted:
    try:
      body = manifest.opened(found[number])
    except manifest.Damaged as fault:
      faults.append(str(fault))
      continue
    for fault in faults:
      warn(f"{fault}; step {number} is used instead")
    return _load(found[number], body, like), body["extra"]
  raise Refused(f"{'; '.join(faults)}; no undamaged step is left, delete {folder} and start again")


# ---------------------------------------------------------------------------------------------------------------------
# The tree


def _load(folder, body, like):
  leaves, treedef = jax.tree.flatten(like)
  _same(folder, body["tree"], _describe(like))
  named = {_name(i): leaf for i, leaf in enumerate(leaves) if _size(leaf)}
  arrays = _read(folder, named) if named else {}
  tree = jax.tree.unflatten(treedef, [_placed(arrays.get(_name(i)), leaf) for i, leaf in enumerate(leaves)])
  _same(folder, body["tree"], _describe(tree))
  return tree


def _read(folder, named):
  """Orbax's arrays, once its own metadata agrees with `named` (a shape out of all proportion is never allocated)."""
  expected = {name: _describe(_raw_shape(leaf)) for name, leaf in named.items()}
  try:
    with _orbax() as ocp:
      reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
      about = reader.metadata(folder.absolute() / _STATE).item_metadata
      held = {} if about is None else {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in about.tree.items()}
      if {name: _describe(leaf) for name, leaf in held.items()} != expected:
        raise ValueError("its arrays are not those of the manifest")
      # Arrays that were placed on purpose come back under that sharding; all else comes through host memory.
      args = {
        name: ocp.ArrayRestoreArgs(sharding=_sharding(leaf))
        if _sharding(leaf) is not None and not _is_key(leaf)
        else ocp.RestoreArgs(restore_type=np.ndarray)
        for name, leaf in named.items()
      }
      wanted = ocp.args.PyTreeRestore(item=dict.fromkeys(named, 0), restore_args=args)
      return reader.restore(folder.absolute() / _STATE, args=wanted)
  except _FAULTS as error:
    raise Refused(
      f"{folder / _STATE} cannot be read: {_one_line(error)}; delete {folder} to use an earlier step"
    ) from error


def _same(folder, saved, wanted):
  """Refuses the first difference between the saved and the wanted [[path, dtype and shape], ...]."""
  if saved == wanted:
    return
  saved, wanted = dict(saved), dict(wanted)
  path = next((path for path in [*saved, *wanted] if saved.get(path) != wanted.get(path)), None)
  here, there = (tree.get(path, "nothing") for tree in (saved, wanted))
  raise Refused(
    f"{folder} holds {here} at tree{path or ''} where this run has {there}; "
    "continue with the config it was saved under, or choose another --workdir"
  )


def _describe(tree):
  """[[path, dtype and shape], ...] of all leaves in order, as JSON holds it."""
  described = []
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    described.append([jax.tree_util.keystr(path), f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"])
  return described


def _raw(leaf):
  leaf = jax.random.key_data(leaf) if _is_key(leaf) else leaf
  return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _raw_shape(leaf):
  return jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf


def _placed(value, like):
  """`value` as the kind of leaf that `like` is; a leaf without elements (value None) is made anew."""
  if value is None:
    empty = _raw_shape(like)
    value = np.zeros(empty.shape, empty.dtype)
  if _is_key(like):
    value = jax.random.wrap_key_data(jax.numpy.asarray(value), impl=_key_impl(like))
  elif isinstance(like, (bool, int, float)):
    return type(like)(value.item())
  elif isinstance(like, np.generic):
    return value[()]
  elif isinstance(like, np.ndarray) or isinstance(value, jax.Array):
    return value
  return jax.device_put(value, _sharding(like))


def _sharding(leaf):
  """The sharding a leaf was given; None for host arrays and for arrays left where jax happened to put them."""
  if isinstance(leaf, jax.Array):
    return leaf.sharding if leaf.committed else None
  return getattr(leaf, "sharding", None)


def _is_key(leaf):
  return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_impl(like):
  found = []
  jax.eval_shape(lambda key: found.append(jax.random.key_impl(key)), like)  # abstract keys have no impl to ask for
  return found[0]


def _size(leaf):
  return np.prod(np.shape(leaf), dtype=np.int64)  # Orbax refuses arrays without elements


def _name(place):
  return f"{place:05d}"


# ---------------------------------------------------------------------------------------------------------------------
# The folder


def _steps(folder):
  """{step: folder}. A step that was being replaced when the process died counts under its old bytes."""
  found = {}
  for suffix in (_REPLACED, ""):
    for path in folder.iterdir() if folder.is_dir() else ():
      number = path.name.removesuffix(suffix)
      if path.name == number + suffix and number.isascii() and number.isdigit() and path.is_dir():
        found[int(number)] = path
  return found


def _prune(folder, step, keep):
  found = _steps(folder)
  kept = {found[number] for number in sorted(number for number in found if number <= step)[-keep:]}
  for path in (*found.values(), *folder.glob(f"*{_REPLACED}")):
    if path not in kept:
      shutil.rmtree(path, ignore_errors=True)


def _one_line(error):
  return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def _orbax():
  """Orbax, imported late and kept from chattering through absl's logger."""
  logger = logging.getLogger("absl")
  before = logger.level
  logger.setLevel(logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      import orbax.checkpoint as ocp

      yield ocp
  finally:
    logger.setLevel(before)
