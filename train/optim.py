"""Optimizers and schedules whose numbers may be traced, so that members of one cohort differ in them.

Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019), SGD with momentum; learning rate = lr * unit schedule(count).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax

from model import schema
from model.errors import Refused

KINDS = schema.OPTIONS["optim.kind"].choices
SCHEDULES = schema.OPTIONS["optim.schedule.kind"].choices
MOMENTUM = 0.9
EPSILON = 1e-8


class Hyper(NamedTuple):
  """The numbers that members of one cohort may differ in: scalars, or traced values, or arrays over members."""

  lr: Any  # peak learning rate
  weight_decay: Any  # decoupled; multiplied by the scheduled learning rate, as in optax
  label_smoothing: Any  # probability mass spread over all classes; the loss reads it
  schedule: Any  # index into SCHEDULES, int32
  warmup: Any  # steps
  rate: Any  # exponential: the learning rate falls to exp(-rate) of its peak at the last step


def hyper_of(config: Mapping) -> Hyper:
  """Reads a member's numbers, as numpy scalars, from a resolved config; refuses what the optimizer would ignore."""
  options = config["optim"]
  kind, decay = options["kind"], float(options["weight_decay"])
  ramp = options["schedule"]
  if complaint := schema.OPTIONS["optim.schedule.kind"].complaint(ramp["kind"]):
    raise Refused(complaint)
  if decay and kind != "adamw":
    raise Refused(f"optim.weight_decay={decay:g} has no effect with optim.kind={kind}; set optim.kind=adamw or 0")
  return Hyper(
    lr=np.float32(options["lr"]),
    weight_decay=np.float32(decay),
    label_smoothing=np.float32(options["label_smoothing"]),
    schedule=np.int32(SCHEDULES.index(ramp["kind"])),
    warmup=np.int32(ramp["warmup"]),
    rate=np.float32(ramp["rate"]),
  )


def schedule(hyper: Hyper, total_steps: int) -> optax.Schedule:
  """Returns count (updates made so far, from 0) -> learning rate.

  Every kind is computed with peak 1 and one is selected by `hyper.schedule`; optax's own schedules branch on their
  peak and so cannot be traced in it. They agree with optax to rounding. inverse_sqrt is Vaswani et al. 2017 section
  5.3 divided by its peak: min(step / warmup, sqrt(warmup / step)) at step = count + 1, their count starting at 1.
  """

  def learning_rate(count):
    t = jnp.asarray(count, jnp.float32)
    total = jnp.maximum(jnp.asarray(total_steps, jnp.float32), 1.0)
    warmup = jnp.asarray(hyper.warmup, jnp.float32)
    at_least_one = jnp.maximum(warmup, 1.0)
    rise = jnp.where(t < warmup, t / at_least_one, 1.0)
    step = t + 1.0
    unit = {
      "constant": jnp.ones_like(t),
      "warmup": rise,
      "cosine": _half_cosine(t / total),
      "exponential": jnp.exp(-hyper.rate * t / total),
      "warmup_cosine": rise * _half_cosine((t - warmup) / jnp.maximum(total - warmup, 1.0)),
      "inverse_sqrt": jnp.minimum(step / at_least_one, jnp.sqrt(at_least_one / step)),
    }
    chosen = jnp.asarray(hyper.schedule)
    return hyper.lr * jnp.select([chosen == i for i in range(len(SCHEDULES))], [unit[kind] for kind in SCHEDULES])

  return learning_rate


def optimizer(options: Mapping, hyper: Hyper, total_steps: int, decayed: Any) -> optax.GradientTransformation:
  """The optimizer of config["optim"]; `hyper` may be traced, so build it inside the step.

  Clipping by the global norm comes first (0 = none). Decay applies to adamw and to the parameters marked True in the
  tree `decayed`, which is `model.initial.matrices`: matrices, embeddings and tables of positions, as in BERT and GPT-2;
  never biases, gains and readout vectors, however many axes they have.
  """
  parts = []
  if options["clip"] > 0:
    parts.append(optax.clip_by_global_norm(options["clip"]))
  if options["kind"] == "sgd":
    parts.append(optax.trace(decay=MOMENTUM))
  elif options["kind"] in ("adam", "adamw"):
    # Moments of all parameters in one vector: fewer, larger operations to compile and to launch.
    parts.append(optax.flatten(optax.scale_by_adam(b1=options["b1"], b2=options["b2"], eps=EPSILON)))
  else:
    raise Refused(f"optim.kind={options['kind']!r} is unknown; choose one of {', '.join(KINDS)}")
  if options["kind"] == "adamw":
    parts.append(optax.add_decayed_weights(hyper.weight_decay, mask=decayed))
  parts.append(optax.scale_by_learning_rate(schedule(hyper, total_steps)))
  return optax.chain(*parts)


def _half_cosine(part):
  """1 at part <= 0, 0 at part >= 1."""
  return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(part, 0.0, 1.0)))
