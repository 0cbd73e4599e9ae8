"""Segment memory (Transformer-XL): stretches go by position in the document, wherever it stands in a row, by whatever
path a row is worked on; no gradient flows back from one stretch to another.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from model import build, decode
from model.errors import Refused
from model.language import Inputs
from model.mask import Positions, rows
from tests.model import tiny

T = 10
OPTIONS = {"segment": 4, "memory": 3, "position": {"kind": "xl"}}
EARLIER = {t: range(max(0, t // 4 * 4 - 3), t // 4 * 4) for t in range(T)}  # remembered by the stretch of t
BANDED = {"kind": "banded", "window": 2, "symbols": (3, 7), "anchors": (1,)}
ARMS = {
  "gpt": ("gpt", {}),
  "gpt_blocks": ("gpt", {"block": 5, "wiring": {"norm": "post"}, "position": {"kind": "alibi"}}),
  "gpt_banded": ("gpt", {"attention": BANDED, "position": {"kind": "rope"}}),
  "gpt_no_memory": ("gpt", {"segment": 2, "memory": 0, "position": {"kind": "sinusoidal"}, "depth": 1}),
  "bert": ("bert", {"segment": 2, "memory": 1}),
  "bert_banded": ("bert", {"segment": 3, "attention": BANDED, "position": {"kind": "none"}}),
  "bert_bigbird": ("bert", {"attention": {"kind": "block_sparse", "block_size": 2}, "memory": 2}),
  "seq2seq": ("seq2seq", {"segment": 3, "memory": 2}),
}
each_arm = pytest.mark.parametrize("arm", ARMS)


def made(kind="gpt", **options):
  return tiny.model(kind, **{**OPTIONS, "feedforward": {"kind": "none"}, **options})


def row(length=T, start=0, seed=0):
  tokens = np.random.default_rng(seed).integers(0, tiny.SYMBOLS, (2, T, 1)).astype(np.int32)
  return Inputs(tokens[:, start : start + length], rows(length, start))


@functools.cache
def solve(arm):
  """The compiled model, which knows no position: (logits, recorded weights by name)."""
  kind, options = ARMS[arm]
  module = made(kind, **options)

  def run(inputs, recorded):
    record = [] if recorded else None
    logits, _ = module(inputs, record=record)
    return logits, {entry["name"]: entry["weights_BKGTS"] for entry in record or []}

  return jax.jit(run, static_argnums=1)


def packed(arm, lengths=(5, 4), seed=0):
  sources = tuple(reversed(lengths))
  return tiny.inputs(ARMS[arm][0], lengths, sources, T, T, seed)


@each_arm
@settings(max_examples=4, deadline=None)
@given(draw=st.randoms(use_true_random=False), first=st.integers(1, 7), seed=st.integers(0, 99))
def test_a_document_is_the_same_wherever_it_stands(arm, draw, first, seed):
  """Two documents and padding left, right and between, then in any order of columns; each equals itself alone."""
  both = packed(arm, (first, 9 - first), seed)
  gaps, order, there = sorted(draw.sample(range(T), 9)), list(range(T)), list(range(T))
  places = {"with gaps": [*gaps, *set(range(T)) - set(gaps)]}
  draw.shuffle(order)
  places["shuffled"] = order
  draw.shuffle(there)
  for place in places.values():
    moved = tiny.part(both, np.argsort(place), np.array(there))
    logits = solve(arm)(moved, False)[0]
    for document in ((0, first), (first, 9)):
      s = (0, 9 - first) if document[0] == 0 else (9 - first, 9)
      alone = tiny.pad(tiny.part(both, slice(*document), slice(*s)), T)
      expected = solve(arm)(alone, False)[0][:, : document[1] - document[0]]
      np.testing.assert_allclose(logits[:, place[slice(*document)]], expected, atol=3e-5)


@each_arm
def test_recording_changes_nothing(arm):
  inputs = packed(arm)
  (logits, _), (recorded, weights) = (solve(arm)(inputs, how) for how in (False, True))
  np.testing.assert_allclose(recorded, logits, atol=3e-5)
  for name, weights_BKGTS in weights.items():
    assert weights_BKGTS.shape[-2:] == (T, T), name
    np.testing.assert_allclose(weights_BKGTS.sum(-1)[0, ..., :9], 1, atol=1e-5)


@each_arm
def test_recorded_weights_obey_the_rule(arm):
  """Written as loops over positions: one's own stretch and the memory before it, as far as the mechanism looks."""
  kind, options = ARMS[arm]
  inputs = packed(arm)
  weights = solve(arm)(inputs, True)[1]
  segment, memory = ({**OPTIONS, **options}[name] for name in ("segment", "memory"))
  pos, document = (a[0].tolist() for a in inputs.positions)
  chosen = [p == 1 or int(w) in BANDED["symbols"] for p, w in zip(pos, inputs.tokens_BTC[0, :, 0], strict=True)]

  def seen(t, s):
    start = pos[t] // segment * segment
    far = not start - memory <= pos[s] < start + segment or (kind != "bert" and pos[s] > pos[t])
    near = "banded" not in arm or abs(pos[t] - pos[s]) < 2 or chosen[t] or chosen[s]
    return document[t] == document[s] > 0 and not far and near

  expected = np.array([[seen(t, s) for s in range(T)] for t in range(T)])
  name = "encoder/0" if kind == "bert" else "decoder/0/self"
  found = np.asarray(weights[name])[0, 0, 0] > 0
  if arm == "bert_bigbird":  # what is drawn at random may be missing
    assert not (found & ~expected).any()
  else:
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
  ("kind", "options"),
  [
    ("gpt", {}),
    ("gpt", {"wiring": {"norm": "post"}, "position": {"kind": "rope"}}),
    ("bert", {"memory": 0, "wiring": {"norm": "none"}}),
    ("bert", {"memory": 5, "attention": {"kind": "sigmoid"}, "position": {"kind": "learned", "length": T}}),
  ],
  ids=str,
)
def test_stretch_by_stretch_equals_the_whole_row_under_the_rule(kind, options):
  """Numbers and gradients; positions that the compiler knows let a row be cut."""
  graphdef, params, rest = nnx.split(made(kind, **options), nnx.Param, ...)

  def loss(params, positions):
    logits, _ = nnx.merge(graphdef, params, rest)(Inputs(row().tokens_BTC, positions))
    return jnp.sin(logits).sum(), logits

  value = jax.value_and_grad(loss, has_aux=True)
  (_, cut), by_cut = jax.jit(lambda params: value(params, rows(T)))(params)
  (_, whole), by_whole = jax.jit(value)(params, Positions(*(np.repeat(a, 2, 0) for a in rows(T))))
  np.testing.assert_allclose(cut, whole, atol=2e-5)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3, rtol=1e-3), by_cut, by_whole)


def test_stretch_by_stretch_is_a_loop():
  """A long row is not worked on as a whole: no array is as long as two rows, or T times T."""
  module, length = made(depth=1), 64
  program = jax.make_jaxpr(lambda x: module.decoder(x, rows(length))[0])(jnp.zeros((1, length, 16)))
  sizes = [v.aval.size for eqn in program.jaxpr.eqns for v in eqn.outvars]
  assert max(sizes) <= length * 16
  assert any(eqn.primitive.name == "scan" for eqn in program.jaxpr.eqns)


@pytest.mark.parametrize("known", [True, False], ids=["by stretches", "at once"])
def test_memory_is_read_but_carries_no_gradient(known):
  module = made(depth=1)

  def logits(x_BTM, positions):
    return module.decoder(x_BTM, positions)[0][0] @ np.arange(16.0)  # a plain sum is what the last norm takes away

  def run(x_BTM, positions):
    return logits(x_BTM, rows(T) if known else positions)

  x_BTM = jnp.asarray(np.random.default_rng(1).normal(size=(1, T, 16)), jnp.float32)
  moved_TS = np.abs(jax.jit(jax.jacobian(run))(x_BTM, rows(T))[:, 0]).max(-1) > 1e-5
  far = x_BTM.at[0, 2, 3].add(1.0)
  changed_T = np.abs(jax.jit(run)(far, rows(T)) - jax.jit(run)(x_BTM, rows(T))) > 1e-4
  for t in range(T):
    own = range(t // 4 * 4, t + 1)
    assert list(np.flatnonzero(moved_TS[t])) == list(own)  # gradient: this stretch only
    assert changed_T[t] == (2 in own or 2 in EARLIER[t])  # value: what is remembered too


@functools.cache
def carried(arm):
  """The model, its compiled step over rows of T columns, and what an empty carry is."""
  module = made(**ARMS[arm][1])
  return module, jax.jit(lambda inputs, carry: module(inputs, carry=carry))


def padded(tokens_NC, positions, columns):
  """Tokens and where they stand, put at these columns of an empty row."""
  row = np.zeros((3, T), np.int32)
  row[:, columns] = tokens_NC[:, 0], positions.pos_BT[0], positions.segment_BT[0]
  return Inputs(row[0][None, :, None], Positions(row[1][None], row[2][None]))


@pytest.mark.parametrize("arm", ["gpt", "gpt_banded", "gpt_no_memory"])
@settings(max_examples=4, deadline=None)
@given(draw=st.randoms(use_true_random=False), seed=st.integers(0, 99))
def test_rows_that_go_on_equal_one_row(arm, draw, seed):
  """A document in parts of any length, each anywhere in a padded row, behind another that ends there."""
  module, step = carried(arm)
  tokens_NC = np.random.default_rng(seed).integers(0, tiny.SYMBOLS, (T, 1)).astype(np.int32)
  whole = solve(arm)(Inputs(tokens_NC[None], rows(T)), False)[0]
  cuts = sorted(draw.sample(range(1, T), 2))
  carry = module.remember(1)
  other = np.full((2, 1), 5, np.int32), Positions(np.arange(2)[None], np.full((1, 2), 2))
  _, carry = step(padded(*other, [3, 8]), carry)  # an earlier document, which must not be seen
  for start, stop in zip((0, *cuts), (*cuts, T), strict=True):
    columns = sorted(draw.sample(range(T), stop - start))
    logits, carry = step(padded(tokens_NC[start:stop], rows(stop - start, start), columns), carry)
    np.testing.assert_allclose(logits[0, columns], whole[0, start:stop], atol=3e-5)
  _, carry = step(padded(tokens_NC[:0], rows(0), []), carry)  # a row of padding takes nothing away
  anew = step(padded(tokens_NC, rows(T), range(T)), carry)[0]  # the same number for another document
  np.testing.assert_allclose(anew, whole, atol=3e-5)


def test_every_leaf_of_the_memory_has_the_batch_first():
  module = made()
  carry = jax.eval_shape(lambda: module(row(), carry=module.remember(2))[1])
  assert {leaf.shape[0] for leaf in jax.tree.leaves(carry)} == {2}
  assert {leaf.shape[1] for leaf in jax.tree.leaves(carry)} == {3 + 4 - 1}  # a row may end within a stretch


def test_decoding_obeys_the_rule():
  model = made(depth=1)
  prompt = np.random.default_rng(3).integers(1, tiny.SYMBOLS, (2, 5, 1)).astype(np.int32)
  tokens = jax.jit(lambda: decode.greedy(model, prompt, rows(5), stop=0, length=6))()
  run = jax.jit(lambda inputs: model(inputs)[0])
  seen = np.zeros((2, 11, 1), np.int32)
  seen[:, :5] = prompt
  for step in range(6):
    segment = (np.arange(11) < 5 + step).astype(np.int32)[None]
    best = np.asarray(run(Inputs(seen, Positions(rows(11).pos_BT, segment)))[:, 4 + step, 0].argmax(-1))
    done = (np.asarray(tokens)[:, :step] == 0).any(1)
    np.testing.assert_array_equal(np.where(done, 0, best), tokens[:, step])
    seen[:, 5 + step, 0] = tokens[:, step]


@pytest.mark.parametrize("arm", ["gpt", "gpt_banded"])
def test_a_prompt_may_stand_anywhere(arm):
  """Packed behind another one, with padding left, right and between, it goes on as it does alone."""
  module = made(**ARMS[arm][1])
  run = jax.jit(lambda tokens, positions: decode.greedy(module, tokens, positions, stop=tiny.SYMBOLS - 1, length=5))
  tokens_NC = np.random.default_rng(7).integers(0, tiny.SYMBOLS, (6, 1)).astype(np.int32)
  found = []
  for columns in (range(6), (1, 2, 5, 6, 8, 9), (0, 1, 2, 3, 7, 8)):
    there = padded(tokens_NC, rows(6), list(columns))
    found.append(run(there.tokens_BTC, there.positions))
  packed = padded(tokens_NC, rows(6), [3, 4, 5, 6, 8, 9])
  packed.positions.segment_BT[0, 3:] *= 2
  packed.positions.segment_BT[0, :3], packed.positions.pos_BT[0, :3], packed.tokens_BTC[0, :3] = 1, np.arange(3), 3
  found.append(run(packed.tokens_BTC, packed.positions))
  for other in found[1:]:
    np.testing.assert_array_equal(other, found[0])


def test_memory_without_segments_is_refused():
  with pytest.raises(Refused, match=r"model\.segment"):
    made(segment=0)
  with pytest.raises(Refused, match=r"model\.segment=0"):
    made(segment=0, memory=0).remember(2)


def test_a_pattern_that_counts_from_the_first_token_is_not_carried_on():
  with pytest.raises(Refused, match="pattern=strided"):
    made(attention={"kind": "block_sparse", "block_size": 2}).remember(1)
  made(attention={"kind": "block_sparse", "block_size": 2, "pattern": "strided"}).remember(1)


MECHANISMS = [{"kind": kind} for kind in build.kinds("attention")] + [
  BANDED,
  {"kind": "block_sparse", "block_size": 2},
  {"kind": "block_sparse", "pattern": "fixed", "block_size": 2, "columns": 1},
]
WHOLE = ("linear", "lsh", "performer")  # look causally or both ways, by no other rule
RUNS = (
  ("bert", {"segment": 4, "memory": 3}),
  ("gpt", {"segment": 4, "memory": 3, "window": 3, "itself": False}),
  ("seq2seq", {"segment": 4, "memory": 2}),
  ("rnn", {"reads": "after"}),
  ("rnn_seq2seq", {"reads": "after", "direction": "both"}),
  ("rnn_seq2seq", {"reads": "before", "direction": "apart"}),
)


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_what_is_built_runs(mechanism):
  """Each mechanism in each kind of model is refused when it is built, in one line, or runs by every path."""
  for kind, options in RUNS:
    source = "seq2seq" in kind
    voiced = tiny.vocabulary("seq2seq" if source else "gpt")
    settings = {"width": 8, "heads": 2, "depth": 1, "kind": kind, "attention": mechanism, **options}
    if mechanism["kind"] in WHOLE and "segment" in options:
      with pytest.raises(Refused, match=r"^[^\n]*model\.segment=0[^\n]*$"):
        build.model(settings, voiced)
      continue
    module = tiny.realize(lambda s=settings, v=voiced: build.model(s, v))
    packed = tiny.inputs("seq2seq" if source else "gpt", (3, 5, 2), (4, 1, 3), 12, 12)
    jax.eval_shape(lambda m=module, p=packed: (m(tiny.part(p, slice(3, 8), slice(4, 5)))[0], m(p, record=[])[0]))
    if kind == "gpt" and not module.decoder.layers[0].attention.mechanism.counts:
      jax.eval_shape(lambda p, m=module: m(p, carry=m.remember(1))[0], packed)
    if kind in ("gpt", "rnn"):
      jax.eval_shape(lambda t, w, m=module: decode.greedy(m, t, w, stop=0, length=2), *packed[:2])
