"""Exact checks of positions: what a permutation, a shift or a mirror image of the input does to a model.

A function f knows nothing of order when f(P x) = P f(x) for every permutation P of the tokens.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.claims.grid import SEEDS, SHAPES, Samples, attention, call, cases, distance, draw, one_row, stack
from model import build, mask
from model.attention.dot import Dot
from model.kernels.softmax import masked
from model.language import Inputs
from model.position.sinusoidal import waves
from model.transformer import Encoder
from train.tasks.roles import Roles

DEPTHS = (1, 2, 4)  # of one shape each: a deeper stack on longer rows


def permuted() -> Samples:
  """POS-1: an encoder without positions on permuted tokens, and on permuted tokens to which sinusoids are added."""
  samples = Samples()
  for shape, depth in zip(SHAPES, DEPTHS, strict=True):
    waves_1TM = np.asarray(waves(np.arange(shape.length)[None], shape.width))
    for case in cases(lambda shape, depth=depth: Encoder(stack(shape, depth=depth)), shapes=(shape,)):
      run = functools.partial(call, _states, *case.modules)
      plain, placed = ((lambda x_BTM, added=added, run=run: run(x_BTM + added)) for added in (0.0, waves_1TM))
      samples.add(without_positions=order_sense(plain, case.x_BTM), with_positions=order_sense(placed, case.x_BTM))
  return samples


def order_sense(function: Callable, x_BTM) -> float:
  """Largest entry of f(P x) - P f(x), where P leaves no token in its place; 0 when f knows nothing of order."""
  order_T = np.roll(np.arange(x_BTM.shape[1])[::-1], 1 + x_BTM.shape[1] % 2)
  return distance(function(x_BTM[:, order_T]), function(x_BTM)[:, order_T])


def _states(encoder, x_BTM):
  return encoder(x_BTM, mask.rows(x_BTM.shape[1]))[0]


POSITIONS, WIDTH = 1024, 64  # far more positions than features: with fewer, any table fits
SHIFTS = (1, 7, 64)


def maps() -> Samples:
  """POS-3: is there one matrix M_k with PE(p + k) = M_k PE(p) for all p? For sinusoids and for tables as first drawn.

  Fitted on half of the positions; the relative error on the other half. Three tables by three shifts k.
  """
  samples = Samples()
  for seed in SEEDS:
    random = np.random.default_rng(seed)
    sinusoids_PM, table_PM = code("sinusoidal", random), code("learned", random, length=POSITIONS)
    for shift in SHIFTS:
      samples.add(
        sinusoidal=left_by_one_map(sinusoids_PM, shift, random), learned=left_by_one_map(table_PM, shift, random)
      )
  return samples


def code(kind: str, random: np.random.Generator, **options) -> np.ndarray:
  """What a scheme adds to the embeddings at each position, (P, M)."""
  settings = {"kind": kind, **options}
  scheme = draw(nnx.eval_shape(lambda: build.make("position", settings, width=WIDTH, heads=1, head_dim=WIDTH)), random)
  return call(_embedded, scheme, np.zeros((1, POSITIONS, WIDTH), np.float32))[0]


def _embedded(scheme, x_BTM):
  return scheme.embed(x_BTM, mask.rows(x_BTM.shape[1]))


def left_by_one_map(code_PM: np.ndarray, shift: int, random: np.random.Generator) -> float:
  """What the least-squares map from p to p + shift leaves of positions on which it was not fitted, relative."""
  here_PM, there_PM = (part.astype(np.float64) for part in (code_PM[:-shift], code_PM[shift:]))
  fitted_P = random.permutation(len(here_PM)) < len(here_PM) // 2
  map_MM = np.linalg.lstsq(here_PM[fitted_P], there_PM[fitted_P], rcond=None)[0]
  left_PM = there_PM[~fitted_P] - here_PM[~fitted_P] @ map_MM
  return float(np.linalg.norm(left_PM) / np.linalg.norm(there_PM[~fitted_P]))


ROWS, HEADS, FURTHER = 24, 4, (1, 17, 64)  # float32 angles are exact enough for shifts of this size
RELATIVE = {"rope": {}, "alibi": {}, "t5": {}, "shaw": {"clip": 8}, "xl": {"reach": 32}}
ABSOLUTE = {"sinusoidal": {}, "learned": {"length": ROWS + max(FURTHER)}}


class First(nnx.Module):
  """What positions do to the scores of a first layer; the projections are left out, as they see no positions."""

  def __init__(self, kind: str, options: dict):
    settings, head_dim = {"kind": kind, **options}, WIDTH // HEADS
    self.position = build.make("position", settings, width=WIDTH, heads=HEADS, head_dim=head_dim)
    self.mechanism = Dot(HEADS, head_dim)

  def __call__(self, x_BTM, start):
    """Scores (B, K, G, T, S) of all pairs when the row begins at position `start`."""
    positions = mask.rows(x_BTM.shape[1], start)
    x_BTHD = self.position.embed(x_BTM, positions).reshape(*x_BTM.shape[:2], HEADS, -1)
    q_BTHD, k_BSKD = (self.position.rotate(one, positions) for one in (x_BTHD, jnp.roll(x_BTHD, 1, -1)))
    both = mask.Mask(positions, positions, mask.everything())
    return masked(self.mechanism, q_BTHD[:, :, :, None], k_BSKD, both, self.position)[0]


def shifted() -> Samples:
  """POS-4: how far scores move when the row stands further along, and when it is read backwards, by scheme.

  Backwards every pair of tokens keeps its content and changes sides: without positions its score would stay.
  """
  samples = Samples()
  for kind, options in (RELATIVE | ABSOLUTE).items():
    abstract = nnx.eval_shape(functools.partial(First, kind, options))
    for seed, further in zip(SEEDS, FURTHER, strict=True):
      random = np.random.default_rng(seed)
      first, x_BTM = draw(abstract, random), random.standard_normal((1, ROWS, WIDTH)).astype(np.float32)
      here, there = (call(First.__call__, first, x_BTM, np.int32(start)) for start in (0, further))
      backwards = call(First.__call__, first, x_BTM[:, ::-1], np.int32(0))[..., ::-1, ::-1]
      samples.add(**{f"{kind}: further along": distance(here, there), f"{kind}: backwards": distance(here, backwards)})
  return samples


CLAUSES, SENTENCES = 3, 64


def mirrored() -> Samples:
  """POS-6: who acts and who is acted upon in clauses noun-verb-noun, told without positions and by order alone.

  Every row comes with its mirror image, in which the nouns of each clause have changed places and so roles. Encoders
  of two depths with drawn weights: what they were trained for plays no part.
  """
  samples = Samples()
  task = Roles(clauses=CLAUSES, nouns=6, verbs=4)
  options = {"kind": "bert", "width": 16, "heads": 2, "feedforward": {"kind": "relu", "hidden": 16}}
  for depth in DEPTHS[:2]:
    abstract = nnx.eval_shape(lambda depth=depth: build.model(options | {"depth": depth}, task.vocabulary))
    for seed in SEEDS:
      model = draw(abstract, np.random.default_rng(seed))
      tokens_BTC, acted_on_BT, noun_BT = _clauses(task, seed)
      answers = [call(_answers, model, tokens) for tokens in (tokens_BTC, mirror(tokens_BTC))]
      right = np.stack([(logits_BTV.argmax(-1) == acted_on_BT)[noun_BT] for logits_BTV in answers])
      samples.add(
        accuracy_without_positions=right.mean(),
        a_noun_in_one_place_and_in_the_other=distance(answers[0][:, 0::3], answers[1][:, 2::3]),
        accuracy_by_order_alone=(acted_on_BT == (np.arange(3 * CLAUSES) % 3 == 2))[noun_BT].mean(),
      )
  return samples


def _clauses(task: Roles, seed: int):
  """Words (B, T, 3), whether each is acted upon (B, T) and whether it is a noun (B, T)."""
  rows = jax.device_get(_sample(task, seed))
  return rows.inputs.tokens_BTC, rows.targets_BTR[..., 0], rows.weights_BTR[..., 0] > 0


@functools.partial(jax.jit, static_argnums=0)
def _sample(task, seed):
  return task.sample(jax.random.key(seed), SENTENCES)


def mirror(tokens_BTC: np.ndarray) -> np.ndarray:
  """The nouns of every clause exchanged; number of clause and case stay at their place."""
  turned_BTC = tokens_BTC.copy()
  turned_BTC[:, 0::3, 0], turned_BTC[:, 2::3, 0] = tokens_BTC[:, 2::3, 0], tokens_BTC[:, 0::3, 0]
  return turned_BTC


def _answers(model, tokens_BTC):
  return model(Inputs(tokens_BTC, mask.rows(tokens_BTC.shape[1])))[0][:, :, 0]


def parallel() -> Samples:
  """POS-8: what knows of order, by how it is worked out: attention at once and query by query, others at once."""
  samples = Samples()
  for case in cases(attention):
    (heads,), x_BTM = case.modules, case.x_BTM
    kernel_WMM = np.random.default_rng(0).standard_normal((3, x_BTM.shape[-1], x_BTM.shape[-1])) / x_BTM.shape[-1]
    at_once, one_by_one = functools.partial(call, _whole, heads), functools.partial(query_by_query, heads)
    samples.add(
      **{
        "attention, at once": order_sense(at_once, x_BTM),
        "attention, query by query": order_sense(one_by_one, x_BTM),
        "query by query less at once": distance(one_by_one(x_BTM), at_once(x_BTM)),
        "causal attention, at once": order_sense(functools.partial(call, _causal, heads), x_BTM),
        "convolution, at once": order_sense(functools.partial(convolved, kernel_WMM), x_BTM),
      }
    )
  return samples


def query_by_query(heads, x_BTM) -> np.ndarray:
  """Attention without a mask, one call per query, the last query first."""
  y_TB1M = [call(_single, heads, x_BTM, np.int32(t)) for t in reversed(range(x_BTM.shape[1]))]
  return np.concatenate(y_TB1M[::-1], 1)


def convolved(kernel_WMM: np.ndarray, x_BTM) -> np.ndarray:
  """y_t = x_{t-1} K_0 + x_t K_1 + x_{t+1} K_2, zeros beyond the ends, all t in one product per tap."""
  padded_BTM = np.pad(x_BTM, ((0, 0), (1, 1), (0, 0)))
  return padded_BTM[:, :-2] @ kernel_WMM[0] + x_BTM @ kernel_WMM[1] + padded_BTM[:, 2:] @ kernel_WMM[2]


def _whole(heads, x_BTM):
  return heads(x_BTM, x_BTM, one_row(x_BTM.shape[1], mask.everything()))[0]


def _causal(heads, x_BTM):
  return heads(x_BTM, x_BTM, one_row(x_BTM.shape[1], mask.causal()))[0]


def _single(heads, x_BTM, t):
  positions = mask.rows(x_BTM.shape[1])
  query_B1M = jax.lax.dynamic_slice_in_dim(x_BTM, t, 1, axis=1)
  return heads(query_B1M, x_BTM, mask.Mask(mask.rows(1, t), positions, mask.everything()))[0]
