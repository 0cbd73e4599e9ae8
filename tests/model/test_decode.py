"""Greedy decoding: the carry changes nothing but the cost; a stop freezes its row; prompts may be ragged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model import build, initial
from model.decode import greedy
from model.errors import Refused
from model.language import Inputs
from model.mask import Positions, rows
from tests.model import tiny

LENGTH, NEVER = 6, tiny.SYMBOLS - 1
ARMS = {
  "plain": {"depth": 2},
  "multi_query": {"kv_heads": 1, "position": {"kind": "learned", "length": 16}},
  "additive": {"attention": {"kind": "additive"}, "kv_heads": 2},
  "window": {"window": 2, "feedforward": {"kind": "none"}},
  "post_blocks": {"block": 3, "wiring": {"norm": "post", "residual": True}},
}


def model(kind, **options):
  """A sharp model whose last symbol never wins, so that NEVER never stops a row."""
  module = tiny.model(kind, seed=2, **{"depth": 1, **options})
  module.readout.kernel[...] = 3 * module.readout.kernel[...].at[:, NEVER].set(0.0)
  module.readout.bias[...] = module.readout.bias[...].at[NEVER].set(-1e9)
  return module


def ragged(size, lengths, total, seed=0):
  tokens = np.random.default_rng(seed).integers(0, size, (len(lengths), total, 1)).astype(np.int32)
  pos = np.arange(total, dtype=np.int32) * np.ones((len(lengths), 1), np.int32)
  return tokens, Positions(pos, (pos < np.array(lengths)[:, None]).astype(np.int32))


def uncached(run, tokens, positions, row, start):
  """The definition: one whole forward pass per symbol, one row at a time."""
  own = positions.segment_BT[row] > 0
  source = (tokens[row : row + 1, own], rows(int(own.sum())))
  chain = [start] if start is not None else list(source[0][0, :, 0])
  size = len(chain)
  for _ in range(LENGTH):
    padded = np.array(chain + [0] * (size + LENGTH - len(chain)), np.int32)[None, :, None]
    logits = run(padded, source if start is not None else None)
    chain.append(int(np.argmax(logits[0, len(chain) - 1, 0])))
  return chain[-LENGTH:]


@pytest.mark.parametrize(("kind", "arm"), [("gpt", "additive"), ("seq2seq", "multi_query")])
def test_cached_is_uncached(kind, arm):
  module = model(kind, **ARMS[arm])
  start = 1 if kind == "seq2seq" else None
  tokens, positions = ragged(tiny.SOURCES, (5, 2, 4), 5)
  found = jax.jit(lambda t, w: greedy(module, t, w, start=start, stop=NEVER, length=LENGTH))(tokens, positions)

  @jax.jit
  def run(chain, source):
    sides = () if source is None else (source[0], source[1])
    return module(Inputs(chain, rows(chain.shape[1]), *sides))[0]

  for row in range(3):
    np.testing.assert_array_equal(found[row], uncached(run, tokens, positions, row, start))


@pytest.mark.parametrize(
  ("kind", "arm"), [*(("gpt", arm) for arm in ARMS), ("seq2seq", "plain"), ("seq2seq", "window")]
)
def test_logits_step_by_step_are_those_at_once(kind, arm):
  """Three tokens and then one through the carry, which has a slot to spare."""
  module = model(kind, **ARMS[arm])
  inputs = tiny.inputs(kind, (4,), (5,))
  at_once = jax.jit(lambda: module(inputs)[0])()

  @jax.jit
  def in_chunks():
    carry = module.start(1, 5) if kind == "gpt" else module.start(inputs.source_BSC, inputs.source_positions, 5)
    parts = []
    for chunk in (slice(0, 3), slice(3, 4)):
      logits, carry = module(Inputs(inputs.tokens_BTC[:, chunk], inputs.positions.at(chunk)), carry=carry)
      parts.append(logits)
    return jnp.concatenate(parts, 1), carry

  logits, carry = in_chunks()
  np.testing.assert_allclose(logits, at_once, atol=1e-5)
  assert {leaf.shape[0] for leaf in jax.tree.leaves(carry)} == {1}


@pytest.mark.parametrize("mechanism", build.kinds("attention"))
def test_every_mechanism_decodes_several_rows_from_a_start_that_they_share(mechanism):
  module = model("seq2seq", attention={"kind": mechanism})
  tokens, positions = ragged(tiny.SOURCES, (5, 2, 4), 5)
  length = 70  # longer than a chunk or a block of any
  found = jax.eval_shape(lambda: greedy(module, tokens, positions, start=1, stop=NEVER, length=length))
  assert found.shape == (3, length)


def test_hashed_rows_do_not_matter_to_each_other():
  module = model("seq2seq", attention={"kind": "lsh", "chunk": 2})
  tokens, positions = ragged(tiny.SOURCES, (5, 2, 4), 5)
  decode = jax.jit(lambda t, w: greedy(module, t, w, start=1, stop=NEVER, length=LENGTH))
  together = decode(tokens, positions)
  for row in range(3):
    one = slice(row, row + 1)
    np.testing.assert_array_equal(together[one], decode(tokens[one], Positions(*(a[one] for a in positions))))


def test_a_beam_may_reorder_the_carry():
  module = model("seq2seq")
  tokens, positions = ragged(tiny.SOURCES, (5, 2, 4), 5)
  order = np.array([2, 0, 0])
  begin = jax.jit(lambda t, w: module(Inputs(jnp.ones((3, 1, 1), int), rows(1)), carry=module.start(t, w, 4))[1])
  follow = jax.jit(lambda c: module(Inputs(jnp.full((3, 1, 1), 2), rows(1, 1)), carry=c)[0])
  carry = begin(tokens, positions)
  moved = follow(jax.tree.map(lambda a: a[order], carry))
  np.testing.assert_allclose(moved, follow(carry)[order], atol=1e-6)


def test_a_stop_freezes_its_row_alone():
  module = model("gpt")
  tokens, positions = ragged(tiny.SYMBOLS, (5, 2, 4, 3), 5)
  run = jax.jit(lambda stop: greedy(module, tokens, positions, stop=stop, length=LENGTH), static_argnums=0)
  free = np.asarray(run(NEVER))
  stop = int(free[0, 1])
  for before, after in zip(free, np.asarray(run(stop)), strict=True):
    end = list(before).index(stop) if stop in before else LENGTH
    np.testing.assert_array_equal(after[:end], before[:end])
    assert (after[end:] == stop).all()


def test_members_decode_under_vmap():
  """Decoding maps over a member axis of parameters."""
  from flax import nnx

  graphdef, params, dials = nnx.split(model("gpt", depth=1), nnx.Param, initial.Dial)
  tokens, positions = ragged(tiny.SYMBOLS, (3, 2), 3)

  def run(params):
    return greedy(nnx.merge(graphdef, params, dials), tokens, positions, stop=NEVER, length=3)

  both = jax.tree.map(lambda a: jnp.stack([a, -a]), params)
  together = jax.jit(jax.vmap(run))(both)
  for member in range(2):
    np.testing.assert_array_equal(together[member], jax.jit(run)(jax.tree.map(lambda a, m=member: a[m], both)))


def test_bfloat16_decodes():
  module = model("gpt", dtype="bfloat16")
  tokens, positions = ragged(tiny.SOURCES, (3, 2), 3)
  found = jax.jit(lambda: greedy(module, tokens, positions, stop=NEVER, length=3))()
  assert found.shape == (2, 3)
  assert found.dtype == jnp.int32


@pytest.mark.parametrize(
  ("kind", "options", "how", "words"),
  [
    ("bert", {}, {}, "bert|Bert"),
    ("seq2seq", {}, {}, "start=None"),
    ("seq2seq", {}, {"start": tiny.SYMBOLS}, "start=11"),
    ("gpt", {}, {"stop": tiny.SYMBOLS}, "stop=11"),
    ("gpt", {}, {"length": 0}, "length=0"),
    ("gpt", {"position": {"kind": "learned", "length": 4}}, {}, "position.length"),
  ],
)
def test_refused(kind, options, how, words):
  tokens, positions = ragged(tiny.SOURCES, (3, 2), 3)
  with pytest.raises(Refused, match=words):
    greedy(tiny.model(kind, depth=1, **options), tokens, positions, **{"stop": 0, "length": 3, **how})


@pytest.mark.parametrize(
  ("kind", "tokens", "first", "length", "words"),
  [
    ("gpt", 6, 0, 5, "decoding 5 symbols, up to position 9: .*position.length"),
    ("gpt", 6, 2, 3, "decoding 3 symbols, up to position 9: .*position.length"),
    ("seq2seq", 3, 0, 10, "decoding 10 symbols, up to position 9: .*position.length"),
    ("seq2seq", 10, 0, 2, "the source, up to position 9: .*position.length"),
  ],
)
def test_a_table_that_ends_too_early_is_told_before_anything_runs(kind, tokens, first, length, words):
  start, prompt = 1 if kind == "seq2seq" else None, np.ones((2, tokens, 1), np.int32)

  def shape(rows_of_table):
    module = tiny.model(kind, depth=1, position={"kind": "learned", "length": rows_of_table})
    decoded = lambda: greedy(module, prompt, rows(tokens, first), start=start, stop=0, length=length)  # noqa: E731
    return jax.eval_shape(decoded).shape

  with pytest.raises(Refused, match=words):
    shape(9)
  assert shape(10) == (2, length)


def test_beyond_a_table_that_only_traced_positions_leave_no_symbol_is_made_up():
  """What was said while the table lasted stands, and so does a row that had stopped."""
  module = model("gpt", position={"kind": "learned", "length": 8})
  prompt = np.array([[[1], [2], [3]], [[4], [5], [6]]])
  run = jax.jit(lambda positions, stop: greedy(module, prompt, positions, stop=stop, length=5), static_argnums=1)
  inside, beyond = np.asarray(run(rows(3), NEVER)), np.asarray(run(rows(3, 3), NEVER))
  assert (inside >= 0).all()
  assert (beyond[:, :3] >= 0).all()
  assert (beyond[:, 3:] == -1).all()
  stop = int(beyond[0, 1])
  stopped = np.asarray(run(rows(3, 3), stop))
  assert (stopped[0, 1:] == stop).all()
  source = jax.jit(lambda positions: greedy(pair, np.ones((1, 9, 1), int), positions, start=1, stop=NEVER, length=2))
  pair = model("seq2seq", position={"kind": "learned", "length": 8})
  assert (np.asarray(source(rows(9))) == -1).all()


@pytest.mark.parametrize(
  ("kind", "segment", "words"),
  [("gpt", [[1, 1], [0, 0]], "prompt without a token"), ("seq2seq", [[1, 1], [2, 2]], "source of segment 2")],
)
def test_rows_that_cannot_be_gone_on_from_are_refused(kind, segment, words):
  positions = Positions(np.zeros((2, 2), np.int32) + np.arange(2), np.array(segment))
  with pytest.raises(Refused, match=words):
    greedy(tiny.model(kind, depth=1), np.ones((2, 2, 1), int), positions, start=1, stop=0, length=2)
