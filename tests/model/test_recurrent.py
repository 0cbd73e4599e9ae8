"""Recurrent models: packed rows equal rows alone, no look ahead, carries, decoding, and the papers' attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build, initial
from model.decode import greedy
from model.errors import Refused
from model.language import Inputs
from model.mask import Mask, Positions, everything, rows
from model.recurrent import Reading, Recurrent
from model.vocabulary import Vocabulary
from tests.model import oracle_recurrent as oracle
from tests.model import tiny

LENGTHS, SOURCES, TOTAL = (3, 5, 2), (4, 1, 3), 12
WIDTH, NEVER, STEPS = 8, tiny.SYMBOLS - 1, 5
RNN = {
  "lstm": {},
  "scan_after": {"cell": {"kind": "scan"}, "reads": "after"},
  "gru_both_after": {"cell": {"kind": "gru"}, "direction": "both", "reads": "after", "projections": "k"},
  "tanh_apart": {"cell": {"kind": "tanh"}, "direction": "apart"},
}
PAIR = {
  "pair_lstm": {"direction": "apart"},
  "pair_gru_after": {"cell": {"kind": "gru"}, "reads": "after", "attention": {"kind": "dot", "scale": 1.0}},
  "pair_lstm_before": {"direction": "both", "reads": "before", "attention": {"kind": "additive"}},
  "pair_gru_before": {"cell": {"kind": "gru"}, "reads": "before", "depth": 1, "projections": "qk", "heads": 1},
}
ARMS = {name: {"kind": "rnn"} | options for name, options in RNN.items()}
ARMS |= {name: {"kind": "rnn_seq2seq"} | options for name, options in PAIR.items()}
each_pair = pytest.mark.parametrize("arm", PAIR)


def model(dtype="float32", **options):
  settings = {"width": WIDTH, "heads": 2, "depth": 2} | options
  vocabulary = Vocabulary((tiny.SYMBOLS,), tiny.SYMBOLS, 1, (tiny.SOURCES,) if "seq2seq" in options["kind"] else ())
  return tiny.realize(lambda: build.model(settings, vocabulary, dtype), 3)


@functools.cache
def made(arm, **more):
  """A sharp model whose last symbol never wins, so that NEVER never stops a row."""
  found = model(**ARMS[arm], **more)
  found.readout.kernel[...] = 3 * found.readout.kernel[...].at[:, NEVER].set(0.0)
  found.readout.bias[...] = found.readout.bias[...].at[NEVER].set(-1e9)
  return found


@functools.cache
def solve(arm):
  """The compiled model: logits and what attention records."""
  module, names = made(arm), []

  @jax.jit
  def run(inputs):
    record = []
    logits, _ = module(inputs, record=record)
    names[:] = [entry["name"] for entry in record]
    return logits, [(entry["weights_BKGTS"], entry["out_BTKGD"]) for entry in record]

  return run, names


def logits_of(arm):
  return lambda inputs: solve(arm)[0](inputs)[0]


def inputs(arm, lengths=LENGTHS, sources=SOURCES, seed=0):
  return tiny.inputs("seq2seq" if arm in PAIR else "gpt", lengths, sources, TOTAL, TOTAL, seed)


def weights(arm):
  """Its parameters by path, in float64."""
  flat = nnx.to_flat_state(nnx.state(made(arm), nnx.Param))
  return {"/".join(map(str, path)): np.asarray(leaf[...], np.float64) for path, leaf in flat}


@pytest.mark.parametrize("arm", ARMS)
def test_packed_is_alone(arm):
  packed = inputs(arm)
  logits = logits_of(arm)(packed)
  assert jnp.isfinite(logits).all()
  t = s = 0
  for n, m in zip(LENGTHS, SOURCES, strict=True):
    alone = tiny.part(packed, slice(t, t + n), slice(s, s + m))
    np.testing.assert_allclose(logits_of(arm)(tiny.pad(alone, TOTAL))[:, :n], logits[:, t : t + n], atol=1e-5)
    t, s = t + n, s + m


@pytest.mark.parametrize("arm", ARMS)
def test_what_stands_in_padding_does_not_matter(arm):
  one, two = (inputs(arm, seed=seed) for seed in (1, 2))
  mixed = two._replace(tokens_BTC=np.where(one.positions.segment_BT[..., None] > 0, one.tokens_BTC, two.tokens_BTC))
  if arm in PAIR:
    real = one.source_positions.segment_BT[..., None] > 0
    mixed = mixed._replace(source_BSC=np.where(real, one.source_BSC, two.source_BSC))
  real = one.positions.segment_BT > 0
  np.testing.assert_array_equal(logits_of(arm)(one)[real], logits_of(arm)(mixed)[real])


@pytest.mark.parametrize("arm", ARMS)
def test_who_depends_on_whom(arm):
  """Changing one token changes the logits of its segment only, and only of later tokens where nobody looks ahead."""
  packed = inputs(arm)
  logits, same = logits_of(arm)(packed), packed.positions.segment_BT[0][:, None] == packed.positions.segment_BT[0]
  seen = same if ARMS[arm].get("direction", "forward") != "forward" and arm in RNN else same & np.tri(TOTAL, dtype=bool)
  for t in (0, 2, 4, 7, 8):
    changed = packed._replace(tokens_BTC=packed.tokens_BTC.copy())
    changed.tokens_BTC[0, t] = (changed.tokens_BTC[0, t] + 1) % (tiny.SYMBOLS - 1)
    moved = jnp.abs(logits_of(arm)(changed) - logits)[0].max((-1, -2)) > 1e-7
    np.testing.assert_array_equal(moved, seen[:, t])


@each_pair
def test_a_target_depends_on_its_own_source_alone(arm):
  packed = inputs(arm)
  logits = logits_of(arm)(packed)
  for s in range(sum(SOURCES)):
    changed = packed._replace(source_BSC=packed.source_BSC.copy())
    changed.source_BSC[0, s] = (changed.source_BSC[0, s] + 1) % tiny.SOURCES
    moved = jnp.abs(logits_of(arm)(changed) - logits)[0].max((-1, -2)) > 1e-7
    np.testing.assert_array_equal(moved, packed.positions.segment_BT[0] == packed.source_positions.segment_BT[0, s])


@pytest.mark.parametrize("direction", ["apart", "both"])
def test_two_ways_meet_at_the_top_or_in_every_layer(direction):
  """Row t differs from the first one in token t."""
  settings = build.complete({"width": WIDTH, "depth": 2, "cell": {"kind": "tanh"}})
  layers = tiny.realize(lambda: Recurrent(settings, direction=direction))
  x_BTM = np.random.default_rng(0).normal(size=(1, 6, WIDTH)).astype(np.float32) + np.zeros((7, 1, 1), np.float32)
  x_BTM[1:] += np.eye(6, dtype=np.float32)[..., None]
  h_BTM = np.asarray(jax.jit(lambda x: layers(x, rows(6))[0])(x_BTM))
  ahead, back = (np.abs(half[1:] - half[:1]).max(-1).T > 1e-7 for half in np.split(h_BTM, 2, -1))
  alone = np.tri(6, dtype=bool) if direction == "apart" else np.ones((6, 6), bool)
  np.testing.assert_array_equal(ahead, alone)
  np.testing.assert_array_equal(back, alone.T)


def started(module, row, length):
  if row.source_BSC is None:
    return module.start(1, length)
  return module.start(row.source_BSC, row.source_positions, length)


@pytest.mark.parametrize("arm", ["scan_after", "pair_gru_before"])
def test_token_by_token_equals_the_whole(arm):
  packed, module = inputs(arm), made(arm)
  step = jax.jit(lambda row, carry: module(row, carry=carry))
  carry, parts = jax.jit(lambda: started(module, packed, TOTAL))(), []
  assert {leaf.shape[0] for leaf in jax.tree.leaves(carry)} == {1}
  for t in range(TOTAL - 2):
    logits, carry = step(Inputs(packed.tokens_BTC[:, t : t + 1], packed.positions.at(slice(t, t + 1))), carry)
    parts.append(logits)
  np.testing.assert_allclose(np.concatenate(parts, 1), logits_of(arm)(packed)[:, : TOTAL - 2], atol=1e-5)


@pytest.mark.parametrize("arm", ["scan_after", "pair_lstm", "pair_gru_after", "pair_gru_before"])
def test_decoding_is_computing_everything_again(arm):
  """Rows of unequal length, one whole forward pass per symbol."""
  draw, lengths, start = np.random.default_rng(0), (5, 2, 4), 1 if arm in PAIR else None
  tokens = draw.integers(0, tiny.SOURCES, (3, 5, 1)).astype(np.int32)
  segment = (np.arange(5) < np.array(lengths)[:, None]).astype(np.int32)
  positions = Positions(np.arange(5, dtype=np.int32) * segment, segment)
  module = made(arm)
  found = jax.jit(lambda t, w: greedy(module, t, w, start=start, stop=NEVER, length=STEPS))(tokens, positions)
  for row, length in enumerate(lengths):
    own = tokens[row, :length, 0]
    chain = list(own) if start is None else [start]
    for _ in range(STEPS):
      whole = tiny.inputs("seq2seq" if arm in PAIR else "gpt", (len(chain),), (length,), TOTAL, TOTAL)
      whole.tokens_BTC[0, : len(chain), 0] = chain
      if arm in PAIR:
        whole.source_BSC[0, :length, 0] = own
      chain.append(int(np.argmax(logits_of(arm)(whole)[0, len(chain) - 1, 0])))
    np.testing.assert_array_equal(found[row], chain[-STEPS:])


def gru_of(numbers, path):
  found = {name: numbers[f"{path}/{name}"] for name in ("kernel", "recurrent", "bias", "recurrent_bias")}
  return found | {"given": np.zeros((3, WIDTH))}


def by_hand(arm):
  """One row, its embedded tokens, what the encoder makes of its source, and the parameters, from the papers' loops."""
  row, numbers = tiny.inputs("seq2seq", (4,), (3,)), weights(arm)
  h_SM = numbers["source_embedding/tables/0"][row.source_BSC[0, :, 0]]
  for layer in range(len(made(arm).encoder.forward)):
    rest = {"h": [0.0] * WIDTH}
    h_SM, _ = oracle.row(oracle.gru, h_SM, [1] * 3, gru_of(numbers, f"encoder/forward/{layer}"), rest, 0)
  return row, numbers["embedding/tables/0"][row.tokens_BTC[0, :, 0]], h_SM, numbers


def starts(memory_SM, numbers, part, parts):
  """tanh(W e + b) with e the last output of a one-way encoder: the state `part` of so many."""
  columns = slice(part * WIDTH, (part + 1) * WIDTH)
  kernel, bias = numbers["decoder/bridge/kernel"][:, columns], numbers["decoder/bridge/bias"][columns]
  assert numbers["decoder/bridge/bias"].shape == (parts * WIDTH,)
  return list(np.tanh(np.array(oracle.product(memory_SM[-1], kernel)) + bias))


def check(arm, row, h_TM, numbers):
  """The model's logits are those of these outputs of the decoder."""
  expected = np.array([oracle.product(h_M, numbers["readout/kernel"]) for h_M in h_TM]) + numbers["readout/bias"]
  found = logits_of(arm)(tiny.pad(row, TOTAL))[0, : len(h_TM), 0]
  np.testing.assert_allclose(found[:, :NEVER], expected[:, :NEVER], atol=1e-5)


def test_attention_after_the_cells_is_luongs():
  """Two heads of dot products around a GRU of two layers."""
  arm = "pair_gru_after"
  row, x_TM, memory_SM, numbers = by_hand(arm)
  h_TM = x_TM
  for layer in range(2):
    state = {"h": starts(memory_SM, numbers, layer, 2)}
    h_TM, _ = oracle.row(oracle.gru, h_TM, [1] * 4, gru_of(numbers, f"decoder/recurrent/forward/{layer}"), state, 1)
  y_TM = []
  for h_M in h_TM:
    answers = []
    for head in range(2):
      q, k, v = (numbers[f"decoder/reading/heads/{name}"] for name in ("query", "key", "value"))
      keys, values = ([oracle.product(m_M, a[:, head]) for m_M in memory_SM] for a in (k, v))
      answers.append(oracle.answer(oracle.dot, oracle.product(h_M, q[:, head, 0]), keys, values))
    a_M = oracle.product(answers[0] + answers[1], numbers["decoder/reading/heads/out"].reshape(WIDTH, WIDTH))
    y_TM.append(np.tanh(oracle.product(np.array(a_M + list(h_M)), numbers["decoder/reading/join/kernel"])))
  check(arm, row, y_TM, numbers)


def test_attention_before_the_cells_is_bahdanaus():
  """The general score q W k here, of one head; the score of the paper itself stands in the test below."""
  arm = "pair_gru_before"
  row, x_TM, memory_SM, numbers = by_hand(arm)
  query, key = (numbers[f"decoder/asking/{name}"].reshape(WIDTH, WIDTH) for name in ("query", "key"))
  state, h_TM, scale = {"h": starts(memory_SM, numbers, 0, 1)}, [], WIDTH**-0.5
  for x_M in x_TM:
    asks = [scale * a for a in oracle.product(state["h"], query)]
    a_M = oracle.answer(oracle.general(key), asks, memory_SM, memory_SM)
    state = oracle.gru(np.array([*x_M, *a_M]), state, gru_of(numbers, "decoder/recurrent/forward/0"))
    h_TM.append(state["h"])
  check(arm, row, h_TM, numbers)


@pytest.mark.parametrize("score", ["dot", "general", "bahdanau"])
def test_scores_of_the_papers(score):
  """One head that reads the memory as it is."""
  kinds = {"dot": ("", {"kind": "dot", "scale": 1.0}), "general": ("k", {"kind": "dot", "scale": 1.0})}
  projections, attention = kinds.get(score, ("qk", {"kind": "additive"}))
  settings = {"width": WIDTH, "heads": 1, "projections": projections, "attention": attention}
  reading = tiny.realize(lambda: Reading(build.complete(settings), cross=True))
  h_BTM, memory_BSM = (np.random.default_rng(n).normal(size=(1, n, WIDTH)).astype(np.float32) for n in (4, 3))
  mask = Mask(rows(4), rows(3), everything())

  @jax.jit
  def answers(h_BTM, memory_BSM):
    reading(h_BTM, memory_BSM, mask, record=(record := []), name="here")
    return record[0]["out_BTKGD"][0, :, 0, 0]

  found_TM, heads = answers(h_BTM, memory_BSM), reading.heads
  if score == "dot":
    by_hand = oracle.dot
  elif score == "general":
    by_hand = oracle.general(np.asarray(heads.key[...])[:, 0])
  else:
    matrices = (np.asarray(heads.query[...])[:, 0, 0], np.asarray(heads.key[...])[:, 0])
    by_hand = oracle.bahdanau(*matrices, heads.mechanism.bias[...][0], heads.mechanism.readout[...][0])
  for t in range(4):
    answer = oracle.answer(by_hand, h_BTM[0, t], memory_BSM[0], memory_BSM[0])
    np.testing.assert_allclose(found_TM[t], answer, atol=1e-5)


def test_two_ways_hand_over_both_ends():
  """A decoder starts from the way forward at the last token of a segment, and from the way back at its first."""
  packed, numbers, decoder = inputs("pair_lstm"), weights("pair_lstm"), made("pair_lstm").decoder
  memory_BSM = np.random.default_rng(0).normal(size=(1, TOTAL, WIDTH)).astype(np.float32)
  target = Positions(packed.positions.pos_BT, np.array([[3, 2, 9, 1, 1, 0, 2, 2, 2, 2, 2, 2]]))  # 9: no such source
  begin = jax.jit(lambda m: decoder.read(m, packed.source_positions).begin(target))(memory_BSM)
  ends = {1: (0, 3), 2: (4, 4), 3: (5, 7)}
  for t, segment in enumerate(target.segment_BT[0]):
    expected = np.zeros(4 * WIDTH)
    if segment in ends:
      first, last = ends[segment]
      end_M = np.concatenate([memory_BSM[0, last, : WIDTH // 2], memory_BSM[0, first, WIDTH // 2 :]])
      expected = np.tanh(end_M @ numbers["decoder/bridge/kernel"] + numbers["decoder/bridge/bias"])
    found = np.concatenate([begin[layer][name][0, t] for layer in range(2) for name in ("c", "h")])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("arm", [arm for arm in ARMS if "after" in arm or "before" in arm])
def test_records(arm):
  packed, (run, names) = inputs(arm), solve(arm)
  _, ((weights_BKGTS, out_BTKGD),) = run(packed)
  heads = made(arm).decoder.heads() if arm in PAIR else made(arm).reading.heads
  assert names == ["decoder/cross" if arm in PAIR else "decoder/self"]
  assert weights_BKGTS.shape == (1, heads.kv_heads, 1, TOTAL, TOTAL)
  assert out_BTKGD.shape == (1, TOTAL, heads.kv_heads, 1, heads.value_dim)
  real = packed.positions.segment_BT[0] > 0
  np.testing.assert_allclose(weights_BKGTS.sum(-1)[..., real], 1.0, atol=1e-5)


@pytest.mark.parametrize("arm", ["pair_gru_after", "pair_gru_before"])
def test_every_parameter_is_trained(arm):
  graphdef, params, rest = nnx.split(model(**ARMS[arm] | {"depth": 1}), nnx.Param, ...)
  packed = inputs(arm)
  grads = jax.jit(jax.grad(lambda p: jnp.sin(nnx.merge(graphdef, p, rest)(packed)[0]).sum()))(params)
  for path, leaf in nnx.to_flat_state(grads):
    assert jnp.abs(leaf[...]).max() > 1e-6, path


def test_bfloat16_stays_near():
  arm = "pair_gru_before"
  low, packed = made(arm, dtype="bfloat16"), inputs(arm)
  logits, full = jax.jit(lambda: low(packed)[0])(), logits_of(arm)(packed)
  assert logits.dtype == jnp.float32
  real = packed.positions.segment_BT > 0
  logits, full = logits[real][..., :NEVER], full[real][..., :NEVER]
  assert jnp.abs(logits - full).mean() < 0.05 * jnp.abs(full).mean()


def test_dropout_depends_on_its_key():
  module = model(kind="rnn_seq2seq", reads="before", cell={"kind": "tanh"}, dropout=0.3)
  graphdef, params, dials = nnx.split(module, nnx.Param, initial.Dial)
  packed = inputs("pair_lstm")
  run = jax.jit(lambda dials, key: nnx.merge(graphdef, params, dials)(packed, key=key)[0])
  one, other = (run(nnx.as_pure(dials), jax.random.key(seed)) for seed in (0, 1))
  assert (jnp.abs(one - other)[packed.positions.segment_BT > 0].max((1, 2)) > 1e-3).all()
  off = initial.settings(module, {name: 0.0 for name in initial.dials(module) if name.endswith("rate")})
  np.testing.assert_allclose(run(off, jax.random.key(0)), jax.jit(lambda: module(packed)[0])(), atol=1e-5)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"kind": "rnn", "reads": "before"}, "reads=before.*after or none"),
    ({"kind": "rnn", "direction": "both", "width": 9, "heads": 3}, "width=9.*even"),
    ({"kind": "rnn", "reads": "never"}, "never.*none"),
    ({"kind": "rnn", "cell": {"kind": "lstm", "chrono": 1}}, "chrono=1"),
    ({"kind": "rnn", "cell": {"kind": "gru", "forget_bias": 1.0}}, "gru has no option 'forget_bias'"),
  ],
)
def test_refused_when_built(options, words):
  with pytest.raises(Refused, match=words):
    model(**options)


def test_a_pattern_without_meaning_between_sequences_leaves_the_source_to_dot():
  made = model(kind="rnn_seq2seq", reads="after", attention={"kind": "lsh"})
  assert type(made.decoder.reading.heads.mechanism).__name__ == "Dot"


def test_refused_when_called():
  both, pair = model(kind="rnn", direction="both", depth=1), made("pair_lstm")
  with pytest.raises(Refused, match="direction=forward"):
    both.start(1, 3)
  with pytest.raises(Refused, match="direction=forward"):
    both(inputs("lstm"), carry=((), None))
  with pytest.raises(Refused, match="source"):
    pair(inputs("lstm"))


def test_attention_after_the_cells_knows_symbols():
  """A global token stands beyond every window: it is seen at once, in packed rows and step by step."""
  banded = {"kind": "banded", "window": 1, "symbols": (3,)}
  module = model(kind="rnn", depth=1, reads="after", attention=banded)
  run = jax.jit(lambda inputs: module(inputs)[0])
  packed = tiny.inputs("gpt", LENGTHS, SOURCES, TOTAL, TOTAL)
  packed.tokens_BTC[0, :, 0] = [3, 1, 2, 5, 3, 6, 7, 8, 1, 2, 0, 0]
  logits, t = run(packed), 0
  for n in LENGTHS:
    alone = tiny.part(packed, slice(t, t + n), slice(0, 1))
    np.testing.assert_allclose(run(tiny.pad(alone, TOTAL))[:, :n], logits[:, t : t + n], atol=1e-5)
    t += n
  weights_TS = np.asarray(jax.jit(lambda: _recorded(module, packed))())[0, 0, 0]
  causal = np.tri(TOTAL, dtype=bool) & (packed.positions.segment_BT == packed.positions.segment_BT.T)
  chosen = packed.tokens_BTC[0, :, 0] == 3
  seen = causal & (np.eye(TOTAL, dtype=bool) | chosen | chosen[:, None])
  np.testing.assert_array_equal(weights_TS[:10] > 0, seen[:10])
  step, carry, parts = jax.jit(lambda row, carry: module(row, carry=carry)), module.start(1, TOTAL), []
  for t in range(sum(LENGTHS)):
    found, carry = step(tiny.part(packed, slice(t, t + 1), slice(0, 1)), carry)
    parts.append(found)
  np.testing.assert_allclose(np.concatenate(parts, 1), logits[:, : len(parts)], atol=1e-5)


def _recorded(module, inputs):
  record = []
  module(inputs, record=record)
  return record[0]["weights_BKGTS"]
