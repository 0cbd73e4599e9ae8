import copy

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from model import build, initial
from model.errors import Refused
from model.vocabulary import Vocabulary
from tests.train.tiny import tiny
from train import optim
from train.step import Ensemble

CONFIG = {
  "optim": {
    "kind": "adam",
    "lr": 1e-2,
    "b1": 0.9,
    "b2": 0.98,
    "weight_decay": 0.0,
    "clip": 0.0,
    "label_smoothing": 0.1,
    "schedule": {"kind": "constant", "warmup": 0, "rate": 4.0},
  }
}
DECAYED = {"w": True, "b": False}


def hyper(kind="constant", lr=1e-2, warmup=0, rate=4.0, decay=0.0):
  return optim.Hyper(
    np.float32(lr),
    np.float32(decay),
    np.float32(0),
    np.int32(optim.SCHEDULES.index(kind)),
    np.int32(warmup),
    np.float32(rate),
  )


def peer(kind, lr, warmup, rate, total):
  """The same schedule out of optax (and, for inverse_sqrt, out of Vaswani et al. 2017)."""
  if kind == "inverse_sqrt":
    w = max(warmup, 1)
    width = 512

    def paper(step):
      return width**-0.5 * min(step**-0.5, step * w**-1.5)

    return lambda count: lr * paper(count + 1) / paper(w)
  return {
    "constant": optax.constant_schedule(lr),
    "warmup": optax.linear_schedule(0.0, lr, warmup) if warmup else optax.constant_schedule(lr),
    "cosine": optax.cosine_decay_schedule(lr, total),
    "exponential": optax.exponential_decay(lr, total, float(np.exp(-rate))),
    "warmup_cosine": optax.warmup_cosine_decay_schedule(0.0 if warmup else lr, lr, warmup, total),
  }[kind]


RATES = jax.jit(lambda h, total, counts: jax.vmap(optim.schedule(h, total))(counts))


@settings(max_examples=30, deadline=None)
@given(
  kind=st.sampled_from(optim.SCHEDULES),
  lr=st.floats(1e-5, 1.0),
  warmup=st.integers(0, 40),
  rate=st.floats(0.0, 8.0),
  total=st.integers(41, 200),
)
def test_every_schedule_equals_its_peer(kind, lr, warmup, rate, total):
  counts = [0, 1, warmup, warmup + 1, total // 2, total - 1, total, total + 5]
  ours = RATES(hyper(kind, lr, warmup, rate), total, np.array(counts))
  theirs = peer(kind, lr, warmup, rate, total)
  np.testing.assert_allclose(ours, [float(theirs(t)) for t in counts], rtol=2e-5, atol=1e-6 * lr)


def test_the_peak_is_one_lr_and_the_first_step_of_inverse_sqrt_is_not_zero():
  for kind in optim.SCHEDULES:
    rates = jax.vmap(optim.schedule(hyper(kind, 0.5, 10), 100))(jnp.arange(100))
    assert float(rates.max()) == pytest.approx(0.5)
  assert float(optim.schedule(hyper("inverse_sqrt", 1.0, 10), 100)(0)) == pytest.approx(0.1)


def gradients(steps=5):
  rng = np.random.default_rng(0)
  return [{"w": rng.normal(size=(3, 2)).astype("f"), "b": rng.normal(size=2).astype("f")} for _ in range(steps)]


def walk(transform, grads):
  params = {"w": jnp.ones((3, 2)), "b": jnp.full(2, 0.5)}
  state = transform.init(params)
  for grad in grads:
    updates, state = transform.update(grad, state, params)
    params = optax.apply_updates(params, updates)
  return params


@pytest.mark.parametrize("kind", optim.KINDS)
@pytest.mark.parametrize("ramp", optim.SCHEDULES)
def test_every_optimizer_equals_optax(kind, ramp):
  options = CONFIG["optim"] | {"kind": kind}
  h = hyper(ramp, 0.1, 2, 3.0, decay=0.1)
  rate = peer(ramp, 0.1, 2, 3.0, 5)
  theirs = {
    "adam": lambda: optax.adam(rate, 0.9, 0.98),
    "adamw": lambda: optax.adamw(rate, 0.9, 0.98, weight_decay=0.1, mask={"w": True, "b": False}),
    "sgd": lambda: optax.sgd(rate, momentum=0.9),
  }[kind]()
  for ours, other in zip(
    jax.tree.leaves(walk(optim.optimizer(options, h, 5, DECAYED), gradients())),
    jax.tree.leaves(walk(theirs, gradients())),
    strict=True,
  ):
    np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-6)


def test_decay_is_decoupled_and_leaves_alone_what_is_not_marked():
  still = [{"w": np.zeros((3, 2), "f"), "b": np.zeros(2, "f")}] * 2
  for decayed in (DECAYED, {"w": False, "b": True}):
    params = walk(optim.optimizer(CONFIG["optim"] | {"kind": "adamw"}, hyper(lr=0.1, decay=0.5), 5, decayed), still)
    for name, start in (("w", 1.0), ("b", 0.5)):
      np.testing.assert_allclose(params[name], start * ((1 - 0.1 * 0.5) ** 2 if decayed[name] else 1.0), rtol=1e-6)


MODELS = [  # every role there is, in few models
  {"kind": "seq2seq", "bias": True, "attention": {"kind": "additive"}, "position": {"kind": "learned", "length": 8}},
  {"kind": "gpt", "bias": True, "attention": {"kind": "cosine"}, "position": {"kind": "t5"}},
  {"kind": "gpt", "attention": {"kind": "differential"}, "feedforward": {"kind": "swiglu"}},
  {"kind": "gpt", "attention": {"kind": "dot", "learned": True}, "position": {"kind": "xl"}},
  {"kind": "bert", "attention": {"kind": "talking"}, "position": {"kind": "shaw"}},
  *({"kind": "rnn", "cell": {"kind": kind}, "reads": "after"} for kind in build.kinds("cell")),
]
VECTORS = {  # last names of what is no matrix and no table: norms, factors, Bahdanau's v, lambda's vectors, u and v
  *("gain", "bias", "factor", "readout", "content", "distance"),
  *(f"{side}_bias" for side in ("query", "key", "value", "out", "recurrent")),
  *(f"lambda_{side}{i}" for side in "qk" for i in (1, 2)),
}


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_decay_goes_by_role_and_not_by_the_number_of_axes(options):
  """At gradient 0 what decays shrinks and the rest stays; biases of heads and T5's have two axes, and stay."""
  vocabulary = Vocabulary((5, 3), 5, 1, (4,) if options["kind"] == "seq2seq" else ())
  params = nnx.state(nnx.eval_shape(lambda: build.model({"width": 8, "heads": 2, **options}, vocabulary)), nnx.Param)
  ones = nnx.from_flat_state({path: np.ones(leaf.shape, "f") for path, leaf in nnx.to_flat_state(params)})
  adamw = CONFIG["optim"] | {"kind": "adamw"}
  transform = optim.optimizer(adamw, hyper(lr=0.1, decay=0.5), 5, initial.matrices(params))
  updates, _ = transform.update(jax.tree.map(np.zeros_like, ones), transform.init(ones), ones)
  stay = VECTORS | ({"table"} if options.get("position") == {"kind": "t5"} else set())
  for path, update in nnx.to_flat_state(updates):
    np.testing.assert_allclose(update, 0.0 if path[-1] in stay else -0.1 * 0.5, err_msg=str(path))


def test_a_trained_model_decays_its_matrices_alone():
  """The whole step: of two members, one with decay and one as good as without, only matrices and tables differ."""
  configs = [
    tiny(optim__kind="adamw", optim__weight_decay=decay, model__bias=True, train__steps=1, eval__every=1)
    for decay in (1e-30, 0.5)
  ]
  whole = Ensemble(configs[0], build.make("tasks", configs[0]["task"], package="train"))
  state, *_ = whole.advance(whole.init(configs), whole.members(configs), ())
  params = dict(nnx.to_flat_state(state.params))
  differ = {path for path, (plain, decayed) in params.items() if not np.array_equal(plain, decayed)}
  assert differ == {path for path in params if path[-1] not in VECTORS}
  assert any(params[path].ndim > 2 for path in set(params) - differ)  # members in front: biases of two axes


@pytest.mark.parametrize("over", ["vmap", "map"])
def test_traced_members_equal_members_alone(over):
  hypers = [hyper(k, 10.0 ** -(i + 1), i, 1.0 + i, 0.1 * i) for i, k in enumerate(optim.SCHEDULES)]
  options = CONFIG["optim"] | {"kind": "adamw", "clip": 1.0}

  def run(h):
    return walk(optim.optimizer(options, h, 5, DECAYED), gradients())

  stacked = jax.tree.map(lambda *x: jnp.stack(x), *hypers)
  packed = jax.jit(jax.vmap(run) if over == "vmap" else lambda h: jax.lax.map(run, h))(stacked)
  for i, h in enumerate(hypers):
    alone = run(h)
    jax.tree.map(lambda p, a, i=i: np.testing.assert_allclose(p[i], a, rtol=1e-5, atol=1e-7), packed, alone)


@settings(max_examples=20, deadline=None)
@given(size=st.floats(1e-2, 1e3), clip=st.floats(0.1, 10.0))
def test_clipping_bounds_the_global_norm_and_keeps_the_direction(size, clip):
  grad = {"w": np.full((3, 2), size, "f"), "b": np.full(3, -size, "f")}
  options = CONFIG["optim"] | {"kind": "sgd", "clip": clip}
  transform = optim.optimizer(options, hyper(lr=1.0), 5, DECAYED)
  updates, _ = transform.update(grad, transform.init(grad), grad)
  norm = float(optax.tree.norm(grad))
  assert float(optax.tree.norm(updates)) == pytest.approx(min(norm, clip), rel=1e-5)
  np.testing.assert_allclose(updates["w"], -grad["w"] * min(1.0, clip / norm), rtol=1e-5)


def test_hyper_of_reads_the_config():
  config = copy.deepcopy(CONFIG)
  config["optim"] |= {
    "kind": "adamw",
    "weight_decay": 0.25,
    "schedule": {"kind": "cosine", "warmup": 3, "rate": 2.0},
  }
  assert optim.hyper_of(config) == optim.Hyper(np.float32(1e-2), 0.25, np.float32(0.1), 2, 3, 2.0)
  assert all(isinstance(value, np.generic) for value in optim.hyper_of(config))


@pytest.mark.parametrize(
  ("change", "told"),
  [
    ({"weight_decay": 0.1}, "optim.kind=adamw"),
    ({"schedule": {"kind": "step", "warmup": 0, "rate": 1.0}}, "inverse_sqrt"),
  ],
)
def test_what_would_be_ignored_is_refused(change, told):
  with pytest.raises(Refused, match=told):
    optim.hyper_of({"optim": CONFIG["optim"] | change})


def test_an_unknown_kind_is_refused():
  with pytest.raises(Refused, match="adam, adamw, sgd"):
    optim.optimizer(CONFIG["optim"] | {"kind": "lion"}, hyper(), 5, DECAYED)
