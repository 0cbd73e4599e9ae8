"""The compiled ensemble: init, k steps per call, evaluation and generation over a leading member axis E.

On CPU members run one after the other (`lax.map`: a member equals the same run alone, bit for bit); on accelerators
they run side by side (`vmap`, over the `member` axis of a mesh where there is one).
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
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

Scheme = tuple[str, str, Any]  # model.init: kind, qk, and the numbers (gain, qk_gain, out_gain)


class Ensemble:
  """One cohort, compiled: what its members are, how they start, train, are scored and generate.

  `init` and `members` make states and numbers with the member axis E in front of every leaf; `advance` and `evaluate`
  take and give them; all other methods are about one member, without the axis. Whatever takes them takes (state,
  member, data) in this order; the data have no member axis.
  """

  def __init__(self, config: Mapping[str, Any], task, *, mesh: jax.sharding.Mesh | None = None):
    self.config, self.task, self.mesh = config, task, mesh
    self.abstract = abstract_model(config, task)  # the model without numbers
    self.graphdef, self.params, _ = nnx.split(self.abstract, nnx.Param, ...)
    self.decayed = initial.matrices(self.params)
    # (state, member, data) -> (state, losses_Ek, grad_norms_Ek) after k = eval.every steps; donates the state
    self.advance: Callable = jax.jit(self._over_members(self.steps), donate_argnums=0)
    # (state, member, data) -> metrics.Sums
    self.evaluate: Callable = jax.jit(self._over_members(self.score))
    # (state, member, source_BSC, source_positions, length) -> tokens_BT of one member
    self.generate: Callable = jax.jit(self.decode, static_argnums=4)

  def init(self, configs: Sequence[Mapping[str, Any]]) -> TrainState:
    """States of these members, drawn by path from each one's seed and init options; one compile per init scheme."""
    # Not compiled as one: leaf by leaf it compiles small programs that all cohorts share.
    states = [self.draw(member_of(config, self.task), _scheme(config)) for config in configs]
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return state if self.mesh is None else meshes.shard_state(state, self.mesh)

  def members(self, configs: Sequence[Mapping[str, Any]]) -> Member:
    """The runtime numbers of these members."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[member_of(config, self.task) for config in configs])

  def model(self, state: TrainState, member: Member, index: int) -> nnx.Module:
    """The model of the member at `index` of the axis E, for probes and decoding."""
    state, member = jax.tree.map(lambda leaf: leaf[index], (state, member))
    return assembled(self.graphdef, self.abstract, state, member)

  def draw(self, member: Member, scheme: Scheme) -> TrainState:
    """One member's state before the first step."""
    kind, qk, gains = scheme
    key = jax.random.key(member.seed)
    options = {"kind": kind, "qk": qk, "gain": gains[0], "qk_gain": gains[1], "out_gain": gains[2]}
    params = initial.draw(self.params, stream(key, "init"), options)
    return TrainState(jnp.int32(0), key, params, self._optimizer(member).init(params))

  def steps(self, state: TrainState, member: Member, data: Any):
    """Trains for eval.every steps: (state, losses_k, grad_norms_k)."""
    one = lambda state, _: self.step(state, member, data)  # noqa: E731
    state, (losses_k, norms_k) = jax.lax.scan(one, state, None, length=self.config["eval"]["every"])
    return state, losses_k, norms_k

  def step(self, state: TrainState, member: Member, data: Any):
    """Trains for one step: (state, (loss, gradient norm))."""
    batch = self._sample(stream(state.key, "train"), state.step, self.config["train"]["batch"], data)
    dropout_key = jax.random.fold_in(stream(state.key, "dropout"), state.step)

    def loss_of(params):
      logits_BTRV = self._logits(state._replace(params=params), member, batch.inputs, dropout_key)
      return metrics.cross_entropy(logits_BTRV, batch.targets_BTR, batch.weights_BTR, member.hyper.label_smoothing)

    loss, grads = jax.value_and_grad(loss_of)(state.params)
    updates, opt = self._optimizer(member).update(grads, state.opt, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, state.key, params, opt), (loss, optax.tree.norm(grads))

  def score(self, state: TrainState, member: Member, data: Any) -> metrics.Sums:
    """Sums over the eval.batches batches of the member's split."""
    key, slices = jax.random.fold_in(state.key, member.split), len(self.task.slices)

    def one_batch(sums, index):
      batch = self._sample(key, index, self.config["eval"]["batch"], data)
      logits_BTRV = self._logits(state, member, batch.inputs)
      new = metrics.score(logits_BTRV, batch.targets_BTR, batch.weights_BTR, batch.slice_BTR, slices)
      return jax.tree.map(jnp.add, sums, new), None

    zero, zeros_L = jnp.float32(0.0), jnp.zeros(slices)
    nothing = metrics.Sums(zero, zero, zero, zeros_L, zeros_L)
    return jax.lax.scan(one_batch, nothing, jnp.arange(self.config["eval"]["batches"]))[0]

  def decode(self, state: TrainState, member: Member, source_BSC, source_positions, length: int):
    """The most probable symbols, step by step, (B, length)."""
    model = assembled(self.graphdef, self.abstract, state, member)
    return decode.greedy(model, source_BSC, source_positions, start=self.task.start, stop=self.task.stop, length=length)

  def _over_members(self, function: Callable) -> Callable:
    """The function of one member for all along the axis E."""
    side_by_side = self.mesh is not None or jax.default_backend() != "cpu"
    over = _vmap if side_by_side else _map
    return lambda state, member, data: over(lambda state, member: function(state, member, data), state, member)

  def _logits(self, state: TrainState, member: Member, inputs, key=None):
    return assembled(self.graphdef, self.abstract, state, member)(inputs, key=key)[0]

  def _sample(self, key, index, size: int, data):
    batch = self.task.sample(jax.random.fold_in(key, index), size, data)
    return batch if self.mesh is None else meshes.constrain_batch(batch, self.mesh)

  def _optimizer(self, member: Member):
    return optimizer(self.config["optim"], member.hyper, self.config["train"]["steps"], self.decayed)


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
  lowered: Any = jax.jit(whole.step).lower(state, member_of(config, whole.task), data)
  found = {"parameters": parameters(config, whole.task), "flops": float(lowered.cost_analysis()["flops"])}
  if compiled:
    found["memory_bytes"] = float(lowered.compile().memory_analysis().temp_size_in_bytes)
  return found


def _map(function, *args):
  return jax.lax.map(lambda packed: function(*packed), args)


def _vmap(function, *args):
  return jax.vmap(function)(*args)


def _scheme(config: Mapping[str, Any]) -> Scheme:
  init = config["model"]["init"]
  return init["kind"], init["qk"], jnp.float32([init["gain"], init["qk_gain"], init["out_gain"]])
