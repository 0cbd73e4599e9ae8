"""How alike the outputs of two heads are, before W_O: linear CKA = |X^T Y|^2 / (|X^T X| |Y^T Y|), Frobenius norms.

Kornblith et al. 2019. X, Y: outputs of two heads at the same queries, centered. 1 = equal up to rotation and scale.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.probes import recording
from experiments.probes.subject import Subject

BATCHES = 4
PROJECTIONS = ("query", "key", "value", "query_bias", "key_bias", "value_bias")
KEYS = ("cka", "cka_drawn", "cka_mixed", "cka_untrained")


def read(subject: Subject) -> dict[str, float]:
  """Means over layers and pairs of heads at the scored queries; nothing where no layer has two heads.

  cka: two heads of a trained layer. cka_drawn: the same two, both put back to their first values in the otherwise
  trained model, so what heads share that were drawn independently and learned nothing. cka_mixed: one trained, the
  other put back. cka_untrained: two heads of the whole model before its first step.
  """
  if max(recording.count(subject.model).values()) < 2:
    return {}
  trained = _outputs(subject, subject.model)
  again = _outputs(subject, reinitialized(subject.model, subject.untrained))
  untrained = _outputs(subject, subject.untrained)
  return {
    "cka": _over_layers(trained, trained),
    "cka_drawn": _over_layers(again, again),
    "cka_mixed": _over_layers(trained, again),
    "cka_untrained": _over_layers(untrained, untrained),
  }


def reinitialized(model: nnx.Module, untrained: nnx.Module) -> nnx.Module:
  """A copy of `model` whose heads have the projections of `untrained`; all else stays as trained."""
  copy = nnx.clone(model)
  before = recording.places(untrained)
  for name, heads in recording.places(copy).items():
    for projection in (p for p in PROJECTIONS if hasattr(heads, p)):
      getattr(heads, projection)[...] = getattr(before[name], projection)[...]
  return copy


def cka(x_ND: np.ndarray, y_ND: np.ndarray) -> float:
  """Linear CKA of two sets of features of the same N things; 0 where one of them is constant."""
  x_ND, y_ND = x_ND - x_ND.mean(0), y_ND - y_ND.mean(0)
  size = np.linalg.norm(x_ND.T @ x_ND) * np.linalg.norm(y_ND.T @ y_ND)
  return float(np.square(np.linalg.norm(x_ND.T @ y_ND)) / size) if size > 0 else 0.0


def _over_layers(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
  """Mean CKA of head i of `first` and head j of `second`, i != j: position in the list is the head's name."""
  found = [
    cka(x_HND[i], second[name][j])
    for name, x_HND in first.items()
    for i in range(len(x_HND))
    for j in range(len(x_HND))
    if i != j
  ]
  return sum(found) / len(found)


def _outputs(subject: Subject, model: nnx.Module) -> dict[str, np.ndarray]:
  """Outputs of every head (H, N, Dv) at the scored queries, float64, by place."""
  graph, state = recording.split(model)
  parts = [jax.device_get(_look(graph, state, subject.batch(number))) for number in range(BATCHES)]
  return {name: np.concatenate([_rows(*part[name]) for part in parts], axis=1) for name in recording.places(model)}


def _rows(out_BTHD: np.ndarray, scored_BT: np.ndarray) -> np.ndarray:
  chosen_BT = np.broadcast_to(scored_BT, out_BTHD.shape[:2]) > 0
  return np.moveaxis(out_BTHD[chosen_BT], 1, 0).astype(np.float64)


@partial(jax.jit, static_argnums=0)
def _look(graph, state, batch) -> dict[str, tuple[jax.Array, jax.Array]]:
  _, layers = recording.record(nnx.merge(graph, state), batch.inputs)
  return {name: (layer.out_BTHD.astype(jnp.float32), recording.scored(batch, name)) for name, layer in layers.items()}
