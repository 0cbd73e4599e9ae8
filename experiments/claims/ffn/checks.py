"""The feed-forward network without its non-linearity: (x W1 + b1) W2 + b2 = x (W1 W2) + (b1 W2 + b2)."""

import numpy as np

from experiments.claims.grid import Samples, answer, call, cases
from model.feedforward.gelu import Gelu
from model.feedforward.identity import Identity
from model.feedforward.relu import Relu

KINDS = {"identity": Identity, "ReLU": Relu, "GELU": Gelu}


def collapse() -> Samples:
  """FFN-4c: what one affine map leaves of the network's output, as a share of its size.

  For the identity the map is the product of the two matrices; for ReLU and GELU the best map by least squares, so that
  no other map leaves less.
  """
  samples = Samples()
  for name, kind in KINDS.items():
    for case in cases(lambda shape, kind=kind: kind(shape.width, hidden=2 * shape.width)):
      (layer,) = case.modules
      # More tokens than the map has rows, or least squares would fit anything.
      x_NM = np.random.default_rng([7, *case.shape]).standard_normal((8 * case.shape.width, case.shape.width))
      y_NM = call(answer, layer, x_NM[None].astype(np.float32))[0].astype(np.float64)
      samples.add(
        **{f"{name}: left by one matrix": _left(y_NM, _product(layer, x_NM) if kind is Identity else _best(x_NM, y_NM))}
      )
  return samples


def _product(layer, x_NM) -> np.ndarray:
  """The inputs times the product of the two matrices, and the biases."""
  up, down = ([np.asarray(part[...], np.float64) for part in (one.kernel, one.bias)] for one in (layer.up, layer.down))
  return x_NM @ (up[0] @ down[0]) + (up[1] @ down[0] + down[1])


def _best(x_NM, y_NM) -> np.ndarray:
  """The affine map of x that comes closest to y."""
  rows_NM = np.append(x_NM, np.ones((len(x_NM), 1)), 1)
  return rows_NM @ np.linalg.lstsq(rows_NM, y_NM, rcond=None)[0]


def _left(y_NM, found_NM) -> float:
  return float(np.linalg.norm(y_NM - found_NM) / np.linalg.norm(y_NM))
