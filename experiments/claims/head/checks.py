"""Exact checks of what several heads can do that one cannot, and of what they do not do by themselves.

A head realizes a permutation p with two features: keys on a circle, query i at the angle of key p(i), a large gain.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from model import build, initial, mask
from model.heads import Heads
from train.metrics import cross_entropy
from train.tasks.recall import Recall

SEEDS = (0, 1, 2)
SHAPES = ((6, 2), (10, 3), (16, 4))  # tokens and heads
GAIN = 400.0  # on scores: neighbors on a circle of 16 differ by .076, so e^-22 is left for the second key
STEPS = 200

Samples = dict[str, list[float]]


def expression() -> Samples:
  """HEAD-12: m heads with two features each realize m permutations at once; what fewer heads miss; who mixes scores.

  "left out": the part of the target sum_r P_r x W_r (P_r permutations of the tokens) that no sum of fewer terms A x W,
  of whatever width, can reach: the tail of its singular values once blocks are rows (Van Loan & Pitsianis 1993).
  """
  samples: Samples = {}
  for (tokens, heads), seed in itertools.product(SHAPES, SEEDS):
    rng = np.random.default_rng([seed, tokens, heads])
    order_HT = _permutations(rng, heads, tokens)
    layer = permuting(order_HT)
    weights_HTS, y_TM = _look(layer, jnp.eye(tokens))
    other = permuting(np.concatenate([order_HT[:1], _permutations(rng, heads - 1, tokens)]))
    moved_HTS, moved_TM = _look(other, jnp.eye(tokens))
    found = {
      "distance of m heads from m permutations": _variation(weights_HTS, order_HT),
      "error of the outputs of m heads": np.abs(y_TM - target(order_HT)).max(),
      "left out by m - 1 heads": left_out(order_HT, heads - 1),
      "left out by one head": left_out(order_HT, 1),
      "change of one head's weights by the others": np.abs(moved_HTS[0] - weights_HTS[0]).max(),
      "change of the layer's output by the others": np.abs(moved_TM - y_TM).max(),
    }
    for name, value in found.items():
      samples.setdefault(name, []).append(float(value))
  return samples


def _permutations(rng: np.random.Generator, count: int, tokens: int) -> np.ndarray:
  return np.array([rng.permutation(tokens) for _ in range(count)])


def permuting(order_HT: np.ndarray) -> Heads:
  """A layer over one-hot tokens whose head h copies token order[h, t] to output t, into columns of its own.

  The outputs of the heads stand side by side: feature h * T + s of output t is 1 where head h read token s. One-hot
  tokens of T features are padded with zeros to the model's width H * T.
  """
  heads, tokens = order_HT.shape
  width = heads * tokens
  layer = nnx.eval_shape(
    lambda: Heads(width, heads=heads, head_dim=2, value_dim=tokens, mechanism={"kind": "dot", "scale": 1.0})
  )
  angle_T = 2 * np.pi * np.arange(tokens) / tokens
  circle_T2 = np.stack([np.cos(angle_T), np.sin(angle_T)], 1)
  arrays = {name: np.zeros(getattr(layer, name).shape, np.float32) for name in ("query", "key", "value", "out")}
  for h in range(heads):
    arrays["query"][:tokens, h, 0] = GAIN * circle_T2[order_HT[h]]
    arrays["key"][:tokens, h] = circle_T2
    arrays["value"][:tokens, h] = np.eye(tokens)
    arrays["out"][h, 0, :, h * tokens : (h + 1) * tokens] = np.eye(tokens)
  for name, array in arrays.items():
    setattr(layer, name, nnx.Param(jnp.asarray(array)))
  layer.mechanism.scale = initial.dial(1.0)
  return layer


def target(order_HT: np.ndarray) -> np.ndarray:
  """What the outputs should be, (T, H * T): the one-hot tokens in each of the H orders, side by side."""
  return np.concatenate([np.eye(order_HT.shape[1])[order] for order in order_HT], axis=1)


def left_out(order_HT: np.ndarray, terms: int) -> float:
  """The least relative error of any sum of `terms` products A x W to sum_r P_r x W_r with orthogonal W_r of one size.

  Such a sum is a matrix of that rank with rows (entries of A) and columns (entries of W), so the best one is a
  truncated singular value decomposition; for orthogonal W_r the singular values are those of the P_r as rows.
  """
  rows = np.eye(order_HT.shape[1])[order_HT].reshape(len(order_HT), -1)
  values = np.linalg.svd(rows, compute_uv=False)
  return float(np.sqrt(np.square(values[terms:]).sum() / np.square(values).sum()))


def _variation(weights_HTS: np.ndarray, order_HT: np.ndarray) -> float:
  """Largest total variation distance of a row of weights from the wanted token."""
  return 1.0 - float(np.take_along_axis(weights_HTS, order_HT[:, :, None], 2).min())


def _look(layer: Heads, x_TT) -> tuple[np.ndarray, np.ndarray]:
  """Weights (H, T, S) and output (T, M) of one-hot tokens padded to the width."""
  graph, state = nnx.split(layer)
  return jax.device_get(_run(graph, state, x_TT))


@partial(jax.jit, static_argnums=0)
def _run(graph, state, x_TT):
  layer = nnx.merge(graph, state)
  tokens, width = x_TT.shape[0], layer.query.shape[0]
  x_BTM = jnp.pad(x_TT, ((0, 0), (0, width - tokens)))[None]
  record: list = []
  positions = mask.rows(tokens)
  with jax.default_matmul_precision("highest"):
    y_BTM, _ = layer(x_BTM, x_BTM, mask.Mask(positions, positions, mask.everything()), record=record)
  return record[0]["weights_BKGTS"][0, :, 0], y_BTM[0]


def guarantee() -> Samples:
  """HEAD-15: two heads that start equal, after 200 steps of gradient descent on recall; and two that start apart."""
  samples: Samples = {}
  for seed, (name, equal) in itertools.product(SEEDS, {"start equal": 1.0, "start apart": 0.0}.items()):
    found = jax.device_get(_trained(jax.random.key(seed), equal))
    for what, value in zip(("largest difference", "loss, last over first"), found, strict=True):
      samples.setdefault(f"heads that {name}: {what}", []).append(float(value))
  return samples


@jax.jit
def _trained(key, equal):
  """Largest difference between the projections of two heads after training, over two layers; last loss over first."""
  task = Recall(pairs=4, keys=8, values=4, queries=4, relations=2)
  options = {"kind": "bert", "width": 16, "heads": 2, "depth": 2, "feedforward": {"kind": "relu", "hidden": 16}}
  abstract = nnx.eval_shape(lambda: build.model(options, task.vocabulary))
  graph, params, _ = nnx.split(abstract, nnx.Param, initial.Dial)
  drawn = nnx.to_flat_state(initial.draw(params, key, {"kind": "glorot"}))
  start = nnx.from_flat_state({path: _twins(path, leaf, equal) for path, leaf in drawn})
  dials = initial.settings(abstract)

  def loss_of(values, index):
    batch = task.sample(jax.random.fold_in(key, index), 32)
    logits_BTRV, _ = nnx.merge(graph, values, dials)(batch.inputs)
    return cross_entropy(logits_BTRV, batch.targets_BTR, batch.weights_BTR)

  def step(values, index):
    loss, slopes = jax.value_and_grad(loss_of)(values, index)
    return jax.tree.map(lambda value, slope: value - 0.3 * slope, values, slopes), loss

  end, losses = jax.lax.scan(step, start, jnp.arange(STEPS))
  apart = [jnp.abs(first - second).max() for first, second in map(_two_heads, nnx.to_flat_state(end)) if second.size]
  return jnp.stack(apart).max(), losses[-1] / losses[0]


def _two_heads(entry):
  """The parts of a parameter (path, value) that belong to the two heads; the second is empty where there are none."""
  path, leaf = entry
  if path[-1] in ("query", "key", "value"):
    return leaf[:, 0], leaf[:, 1]
  return (leaf[0], leaf[1]) if path[-1] == "out" else (leaf, leaf[:0])


def _twins(path, leaf, equal):
  """The parameter as drawn, or with `equal` 1 the second head's part set to the first's."""
  first, second = _two_heads((path, leaf))
  if not second.size:
    return leaf
  axis = 0 if path[-1] == "out" else 1
  return jnp.stack([first, jnp.where(equal > 0, first, second)], axis)
