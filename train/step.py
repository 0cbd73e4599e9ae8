"""The compiled ensemble: init, k steps per call and evaluation over a leading member axis E.

On CPU members run one after the other (`lax.map`: a member equals the same run alone, bit for bit); on accelerators
they run side by side (`vmap`, over the `member` axis of a mesh where there is one).
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from model import build, decode, initial
from model.vocabulary import Vocabulary
from train import mesh as meshes
from train import metrics
from train.optim import hyper_of, optimizer
from train.state import STREAMS, Member, TrainState, stream


@dataclasses.dataclass(frozen=True)
class Ensemble:
  """The compiled functions of one cohort; every argument and result has the member axis E in front, but the data.

  `advance(state, member, data) -> (state, losses_Ek, grad_norms_Ek)` trains k = eval.every steps and donates `state`;
  `evaluate(state, member, data) -> metrics.Sums`.
  """

  config: Mapping[str, Any]
  task: Any
  graphdef: nnx.GraphDef
  abstract: nnx.Module  # the model without numbers
  mesh: jax.sharding.Mesh | None
  draw: Callable  # (init kind, qk kind, (gain, qk_gain, out_gain), member) -> TrainState of one member
  advance: Callable
  evaluate: Callable
  generate: Callable  # (state, member, source_BSC, source_where, length) -> tokens_BT of one member, greedily
  one: Callable  # (state, member, data) of one member without the axis E: a single step, to be costed

  def init(self, configs: Sequence[Mapping[str, Any]]) -> TrainState:
    """States of these members, drawn by path from each one's seed and init options; one compile per init scheme."""
    states = [self.draw(*_scheme(config), member_of(config, self.task)) for config in configs]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return state if self.mesh is None else meshes.shard_state(state, self.mesh)

  def members(self, configs: Sequence[Mapping[str, Any]]) -> Member:
    """The runtime numbers of these members."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[member_of(config, self.task) for config in configs])

  def model(self, state: TrainState, member: Member, index: int) -> nnx.Module:
    """The model of one member, for probes and decoding."""
    state, member = jax.tree.map(lambda leaf: leaf[index], (state, member))
    return assembled(self.graphdef, self.abstract, state, member)


def assembled(graphdef, abstract, state: TrainState, member: Member) -> nnx.Module:
  """The model of one member: parameters from its state, dials as given, seeds by its key and step."""
  rest = initial.settings(abstract, member.dials, stream(state.key, "init"), state.step)
  return nnx.merge(graphdef, state.params, rest)


def abstract_model(config: Mapping[str, Any], task) -> nnx.Module:
  """The model without numbers: shapes, graph and the given values of its dials."""
  return nnx.eval_shape(lambda: build.model(config["model"], task.vocabulary, dtype=config["train"]["compute"]))


def outline(config: Mapping[str, Any], task) -> tuple:
  """All of a model that a compiled program depends on: its graph without the values of dials, shapes and dtypes.

  Configs of unequal outlines may not share a program, whatever their keys say.
  """
  return _built(config, task)[1]


def parameters(config: Mapping[str, Any], task) -> int:
  """Number of trained parameters."""
  params = nnx.state(abstract_model(config, task), nnx.Param)
  return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


def member_of(config: Mapping[str, Any], task) -> Member:
  """What is runtime about one config."""
  given, _ = _built(config, task)
  dials = {path: jnp.float32(value) for path, value in given.items()}
  split = jnp.int32(STREAMS[config["eval"]["split"]])
  return Member(jnp.int32(config["seed"]), jax.tree.map(jnp.asarray, hyper_of(config)), dials, split)


def _built(config: Mapping[str, Any], task) -> tuple[Mapping[str, float], tuple]:
  return _known(json.dumps(config["model"], sort_keys=True), task.vocabulary, config["train"]["compute"])


@functools.lru_cache(maxsize=256)  # members differ in it seldom, and building a model takes longer than a short step
def _known(model: str, vocabulary: Vocabulary, compute: str) -> tuple[Mapping[str, float], tuple]:
  """Path and value of every dial of a model in JSON, and its outline; nobody writes into them."""
  abstract = nnx.eval_shape(lambda: build.model(json.loads(model), vocabulary, dtype=compute))
  given = initial.dials(abstract)
  for _, dial in nnx.to_flat_state(nnx.state(abstract, initial.Dial)):
    dial.set_metadata(given=None)
  graphdef, state = nnx.split(abstract)
  leaves = [(path, type(leaf), leaf.shape, str(leaf.dtype)) for path, leaf in nnx.to_flat_state(state)]
  return given, (graphdef, tuple(leaves))


def cost(whole: Ensemble, config: Mapping[str, Any], data: Any, *, compiled: bool = False) -> dict[str, float]:
  """Parameters and FLOPs of one training step by XLA's count; with `compiled` also its temporary memory in bytes."""
  state = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[0], whole.init([config])))
  lowered = whole.one.lower(state, member_of(config, whole.task), data)
  found = {"parameters": parameters(config, whole.task), "flops": float(lowered.cost_analysis()["flops"])}
  if compiled:
    found["memory_bytes"] = float(lowered.compile().memory_analysis().temp_size_in_bytes)
  return found


def ensemble(config: Mapping[str, Any], task, *, mesh: jax.sharding.Mesh | None = None) -> Ensemble:
  """Builds the compiled functions of the cohort that `config` belongs to."""
  abstract = abstract_model(config, task)
  graphdef, params, _ = nnx.split(abstract, nnx.Param, ...)
  side_by_side = mesh is not None or jax.default_backend() != "cpu"
  over = _vmap if side_by_side else _map
  steps, batch = config["train"]["steps"], config["train"]["batch"]
  every, evals, eval_batch = (config["eval"][name] for name in ("every", "batches", "batch"))
  decayed = initial.matrices(params)

  def draw(kind, qk, gains, member):
    key = jax.random.key(member.seed)
    options = {"kind": kind, "qk": qk, "gain": gains[0], "qk_gain": gains[1], "out_gain": gains[2]}
    drawn = initial.draw(params, stream(key, "init"), options)
    return TrainState(jnp.int32(0), key, drawn, optimizer(config["optim"], member.hyper, steps, decayed).init(drawn))

  def forward(state, member, inputs, key=None):
    return assembled(graphdef, abstract, state, member)(inputs, key=key)[0]

  def sample(key, index, size, data):
    rows = task.sample(jax.random.fold_in(key, index), size, data)
    return rows if mesh is None else meshes.constrain_batch(rows, mesh)

  def one_step(member, data, state, _):
    rows = sample(stream(state.key, "train"), state.step, batch, data)
    dropout_key = jax.random.fold_in(stream(state.key, "dropout"), state.step)

    def loss_of(params):
      logits_BTRV = forward(state._replace(params=params), member, rows.inputs, dropout_key)
      return metrics.cross_entropy(logits_BTRV, rows.targets_BTR, rows.weights_BTR, member.hyper.label_smoothing)

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    updates, opt = optimizer(config["optim"], member.hyper, steps, decayed).update(grads, state.opt, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, state.key, params, opt), (loss, optax.tree.norm(grads))

  def advance(data, state, member):
    state, (losses_k, norms_k) = jax.lax.scan(partial(one_step, member, data), state, None, length=every)
    return state, losses_k, norms_k

  def evaluate(data, state, member):
    key = jax.random.fold_in(state.key, member.split)

    def one_batch(sums, index):
      rows = sample(key, index, eval_batch, data)
      logits_BTRV = forward(state, member, rows.inputs)
      new = metrics.score(logits_BTRV, rows.targets_BTR, rows.weights_BTR, rows.slice_BTR, len(task.slices))
      return jax.tree.map(jnp.add, sums, new), None

    zero, zeros_L = jnp.float32(0.0), jnp.zeros(len(task.slices))
    return jax.lax.scan(one_batch, metrics.Sums(zero, zero, zero, zeros_L, zeros_L), jnp.arange(evals))[0]

  def generate(state, member, source_BSC, source_where, length):
    model = assembled(graphdef, abstract, state, member)
    return decode.greedy(model, source_BSC, source_where, start=task.start, stop=task.stop, length=length)

  return Ensemble(
    config=config,
    task=task,
    graphdef=graphdef,
    abstract=abstract,
    mesh=mesh,
    draw=draw,  # not compiled as one: leaf by leaf it compiles small programs that all cohorts share
    advance=jax.jit(lambda state, member, data: over(partial(advance, data), state, member), donate_argnums=0),
    generate=jax.jit(generate, static_argnums=4),
    one=jax.jit(lambda state, member, data: one_step(member, data, state, None)),
    evaluate=jax.jit(lambda state, member, data: over(partial(evaluate, data), state, member)),
  )


def _map(function, *args):
  return jax.lax.map(lambda packed: function(*packed), args)


def _vmap(function, *args):
  return jax.vmap(function)(*args)


def _scheme(config):
  init = config["model"]["init"]
  return init["kind"], init["qk"], jnp.float32([init["gain"], init["qk_gain"], init["out_gain"]])
