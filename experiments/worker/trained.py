"""A kept model, restored: its logits, its attention weights, what it generates, its parameters. All arrays are numpy.

Positions are static in the compiled programs, as in training, so that what no table holds is refused in words.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.probes import recording
from experiments.record import atomic, stamp
from experiments.run.cohorts import Pack
from experiments.run.store import Store
from experiments.worker import pack as packs
from model import sampling
from model.errors import Refused
from model.language import Inputs, check_tokens
from model.mask import Positions, rows
from train import checkpoint
from train.state import STREAMS
from train.tasks.task import Batch, check_split


@dataclasses.dataclass(frozen=True)
class Restored:
  """The trained model of one trial with its task, as it stood at `step`; `stale` names code and data changed since."""

  model: nnx.Module
  task: Any
  config: Mapping[str, Any]
  step: int
  stale: tuple[str, ...]
  key: jax.Array  # the member's root key


def restored(
  root: Path, trial: str, config: Mapping[str, Any], *, keep_stale: bool, warn: Callable[[str], None]
) -> Restored:
  """The model of a finished trial that kept its checkpoint. Raises Refused in one line for what stands against it."""
  store = Store(root)
  result = store.result(trial)
  if result is None:
    raise Refused(f"trial {trial} of {root} has no result; run the command that began it to its end, then load again")
  stamp.forget()  # a session may have seen other code
  changed = tuple(stamp.changed(config, result))
  if changed and not keep_stale:
    raise Refused(
      f"trial {trial} of {root} was trained by other code or data: {', '.join(changed)} changed since; train it again, "
      "or give keep_stale=True to take it as it is"
    )
  pack = _pack(store, trial)
  cohort = packs.prepare(config)
  kept = packs.restore(store, pack, cohort, warn)
  assert kept is not None  # _pack saw a checkpoint
  state, member = kept
  index = pack.keys.index(trial)
  model = cohort.whole.model(state, member, index)
  return Restored(model, cohort.task, config, int(state.step[index]), changed, state.key[index])


def _pack(store: Store, trial: str) -> Pack:
  """The pack that the trial was trained in, with its checkpoint still there."""
  for path in sorted(store.root.glob("cohorts/*/members.json")):
    try:
      members = atomic.read_sealed(path)
    except atomic.Damaged:
      continue  # it belongs to nobody then
    keys = tuple(members.get("trials", ()))
    if trial in keys and checkpoint.latest(path.parent / "checkpoints") is not None:
      return Pack(members["cohort"], keys, tuple(store.config(key) for key in keys))
  raise Refused(
    f"{store.root} keeps no checkpoint of trial {trial}; train it with `assay train`, or sweep with keep=True in a new "
    "workdir"
  )


def examples(one: Restored, size: int, seed: int, split: str) -> Batch:
  """A batch of the task: fresh rows of the split, the same for the same seed."""
  check_split(split)
  data = jax.tree.map(jnp.asarray, one.task.data(split))
  key = jax.random.fold_in(jax.random.fold_in(one.key, STREAMS[split]), 1000 + seed)
  return one.task.sample(key, size, data)


# ---------------------------------------------------------------------------------------------------------------------
# What goes in


def inputs_of(one: Restored, given: Any, source: Any = None) -> Inputs:
  """`given` as Inputs: Inputs as they are, or rows of symbols, which may differ in length, from position 0.

  A row is a list of symbols, or of tuples where tokens have several fields; a text where the task knows how it is
  spelled (`encode`). source: the same for an encoder-decoder. Raises Refused for symbols outside the vocabulary.
  """
  if not isinstance(given, Inputs):
    vocabulary = one.task.vocabulary
    tokens_BTC, positions = _rows(numbered(one.task, given), len(vocabulary.inputs), "tokens")
    given = Inputs(tokens_BTC, positions)
    if vocabulary.source:
      if source is None:
        raise Refused("this model reads a source too; give source=[[...], ...], or model.language.Inputs")
      given = given._replace(**_source(source, len(vocabulary.source)))
    elif source is not None:
      raise Refused(f"model.kind={one.config['model']['kind']} reads no source; leave source out")
  elif source is not None:
    raise Refused("Inputs hold their source already; leave source out")
  check_tokens(given, one.task.vocabulary)
  if given.source_BSC is not None and len(given.source_BSC) != len(given.tokens_BTC):
    raise Refused(f"{len(given.tokens_BTC)} rows have {len(given.source_BSC)} sources; give each row one")
  return given


def numbered(task: Any, given: Any) -> Any:
  """Texts as rows of symbols by the task's `encode`; anything else as it is."""
  texts = [given] if isinstance(given, str) else list(given) if isinstance(given, list | tuple) else []
  if not texts or not all(isinstance(text, str) for text in texts):
    return given
  if not hasattr(task, "encode"):
    raise Refused(f"{type(task).__name__} has symbols and no text: {texts[0]!r:.40}; give rows such as [[1, 2, 3]]")
  if "" in texts:
    raise Refused("a text is empty; give at least one symbol to go on from")
  return [task.encode(text) for text in texts]


def spelled(task: Any) -> tuple[str, ...] | None:
  """What each symbol of a task that knows texts looks like, such as "a" or "␣"; None where it knows none."""
  if not hasattr(task, "decode") or len(task.vocabulary.inputs) != 1:
    return None
  plain = {" ": "␣", "\n": "⏎", "\t": "⇥"}
  texts = [str(task.decode([number])) for number in range(task.vocabulary.inputs[0])]
  return tuple(plain.get(text, text) for text in texts)


def _source(given: Any, fields: int) -> dict[str, Any]:
  source_BSC, source_positions = _rows(given, fields, "source")
  return {"source_BSC": source_BSC, "source_positions": source_positions}


def _rows(given: Any, fields: int, name: str) -> tuple[Any, Positions]:
  """Rows of symbols as an array (B, T, C), the shorter ones filled with segment 0 behind."""
  wanted = "rows of whole numbers such as [[1, 2, 3]]" + (f", each token {fields} fields" if fields > 1 else "")
  try:
    found = [np.asarray(row) for row in given]
  except (TypeError, ValueError) as error:
    raise Refused(f"{name} are not rows of symbols ({error}); give {wanted}") from error
  if found and all(row.ndim == 0 for row in found):  # one row without its outer brackets
    found = [np.asarray(found)]
  found = [row[:, None] if row.ndim == 1 and fields == 1 else row for row in found]
  for row in found:
    if row.ndim != 2 or row.shape[-1] != fields or row.dtype.kind not in "iu" or not len(row):
      raise Refused(f"{name}: a row of shape {row.shape} and type {row.dtype} does not fit; give {wanted}")
  if not found:
    raise Refused(f"{name} hold no row; give {wanted}")
  lengths = [len(row) for row in found]
  tokens_BTC = np.zeros((len(found), max(lengths), fields), np.int32)
  for index, row in enumerate(found):
    tokens_BTC[index, : len(row)] = row
  if min(lengths) == max(lengths):
    return tokens_BTC, rows(max(lengths))
  there_BT = np.arange(max(lengths))[None] < np.asarray(lengths)[:, None]
  pos_BT = np.broadcast_to(np.arange(max(lengths), dtype=np.int32), there_BT.shape)
  return tokens_BTC, Positions(pos_BT, there_BT.astype(np.int32))


@dataclasses.dataclass(frozen=True)
class Places:
  """Positions that can be a static argument of a compiled program."""

  shape: tuple[int, ...]
  pos: bytes
  segment: bytes

  @classmethod
  def of(cls, positions: Positions | None) -> "Places | None":
    if positions is None:
      return None
    pos_BT, segment_BT = np.broadcast_arrays(*(np.asarray(part, np.int32) for part in positions))
    return cls(pos_BT.shape, pos_BT.tobytes(), segment_BT.tobytes())

  @property
  def positions(self) -> Positions:
    return Positions(*(np.frombuffer(part, np.int32).reshape(self.shape) for part in (self.pos, self.segment)))


def _static(inputs: Inputs) -> tuple:
  return Places.of(inputs.positions), Places.of(inputs.source_positions)


def _dynamic(inputs: Inputs) -> tuple:
  return jnp.asarray(inputs.tokens_BTC), None if inputs.source_BSC is None else jnp.asarray(inputs.source_BSC)


def _whole(static: tuple, dynamic: tuple) -> Inputs:
  positions, source_positions = (None if places is None else places.positions for places in static)
  assert positions is not None
  return Inputs(dynamic[0], positions, dynamic[1], source_positions)


# ---------------------------------------------------------------------------------------------------------------------
# What comes out


def logits(one: Restored, inputs: Inputs) -> np.ndarray:
  """Logits (B, T, R, V) in float32; what stands at filled-up places means nothing."""
  graph, state = recording.split(one.model)
  return np.asarray(_logits(graph, _static(inputs), state, _dynamic(inputs)))


@partial(jax.jit, static_argnums=(0, 1))
def _logits(graph, static, state, dynamic):
  return nnx.merge(graph, state)(_whole(static, dynamic))[0]


def weights(one: Restored, inputs: Inputs) -> dict[str, np.ndarray]:
  """Attention weights (B, H, T, S) of every place by its name, "encoder/0" or "decoder/1/cross", from the first layer.

  Raises Refused for a model without attention and for a mechanism without weights.
  """
  graph, state = recording.split(one.model)
  try:
    found = _weights(graph, _static(inputs), state, _dynamic(inputs))
  except Refused as refusal:
    text = str(refusal).replace("or drop the probe", "such as dot").replace("drop the probe", "")
    raise Refused(text.rstrip("; ")) from None
  if not found:
    raise Refused(
      f"model.kind={one.config['model']['kind']} has no attention to show; use one that has, or model.reads"
    )
  return {name: np.asarray(found[name]) for name in sorted(found, key=_depth)}


@partial(jax.jit, static_argnums=(0, 1))
def _weights(graph, static, state, dynamic):
  layers = recording.record(nnx.merge(graph, state), _whole(static, dynamic))[1]
  return {name: layer.weights_BHTS for name, layer in layers.items()}


def _depth(place: str) -> tuple:
  """Encoder before decoder, layer by layer, self-attention before cross-attention."""
  stack, *rest = place.split("/")
  layer = int(rest[0]) if rest and rest[0].isdigit() else 0
  return stack != "encoder", layer, place.endswith("cross"), place


def generated(one: Restored, given: Any, length: int, *, temperature: float, seed: int, stop: int | None) -> np.ndarray:
  """Symbols (B, length) that follow `given`: a prompt, or the source of an encoder-decoder; Inputs or rows of symbols.

  temperature 0 takes the most probable symbol, above 0 draws with the seed. stop: None for none; after its first stop a
  row holds stops. Raises Refused for a model that cannot decode and for what its positions do not hold.
  """
  tokens_BTC, positions = _prompt(one, given)
  options = {"length": length, "start": one.task.start, "stop": stop}
  sampling.check(one.model, positions, **options)
  graph, state = recording.split(one.model)
  drawn = (jax.random.key(seed), jnp.float32(temperature)) if temperature > 0 else None
  run = _generated(graph, Places.of(positions), tuple(options.items()), state, jnp.asarray(tokens_BTC), drawn)
  return np.asarray(run)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _generated(graph, places, options, state, tokens_BTC, drawn):
  key, temperature = (None, 1.0) if drawn is None else drawn
  model = nnx.merge(graph, state)
  return sampling.generate(model, tokens_BTC, places.positions, key=key, temperature=temperature, **dict(options))


def _prompt(one: Restored, given: Any) -> tuple[Any, Positions]:
  """What decoding goes on from, with where it stands."""
  vocabulary = one.task.vocabulary
  if isinstance(given, Inputs):
    check_tokens(given, vocabulary)
    if vocabulary.source and given.source_BSC is not None and given.source_positions is not None:
      return given.source_BSC, given.source_positions
    return given.tokens_BTC, given.positions
  fields, name = (vocabulary.source, "source") if vocabulary.source else (vocabulary.inputs, "tokens")
  tokens, positions = _rows(numbered(one.task, given), len(fields), name)
  nothing: Any = np.zeros((0, 0, len(vocabulary.inputs)), np.int32)
  check_tokens(
    Inputs(tokens, positions) if name == "tokens" else Inputs(nothing, positions, tokens, positions), vocabulary
  )
  return tokens, positions


def parameters(one: Restored) -> dict[str, np.ndarray]:
  """Every trained array by its path, "encoder/layers/0/attention/query/kernel" or the like."""
  flat = nnx.to_flat_state(nnx.state(one.model, nnx.Param))
  return {"/".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}
