"""How evenly attention is spread: entropy -sum_s w log w in nats, and how much of it lies on the asked token.

Ghader & Monz 2017 and Zhai et al. 2023 read attention this way. Only queries whose answers count are averaged.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.scipy.special import xlogy

from experiments.probes import recording
from experiments.probes.subject import Subject

BATCHES = 4
KEYS = (
  "entropy",
  "entropy/*",
  "entropy_untrained",
  "entropy_untrained/*",
  "entropy_normalized",
  "entropy_normalized/*",
  "entropy_normalized_untrained",
  "entropy_normalized_untrained/*",
  "true_key_mass",
  "true_key_mass/*",
  "true_key_mass_untrained",
  "true_key_mass_untrained/*",
  "true_key_mass_best",
  "true_key_mass_best/*",
  "true_key_mass_best_untrained",
  "true_key_mass_best_untrained/*",
)  # "/*": one number per place of attention


def read(subject: Subject) -> dict[str, float]:
  """Means over heads and queries; each key alone is the mean over layers, "key/encoder/0" one layer.

  entropy: nats. entropy_normalized: 1 = even over all keys that the query could see. true_key_mass (recall only):
  attention on tokens that the query asks for, any slot. true_key_mass_best: on the asked token of a slot, by the head
  that looks there most, mean over slots. "..._untrained" is the same model before its first step.
  """
  numbers = _numbers_of(subject, subject.model)
  before = _numbers_of(subject, subject.untrained)
  return numbers | {_untrained(key): value for key, value in before.items()}


def _untrained(key: str) -> str:
  field, slash, layer = key.partition("/")
  return f"{field}_untrained{slash}{layer}"


def _numbers_of(subject: Subject, model: nnx.Module) -> dict[str, float]:
  graph, state = recording.split(model)
  parts = [_numbers(graph, recording.asks(subject), state, subject.batch(number)) for number in range(BATCHES)]
  by_layer = recording.average(parts)
  numbers = {}
  for field in next(iter(by_layer.values())):
    numbers[field] = sum(layer[field] for layer in by_layer.values()) / len(by_layer)
    numbers |= {f"{field}/{name}": layer[field] for name, layer in by_layer.items()}
  return numbers


@partial(jax.jit, static_argnums=(0, 1))
def _numbers(graph, asks: bool, state, batch) -> dict[str, dict[str, jax.Array]]:
  model = nnx.merge(graph, state)
  _, layers = recording.record(model, batch.inputs)
  found = {}
  for name, layer in layers.items():
    weight_BT, count_BT = recording.scored(batch, name), recording.seen(model, batch.inputs, name).sum(-1)
    found[name] = spread(layer.weights_BHTS, weight_BT, count_BT)
    if asks:
      found[name] |= true_key(layer.weights_BHTS, recording.asked(batch))
  return found


def spread(weights_BHTS, scored_BT, count_BT) -> dict[str, jax.Array]:
  """Mean entropy of the scored queries, in nats and as a share of log(count), the most that it can be.

  A query that sees a single key has no choice and is left out of the share.
  """
  entropy_BHT = -xlogy(weights_BHTS, weights_BHTS).sum(-1)
  scored_BT = jnp.broadcast_to(scored_BT, (entropy_BHT.shape[0], entropy_BHT.shape[2]))
  free_BT = scored_BT * (count_BT > 1)
  share_BHT = entropy_BHT / jnp.log(jnp.maximum(count_BT, 2))[:, None]
  return {"entropy": _mean(entropy_BHT, scored_BT), "entropy_normalized": _mean(share_BHT, free_BT)}


def true_key(weights_BHTS, asked_BRTS) -> dict[str, jax.Array]:
  """Mean mass on asked tokens: of any slot, by all heads; and slot by slot, by the best head of each."""
  asks_BRT = asked_BRTS.any(-1).astype(jnp.float32)
  any_BHT = (weights_BHTS * asked_BRTS.any(1)[:, None]).sum(-1)
  best_R = recording.slot_mass(weights_BHTS, asked_BRTS).max(0)
  return {"true_key_mass": _mean(any_BHT, asks_BRT.max(1)), "true_key_mass_best": best_R.mean()}


def _mean(value_BHT, weight_BT):
  return (value_BHT.mean(1) * weight_BT).sum() / jnp.maximum(weight_BT.sum(), 1.0)
