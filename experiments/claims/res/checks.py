"""Residual connections: gradients at the input of untrained stacks, and what a block does without its sublayer.

d = |dL/dx_0|, x_0 the embedded input: by depth, by norm placement, with and without residual. With a residual
dy/dx = I + df/dx (He et al. 2016). Ratios of weight gradients are blind to depth: what shrinks on the way up and what
shrinks on the way down cancel in them.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import Samples, call, cases, one_row, stack
from model import build, initial, mask
from model.block import Block
from train import metrics
from train.tasks.recall import Recall

SEEDS = range(100, 112)
DEPTHS = (2, 6, 12, 24)
ALIKE_AT = 12  # layers after which the likeness of tokens is told
DRAWS, BATCH = 4, 8  # models per seed, whose numbers are averaged, and rows that each of them reads


class Wired(NamedTuple):
  """A wiring whose stacks are compared; `shrink`: last matrices of sublayers times depth^-1/2."""

  norm: str
  residual: bool
  shrink: bool = False

  @property
  def name(self) -> str:
    return f"{self.norm}, {'with' if self.residual else 'without'}{', shrunk' if self.shrink else ''}"


WIRED = (
  *(Wired(norm, residual) for norm in ("none", "pre", "post") for residual in (True, False)),
  Wired("none", residual=True, shrink=True),
)


def gradients() -> Samples:
  """RES-1, RES-1b, NORM-3, NORM-3b: natural log of d per layer, and the likeness of tokens above 12 layers.

  `slope` is the least-squares slope of log d over depth; `vanishing` and `exploding` are how far it lies below and
  above 0, `size` is either. `alike` is the mean cosine between the states of two tokens of a row. One number per seed.
  """
  samples = Samples()
  for wired in WIRED:
    logs_ND, alike_N = _by_depth(wired)
    for log_D, alike in zip(logs_ND, alike_N, strict=True):
      slope = float(np.polyfit(DEPTHS, log_D, 1)[0])
      numbers = {"slope": slope, "vanishing": max(-slope, 0.0), "exploding": max(slope, 0.0), "size": abs(slope)}
      samples.add(**{f"{what}, {wired.name}": number for what, number in (numbers | {"alike": alike}).items()})
  return samples


@functools.cache
def _by_depth(wired: Wired) -> tuple[np.ndarray, np.ndarray]:
  """Logs of d (seeds, depths) and the likeness of tokens (seeds,), means over the models drawn from a seed."""
  keys_N = jnp.concatenate([jax.random.split(jax.random.key(seed), DRAWS) for seed in SEEDS])
  gain_D = np.array([depth**-0.5 if wired.shrink else 1.0 for depth in DEPTHS], np.float32)
  found = jax.device_get(_measure(wired.norm, wired.residual, keys_N, gain_D))
  norms_NRD, alike_NRD = (each.reshape(len(SEEDS), DRAWS, len(DEPTHS)).astype(np.float64) for each in found)
  return np.log(norms_NRD).mean(1), alike_NRD.mean(1)[:, DEPTHS.index(ALIKE_AT)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measure(norm, residual, keys_N, gain_D):
  """The norms d and the likeness of tokens, both (models, depths), of untrained encoders on a batch of the task."""
  task = Recall(pairs=4, keys=6, values=6, queries=4, relations=1)
  abstract = nnx.eval_shape(lambda: build.model(options(norm, residual), task.vocabulary))

  def of_depth(key, depth, gain):
    model, layers_L = draw(abstract, key, max(DEPTHS), gain)
    batch = task.sample(jax.random.fold_in(key, max(DEPTHS)), BATCH)
    active_L = jnp.arange(max(DEPTHS)) < depth

    def loss_of(x_BTM):
      states_BTM = climb(abstract, layers_L, active_L, x_BTM)
      return loss(model, states_BTM, batch), states_BTM

    (_, states_BTM), slope_BTM = jax.value_and_grad(loss_of, has_aux=True)(embedded(model, batch.inputs))
    return jnp.linalg.norm(slope_BTM), alike(states_BTM)

  # Models one after another: side by side, what the layers keep for the way back would not fit a small machine.
  by_depth = jax.vmap(of_depth, (None, 0, 0))
  return jax.lax.map(lambda key: by_depth(key, jnp.array(DEPTHS), gain_D), keys_N)


def options(norm: str, residual: bool) -> dict[str, Any]:
  """An encoder of one layer; every layer of a stack is built like it."""
  return {
    "kind": "bert",
    "width": 32,
    "heads": 2,
    "depth": 1,
    "feedforward": {"kind": "relu", "hidden": 64},
    "wiring": {"norm": norm, "residual": residual},
  }


def draw(abstract, key, depth: int, out_gain):
  """The drawn encoder of one layer, and the weights of `depth` such layers on a leading axis."""
  graphdef, params, _ = nnx.split(abstract, nnx.Param, ...)
  scheme = {"kind": "glorot", "out_gain": out_gain}
  model = nnx.merge(graphdef, initial.draw(params, key, scheme), initial.settings(abstract))
  of_layer = nnx.state(abstract.encoder.layers[0], nnx.Param)
  keys_L = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(depth))
  return model, jax.vmap(lambda key: initial.draw(of_layer, key, scheme))(keys_L)


def embedded(model, inputs):
  """x_0 (B, T, M): what enters the first layer."""
  return model.encoder.position.embed(model.embedding(inputs.tokens_BTC), inputs.positions)


def climb(abstract, layers_L, active_L, x_BTM):
  """The states (B, T, M) above those layers that are active; one compiled layer serves all depths."""
  block = abstract.encoder.layers[0]
  graphdef, rest = nnx.graphdef(block), initial.settings(block)
  sight = one_row(x_BTM.shape[1], mask.everything())

  def layer(x_BTM, item):
    values, active = item
    return jnp.where(active, nnx.merge(graphdef, values, rest)(x_BTM, sight)[0], x_BTM), None

  return jax.lax.scan(layer, x_BTM, (layers_L, active_L))[0]


def loss(model, states_BTM, batch):
  """The task's loss of the states above the last layer."""
  norm = model.encoder.norm
  logits_BTRV = model.readout(states_BTM if norm is None else norm(states_BTM))
  return metrics.cross_entropy(logits_BTRV, batch.targets_BTR, batch.weights_BTR)


def alike(states_BTM):
  """Mean cosine between the states of two different tokens of a row: 1 when a stack has made them all one."""
  unit_BTM = states_BTM / jnp.linalg.norm(states_BTM, axis=-1, keepdims=True)
  cosine_BTS = jnp.einsum("btm,bsm->bts", unit_BTM, unit_BTM)
  others_TS = 1.0 - jnp.eye(states_BTM.shape[1])
  return (cosine_BTS * others_TS).sum((1, 2)).mean() / others_TS.sum()


def block() -> Samples:
  """RES-4: a block whose sublayer gives 0, and how a block moves with its input beside how its sublayer does.

  The block is one of attention alone, f. Without a norm after it, it returns x + f; else the normalized sum.
  """
  samples = Samples()
  for placement in ("pre", "post"):
    for case in cases(functools.partial(one_sublayer, norm=placement)):
      (layer,) = case.modules
      silent, excess, moved = call(_responses, layer, case.x_BTM, case.other_BTM)
      samples.add(**{f"{placement}: silent block less its input": np.abs(silent).max()})
      samples.add(**{f"{placement}: slope of the block less 1 and that of f": np.abs(excess).max()})
      samples.add(**{f"{placement}: slope of f": np.abs(moved).max()})
  return samples


def one_sublayer(shape, norm: str) -> Block:
  """A block of attention with nothing after it."""
  return Block(stack(shape, wiring={"norm": norm}, feedforward={"kind": "none"}), layer=0)


def sublayer(block: Block, x_BTM):
  """f: what attention makes of the input, through the norm where that stands before."""
  h_BTM = normed(block, x_BTM) if block.wiring.norm == "pre" else x_BTM
  return block.attention(h_BTM, h_BTM, one_row(x_BTM.shape[1], mask.everything()))[0]


def normed(block: Block, x_BTM):
  """The input through the block's norm, wherever that stands."""
  assert block.attention_norm is not None
  return block.attention_norm(x_BTM)


def _responses(block: Block, x_BTM, way_BTM):
  """The silent block less x; the derivatives along `way` of the block less that of x + f; and that of f.

  With the norm after the sum, x and x + f are normalized first.
  """
  around = functools.partial(normed, block) if block.wiring.norm == "post" else (lambda h_BTM: h_BTM)
  sight = one_row(x_BTM.shape[1], mask.everything())

  def all_three(x_BTM):
    f_BTM = sublayer(block, x_BTM)
    return block(x_BTM, sight)[0], around(x_BTM + f_BTM), f_BTM

  moved_BTM, added_BTM, alone_BTM = jax.jvp(all_three, (x_BTM,), (way_BTM,))[1]
  block.attention.out[...] = jnp.zeros_like(block.attention.out[...])
  return block(x_BTM, sight)[0] - around(x_BTM), moved_BTM - added_BTM, alone_BTM
