"""What probes share: recorded forward passes, who could see whom, and which token holds the answer to a question.

Everything here is traceable; a probe compiles one function of (graph, state, batch) and calls it for every trial.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.probes.subject import Subject
from model.errors import Refused
from model.heads import Heads
from model.language import Inputs
from model.mask import Mask, everything
from train.tasks.recall import Recall
from train.tasks.task import Batch


class Layer(NamedTuple):
  """One place of attention: weights (B, H, T, S), with S keys, and head outputs before W_O (B, T, H, Dv)."""

  weights_BHTS: jax.Array
  out_BTHD: jax.Array


def split(model: nnx.Module) -> tuple[nnx.GraphDef, nnx.State]:
  """A model as (static graph, arrays): what a compiled probe takes; trials of one cohort have equal graphs."""
  return nnx.split(model)


def record(model: nnx.Module, inputs: Inputs) -> tuple[jax.Array, dict[str, Layer]]:
  """Logits (B, T, R, V) and every place of attention by its name ("encoder/0", "decoder/1/cross")."""
  entries: list = []
  logits_BTRV, _ = model(inputs, record=entries)
  return logits_BTRV, {entry["name"]: _layer(entry) for entry in entries}


def _layer(entry) -> Layer:
  weights_BKGTS, out_BTKGD = entry["weights_BKGTS"], entry["out_BTKGD"]
  if weights_BKGTS is None:
    raise Refused(f"{entry['name']} has no attention weights to look at; use a mechanism that has, or drop the probe")
  B, K, G, T, S = weights_BKGTS.shape
  return Layer(weights_BKGTS.reshape(B, K * G, T, S), out_BTKGD.reshape(B, T, K * G, -1))


def places(model: nnx.Module) -> dict[str, Heads]:
  """The heads behind every name of `record`, in the order of the layers."""
  found = {}
  for stack in (getattr(model, name) for name in ("encoder", "decoder") if hasattr(model, name)):
    if not hasattr(stack, "layers"):
      raise Refused(f"{type(model).__name__} has no stack of attention layers to look at; drop the probe")
    for layer, block in enumerate(stack.layers):
      own, cross = stack.names(layer)
      found[own] = block.attention
      if block.cross is not None:
        found[cross] = block.cross
  return found


def count(model: nnx.Module) -> dict[str, int]:
  """Number of heads at every place."""
  return {name: heads.out.shape[0] * heads.out.shape[1] for name, heads in places(model).items()}


def keep(model: nnx.Module, kept: dict[str, jax.Array]) -> nnx.Module:
  """Changes `model` so that only some heads speak: `kept` holds 0 or 1 per head (H,), for each place.

  Zeroed rows of W_O remove what a head adds and nothing else. For use on a model merged inside of jit.
  """
  for name, heads in places(model).items():
    kept_KG11 = kept[name].reshape(*heads.out.shape[:2], 1, 1)
    heads.out = nnx.Param(heads.out[...] * kept_KG11)  # a new one: the old belongs to the trace outside of `map`
  return model


def right(logits_BTRV: jax.Array, batch: Batch) -> jax.Array:
  """Accuracy per readout, (R,)."""
  right_BTR = (logits_BTRV.argmax(-1) == batch.targets_BTR) * batch.weights_BTR
  return right_BTR.sum((0, 1)) / jnp.maximum(batch.weights_BTR.sum((0, 1)), 1.0)


@partial(jax.jit, static_argnums=0)
def accuracies(graph: nnx.GraphDef, state: nnx.State, kept_N: dict[str, jax.Array], batch: Batch) -> jax.Array:
  """Accuracy per readout for each of N choices of heads, (N, R); `kept_N` holds (N, H) for each place."""

  def one(kept):
    return right(keep(nnx.merge(graph, state), kept)(batch.inputs)[0], batch)

  return jax.lax.map(one, kept_N)


def by_place(kept_NH: np.ndarray, heads: dict[str, int]) -> dict[str, np.ndarray]:
  """Rows over all heads of a model as what `accuracies` takes; `heads` from `count`."""
  parts = np.split(kept_NH.astype(np.float32), np.cumsum(list(heads.values()))[:-1], axis=1)
  return dict(zip(heads, parts, strict=True))


def seen(model: nnx.Module, inputs: Inputs, name: str) -> jax.Array:
  """Booleans (B|1, T, S): which keys a query could attend to at this place, by the model's own rule."""
  own, source = inputs.positions, inputs.source_positions
  if source is not None and name.endswith("/cross"):
    return Mask(own, source, everything()).tile()
  if source is not None and name.startswith("encoder"):
    own = source
  return Mask(own, own, getattr(model, name.split("/")[0]).rule).tile()


def scored(batch: Batch, name: str) -> jax.Array:
  """Weights (B|1, T): 1 for the queries whose answers count; in the encoder of a pair, every token of the source."""
  source = batch.inputs.source_positions
  if source is not None and name.startswith("encoder"):
    return jnp.asarray(source.segment_BT > 0, jnp.float32)
  return (batch.weights_BTR > 0).any(-1).astype(jnp.float32)


def asked(batch: Batch) -> jax.Array:
  """Booleans (B, R, T, S) for a batch of `Recall`: does memory token s hold the key that query t asks in slot r?

  A slot that is empty (noise, or a memory token) asks for nothing. With hops it is the first token of the chain.
  """
  tokens_BTC = batch.inputs.tokens_BTC
  held_BS, query_BTR = tokens_BTC[:, :, 0], tokens_BTC[:, :, 2:]
  match_BTRS = (query_BTR[..., None] == held_BS[:, None, None, :]) & (query_BTR > 0)[..., None]
  return match_BTRS.transpose(0, 2, 1, 3)


def slot_mass(weights_BHTS: jax.Array, asked_BRTS: jax.Array) -> jax.Array:
  """Mean attention of each head on the asked token of each slot, (H, R), over queries that ask in that slot."""
  asks_BRT = asked_BRTS.any(-1)
  mass_HR = jnp.einsum("bhts,brts->hr", weights_BHTS, asked_BRTS.astype(weights_BHTS.dtype))
  return mass_HR / jnp.maximum(asks_BRT.sum((0, 2)), 1)


def asks(subject: Subject) -> bool:
  """Is the task one of which `asked` knows the answers?"""
  return isinstance(subject.task, Recall)


def need_recall(subject: Subject, probe: str) -> None:
  """Refuses a task whose questions `asked` cannot read."""
  if not asks(subject):
    raise Refused(f"probe {probe} reads task.kind=recall only, not {subject.config['task']['kind']}; drop the probe")


def average(parts: list) -> dict:
  """Mean over batches of equal size, as floats on the host."""
  host = jax.device_get(parts)
  return jax.tree.map(lambda *leaves: float(sum(leaves) / len(leaves)), *host)
