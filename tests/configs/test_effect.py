"""The table of keys without effect against the programs: what it calls idle changes nothing, the rest something.

A configuration stands for its task's stream, its model's forward pass, how parameters are drawn and how they are
updated; each as a traced program, or, where a number is traced into it, as the numbers that come out.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.interpreters.partial_eval import dce_jaxpr

from configs import Refused, check, effect, override
from model import build, initial, mask
from model.position.alibi import Alibi
from train.optim import hyper_of, optimizer, schedule
from train.step import abstract_model
from train.tasks.task import Task

TINY = {"model.width": 8, "model.heads": 2, "train.steps": 6, "eval.every": 3, "train.batch": 2}
RECALL = {"task.pairs": 3, "task.keys": 6, "task.values": 3, "task.queries": 2, "task.relations": 1}
COPY = {"task.kind": "copy", "task.length": 4, "task.symbols": 3}
OTHER = {  # a value that differs from the default
  "eval.judge": True,
  "model.attention.anchors": (1,),
  "model.attention.block_size": 2,
  "model.attention.columns": 1,
  "model.attention.dilation": 2,
  "model.attention.globals": 0,
  "model.attention.kind": "cosine",
  "model.attention_dropout": 0.5,
  "model.attention.layers": (3,),
  "model.attention.most": 3,
  "model.attention.random": 0,
  "model.attention.symbols": (1,),
  "model.attention.window": 2,
  "model.attention.windows": (1, 2),
  "model.bias": True,
  "model.block": 2,
  "model.cell.chrono": 3,
  "model.cell.forget_bias": 2.0,
  "model.cell.kind": "gru",
  "model.depth": 2,
  "model.direction": "both",
  "model.dropout": 0.5,
  "model.feedforward.hidden": 5,
  "model.feedforward.kind": "gelu",
  "model.head_dim": 2,
  "model.heads": 4,
  "model.init.gain": 2.0,
  "model.init.kind": "lecun",
  "model.init.out_gain": 2.0,
  "model.init.qk": "torch",
  "model.init.qk_gain": 2.0,
  "model.itself": False,
  "model.kv_heads": 1,
  "model.memory": 1,
  "model.position.ahead": 3.0,
  "model.position.kind": "learned",
  "model.position.shared": True,
  "model.projections": "qkv",
  "model.reads": "after",
  "model.segment": 2,
  "model.tie": "kv",
  "model.value_dim": 3,
  "model.width": 12,
  "model.window": 2,
  "model.wiring.eps": 1e-2,
  "model.wiring.norm": "post",
  "model.wiring.order": "fa",
  "model.wiring.residual": False,
  "optim.b1": 0.5,
  "optim.b2": 0.5,
  "optim.clip": 0.01,
  "optim.kind": "adamw",
  "optim.lr": 0.5,
  "optim.schedule.kind": "cosine",
  "optim.schedule.rate": 1.0,
  "optim.schedule.warmup": 3,
  "optim.weight_decay": 0.5,
  "task.table": 1,
  "train.compute": "bfloat16",
}
HOST = {"seed", "probes", "train.steps", "train.batch", "eval.every", "eval.batches", "eval.batch", "eval.split"}
ELSEWHERE = {"model.kind", "task.kind", "optim.label_smoothing"}  # a loss is none of the programs compared here
BASES = {
  "bert": {},
  "gpt": {"model.kind": "gpt"},
  "gpt alibi": {"model.kind": "gpt", "model.position.kind": "alibi"},
  "seq2seq": {"model.kind": "seq2seq", **COPY},
  "attention alone": {"model.feedforward.kind": "none", "model.wiring.norm": "none"},
  "no projections": {"model.projections": ""},
  "values only": {"model.projections": "vo"},
  "nothing drawn last": {"model.projections": "qkv", "model.feedforward.kind": "none"},
  "lsh": {"model.attention.kind": "lsh", "model.tie": "qk"},
  "banded": {"model.attention.kind": "banded"},
  "banded by head": {"model.attention.kind": "banded", "model.attention.windows": (1, 2)},
  "banded by layer": {
    "model.attention.kind": "banded",
    "model.attention.layers": (2,),
    "model.attention.anchors": (0,),
  },
  "banded by layers that are not there": {"model.attention.kind": "banded", "model.attention.layers": (2, 3)},
  "bigbird": {"model.attention.kind": "block_sparse", "model.attention.block_size": 1},
  "strided": {"model.attention.kind": "block_sparse", "model.attention.pattern": "strided"},
  "fixed": {"model.attention.kind": "block_sparse", "model.attention.pattern": "fixed"},
  "rnn": {"model.kind": "rnn"},
  "rnn both ways": {"model.kind": "rnn", "model.direction": "apart"},
  "rnn reads": {"model.kind": "rnn", "model.reads": "after"},
  "rnn with lags": {"model.kind": "rnn", "model.cell.chrono": 5},
  "rnn_seq2seq": {"model.kind": "rnn_seq2seq", **COPY},
  "rnn_seq2seq reads": {"model.kind": "rnn_seq2seq", "model.reads": "before", **COPY},
  "rnn_seq2seq by dot": {
    "model.kind": "rnn_seq2seq",
    "model.reads": "after",
    "model.attention.kind": "banded",
    "model.attention.anchors": (0,),
    **COPY,
  },
  "shaw": {"model.position.kind": "shaw"},
  "xl": {"model.position.kind": "xl"},
  "shaw in two layers": {"model.position.kind": "shaw", "model.depth": 2},
  "xl in two layers": {"model.position.kind": "xl", "model.depth": 2},
  "sgd": {"optim.kind": "sgd"},
  "adamw": {"optim.kind": "adamw", "optim.weight_decay": 0.1},
  "adamw without decay": {"optim.kind": "adamw"},
  "exponential": {"optim.schedule.kind": "exponential"},
  "inverse_sqrt": {"optim.schedule.kind": "inverse_sqrt", "optim.schedule.warmup": 2},
  "walks": {"model.kind": "gpt", "task.kind": "markov", "task.states": 3, "task.length": 4},
  "fixed walks": {
    "model.kind": "gpt",
    "task.kind": "markov",
    "task.states": 3,
    "task.length": 4,
    "task.sequences": 4,
  },
}
EFFECTS = {  # base: keys that are tried one by one
  "bert": "",
  "rnn reads": "model.",
  "banded by layer": "model.attention.",
  "bigbird": "model.attention.",
  "fixed": "model.attention.",
  "rnn with lags": "model.cell.",
  "shaw in two layers": "model.position.",
  "xl in two layers": "model.position.",
  "adamw": "optim.",
  "exponential": "optim.",
  "inverse_sqrt": "optim.",
  "fixed walks": "task.",
}


def twins(config):
  """Keys with two names for one value: key -> the other name."""
  return {key: value for key, value, _ in effect.synonyms(check.flatten(config))}


def is_idle(key, config):
  return bool(effect.idle(key, check.flatten(config))) and key not in twins(config)


def config_of(base, changes=()):
  settings = TINY | (RECALL if "task.kind" not in base else {}) | base
  return override.apply(override.apply({}, shared=settings), shared=dict(changes)).to_dict()


def keys_of(config):
  """The keys that OTHER has another value for; what is not there is named, so that no new key is forgotten."""
  flat = check.flatten(config)
  own = ("task.", "model.attention.", "model.position.", "model.feedforward.", "model.cell.")
  left = {key for key in flat if key not in OTHER and key not in HOST | ELSEWHERE and not key.startswith(own)}
  assert not left, f"give another value for {left}"
  return [key for key in flat if key in OTHER and flat[key] != OTHER[key]]


@functools.lru_cache(maxsize=512)
def _forward(model, task_options, compute):
  """The traced forward pass with dropout, the dials, and how parameters are drawn."""
  config = {"model": json.loads(model), "train": {"compute": compute}}
  task = build.make("tasks", json.loads(task_options), package="train")
  abstract = abstract_model(config, task)
  graphdef, params, _ = nnx.split(abstract, nnx.Param, ...)

  def forward(params, seed):
    rest = initial.settings(abstract, {}, jax.random.key(seed))
    inputs = task.sample(jax.random.key(seed), 2, _data(task)).inputs
    return nnx.merge(graphdef, params, rest)(inputs, key=jax.random.key(seed))[0]

  init, shapes = config["model"]["init"], str(params)  # with their roles and fans
  return traced(forward, params, 0), initial.dials(abstract), shapes, _drawn(shapes, json.dumps(init), lambda: params)


def _drawn(shapes, init, params, known={}):  # noqa: B006 - what was traced once
  if (shapes, init) not in known:
    known[shapes, init] = traced(lambda seed: initial.draw(params(), jax.random.key(seed), json.loads(init)), 0)
  return known[shapes, init]


def traced(function, *given):
  """A program as text, without what nobody uses, and the arrays written into it, those of inner programs included."""
  closed = jax.make_jaxpr(function)(*given)
  used, _ = dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=True)
  return str(used), tuple(_constants(closed))


def _constants(closed):
  yield from (np.asarray(constant).tobytes() for constant in closed.consts)
  for equation in closed.jaxpr.eqns:
    for value in equation.params.values():
      for inner in value if isinstance(value, tuple | list) else (value,):
        if hasattr(inner, "consts"):
          yield from _constants(inner)


def _data(task):
  return jax.tree.map(jnp.asarray, task.data("train"))


@functools.lru_cache(maxsize=128)
def _updates(optim):
  """Learning rates of all steps, and what two updates make of a vector and a matrix."""
  config, steps = {"optim": json.loads(optim)}, 6
  hyper = hyper_of({"optim": {**config["optim"], "weight_decay": 0.0}})._replace(
    weight_decay=np.float32(config["optim"]["weight_decay"])
  )
  rates = schedule(hyper, steps)(jnp.arange(steps))
  params = {"a": jnp.arange(3.0), "b": jnp.ones((2, 2))}
  rule = optimizer(config["optim"], hyper, steps, {"a": False, "b": True})
  found, state = [np.asarray(rates)], rule.init(params)
  for scale in (1.0, -0.2, 3.0):
    updates, state = rule.update(jax.tree.map(lambda p, scale=scale: scale * (p + 1), params), state, params)
    found += [np.asarray(leaf) for leaf in jax.tree.leaves(updates)]
  return tuple(leaf.tobytes() for leaf in found)


@functools.lru_cache(maxsize=64)
def _stream(task_options):
  """The stream of a task, the rows it draws from, and whether it judges."""
  task = build.make("tasks", json.loads(task_options), package="train")
  rows = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(task.data("train"))]
  return traced(lambda seed: task.sample(jax.random.key(seed), 2, _data(task)), 0), rows


def judges(config):
  task = build.make("tasks", config["task"], package="train")
  return config["eval"]["judge"] and type(task).judge is not Task.judge


def programs(config):
  """All that a configuration stands for."""
  model, task, optim = (json.dumps(config[part], sort_keys=True) for part in ("model", "task", "optim"))
  return _forward(model, task, config["train"]["compute"]), _updates(optim), _stream(task), judges(config)


@pytest.mark.parametrize("name", BASES)
def test_what_is_called_idle_changes_nothing(name):
  """All idle keys at once; each alone only to name the culprit."""
  config = config_of(BASES[name])
  idle = [key for key in keys_of(config) if is_idle(key, config_of(BASES[name], {key: OTHER[key]}))]
  kinds = {key for key in idle if key.endswith(".kind")}
  for keys in (kinds, set(idle) - kinds - {"model.position.ahead"}):
    if programs(config) != programs(config_of(BASES[name], {key: OTHER[key] for key in keys})):
      guilty = [key for key in keys if programs(config) != programs(config_of(BASES[name], {key: OTHER[key]}))]
      raise AssertionError(f"{guilty} of {keys} change the program")


@pytest.mark.parametrize("name", EFFECTS)
def test_what_is_not_called_idle_changes_something(name):
  config, without = config_of(BASES[name]), []
  for key in (key for key in keys_of(config) if key.startswith(EFFECTS[name])):
    changed = config_of(BASES[name], {key: OTHER[key]})
    if is_idle(key, changed) or key in twins(changed):
      continue
    try:
      check.check(changed)
    except Refused:
      continue
    if programs(config) == programs(changed):
      without.append(key)
  assert not without, f"{without} change nothing and are not refused"


@pytest.mark.parametrize("name", BASES)
def test_a_second_name_of_a_value_means_the_same(name):
  config = config_of(BASES[name])
  assert all(programs(config) == programs(config_of(BASES[name], {key: other})) for key, other in twins(config).items())


def test_all_second_names_are_met():
  assert {key for base in BASES.values() for key in twins(config_of(base))} == {
    "model.attention.layers",
    "model.tie",
    "model.direction",
    "optim.kind",
  }


def test_what_alibi_takes_off_keys_ahead_no_causal_token_sees():
  """The one key whose number stands in the program, where the rule of who sees whom covers it."""
  config = config_of(BASES["gpt alibi"])
  assert effect.idle("model.position.ahead", check.flatten(config))
  assert not effect.idle("model.position.ahead", check.flatten(config_of({"model.position.kind": "alibi"})))
  positions = mask.rows(6)
  seen_BTS = mask.Mask(positions, positions, mask.causal()).tile()
  cost = [Alibi(8, 2, 4, ahead=ahead).after(positions, positions) for ahead in (0.5, 3.0)]
  assert bool((jnp.where(seen_BTS[:, None], cost[0] - cost[1], 0) == 0).all())
  assert bool((cost[0] != cost[1]).any())


def test_every_rule_is_met_by_some_base():
  flats = [check.flatten(config_of(base)) for base in BASES.values()]
  for rule in effect.RULES:
    assert any(list(rule(flat)) for flat in flats), rule.__name__
