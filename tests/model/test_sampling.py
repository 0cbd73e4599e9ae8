"""Sampling: draws follow softmax(logits / temperature), a seed is a seed, and no stop means to the end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model import build, decode, sampling
from model.errors import Refused
from model.initial import realize
from model.language import Inputs
from model.mask import Positions, rows
from model.vocabulary import Vocabulary

GPT = {"kind": "gpt", "width": 8, "heads": 2, "depth": 1, "position": {"kind": "rope"}, "feedforward": {"kind": "none"}}
V = 5


ONE_FIELD = Vocabulary((V,), V)


def drawn(settings=GPT, vocabulary=ONE_FIELD):
  """A model with parameters wide enough that its answers differ."""
  return realize(lambda: build.model(settings, vocabulary), init={"gain": 3.0})


def sampled(model, tokens_BTC, positions, *, key=None, **options):
  """`sampling.generate`, compiled as one program."""
  graph, state = nnx.split(model)

  def run(state, tokens_BTC, key):
    return sampling.generate(nnx.merge(graph, state), tokens_BTC, positions, key=key, **options)

  return np.asarray(jax.jit(run)(state, tokens_BTC, key))


def prompt(B=1, T=3):
  return jnp.asarray(np.random.default_rng(0).integers(0, V, (B, T, 1)), jnp.int32)


def logits_after(model, tokens_BT):
  """The last logits (V,) of each row, without any carry."""
  graph, state = nnx.split(model)
  positions = rows(tokens_BT.shape[1])

  def run(state, tokens_BT):
    return nnx.merge(graph, state)(Inputs(tokens_BT[..., None], positions))[0][:, -1, 0]

  return jax.jit(run)(state, jnp.asarray(tokens_BT))


def test_draws_follow_the_softmax_at_every_temperature():
  model, B = drawn(), 4000
  tokens_BTC = jnp.broadcast_to(prompt(), (B, 3, 1))
  logits_V = np.asarray(logits_after(model, tokens_BTC[:1, :, 0])[0], np.float64)
  for seed, temperature in enumerate((0.5, 1.0, 3.0)):
    key = jax.random.key(seed)
    found_B1 = sampled(model, tokens_BTC, rows(3), length=1, key=key, temperature=temperature)
    expected_V = np.exp(logits_V / temperature) / np.exp(logits_V / temperature).sum()
    counts_V = np.bincount(np.asarray(found_B1)[:, 0], minlength=V)
    # Each count is binomial: five standard deviations, and one for the rarest.
    reach_V = 5 * np.sqrt(B * expected_V * (1 - expected_V)) + 1
    assert (np.abs(counts_V - B * expected_V) < reach_V).all(), (temperature, counts_V, B * expected_V)


def test_the_second_symbol_follows_from_the_first():
  model, B = drawn(), 3000
  tokens_BTC = jnp.broadcast_to(prompt(), (B, 3, 1))
  found_BT = sampled(model, tokens_BTC, rows(3), length=2, key=jax.random.key(3))
  first = np.bincount(found_BT[:, 0]).argmax()
  after = np.concatenate([np.asarray(tokens_BTC[:1, :, 0]), [[first]]], 1)
  probability_V = np.asarray(jax.nn.softmax(logits_after(model, after)[0]), np.float64)
  seconds = found_BT[found_BT[:, 0] == first, 1]
  counts_V = np.bincount(seconds, minlength=V)
  reach_V = 5 * np.sqrt(len(seconds) * probability_V * (1 - probability_V)) + 1
  assert (np.abs(counts_V - len(seconds) * probability_V) < reach_V).all()


def test_without_a_stop_the_most_probable_symbols_go_on():
  """Against a loop that reads the whole row again for every symbol."""
  model, tokens_BTC = drawn(), prompt(B=3)
  found_BT = sampled(model, tokens_BTC, rows(3), length=4)
  held_BT = np.asarray(tokens_BTC[..., 0])
  for _ in range(4):
    best_B = np.asarray(logits_after(model, held_BT)).argmax(-1)
    held_BT = np.concatenate([held_BT, best_B[:, None]], 1)
  np.testing.assert_array_equal(found_BT, held_BT[:, 3:])
  stop = int(found_BT[0, 1])  # one that comes: what follows it shows whether the row went on
  stopped_BT = sampled(model, tokens_BTC, rows(3), length=4, stop=stop)
  greedy = nnx.jit(lambda model, tokens_BTC: decode.greedy(model, tokens_BTC, rows(3), stop=stop, length=4))
  np.testing.assert_array_equal(stopped_BT, greedy(model, tokens_BTC))
  assert (stopped_BT[0, 1:] == stop).all()


def test_drawn_rows_hold_stops_after_their_first():
  model, tokens_BTC = drawn(), prompt(B=50)
  found_BT = sampled(model, tokens_BTC, rows(3), length=8, stop=2, key=jax.random.key(0))
  ended_BT = np.cumsum(found_BT == 2, 1) > 0
  assert ended_BT.any()
  assert not ended_BT[:, 0].all()
  assert (found_BT[ended_BT] == 2).all()


def test_a_seed_gives_the_same_symbols_and_a_longer_answer_begins_like_a_shorter_one():
  model, tokens_BTC = drawn(), prompt(B=8)
  options = {"key": jax.random.key(1), "temperature": 2.0}
  short_BT = sampled(model, tokens_BTC, rows(3), length=4, **options)
  long_BT = sampled(model, tokens_BTC, rows(3), length=9, **options)
  np.testing.assert_array_equal(long_BT[:, :4], short_BT)
  other_BT = sampled(model, tokens_BTC, rows(3), length=9, **options | {"key": jax.random.key(2)})
  assert (other_BT != long_BT).any()
  assert len({tuple(row) for row in long_BT.tolist()}) > 1  # rows draw apart


def test_cold_draws_are_the_most_probable_symbols():
  model, tokens_BTC = drawn(), prompt(B=4)
  cold = sampled(model, tokens_BTC, rows(3), length=5, key=jax.random.key(0), temperature=1e-6)
  np.testing.assert_array_equal(cold, sampled(model, tokens_BTC, rows(3), length=5))


def test_padded_prompts_go_on_from_their_own_end():
  model = drawn()
  long, short = prompt(B=1, T=5), prompt(B=1, T=5)[:, :2]
  padded = jnp.concatenate([long, jnp.pad(short, [(0, 0), (0, 3), (0, 0)])])
  positions = Positions(np.tile(np.arange(5), (2, 1)), np.asarray([[1] * 5, [1, 1, 0, 0, 0]]))
  found_BT = sampled(model, padded, positions, length=4)
  np.testing.assert_array_equal(found_BT[1:], sampled(model, short, rows(2), length=4))


def test_an_encoder_decoder_answers_its_source_and_never_says_the_symbol_more():
  model = drawn(GPT | {"kind": "seq2seq"}, Vocabulary((V + 1,), V, source=(4,)))
  source = jnp.asarray([[[1], [2], [3]]] * 30, jnp.int32)
  found_BT = np.asarray(sampled(model, source, rows(3), length=7, start=V, key=jax.random.key(0), temperature=9))
  assert found_BT.shape == (30, 7)
  assert set(found_BT.ravel()) == set(range(V))


@pytest.mark.parametrize(
  ("settings", "vocabulary", "options", "said"),
  [
    (GPT | {"kind": "bert"}, Vocabulary((V,), V), {}, "Bert cannot decode step by step; use kind=gpt"),
    (GPT, Vocabulary((V, V), V), {}, "one field and one readout"),
    (GPT, Vocabulary((V,), V), {"stop": V}, "can never be predicted; allowed are 0 to 4"),
    (GPT, Vocabulary((V,), V + 1), {}, "one field and one readout"),
    (GPT | {"kind": "seq2seq"}, Vocabulary((V,), V, source=(4,)), {"start": V}, "allowed are 0 to 4"),
  ],
)
def test_what_cannot_be_decoded_is_refused_in_the_models_own_words(settings, vocabulary, options, said):
  model = drawn(settings, vocabulary)
  tokens = jnp.zeros((1, 2, len(vocabulary.source or vocabulary.inputs)), jnp.int32)
  with pytest.raises(Refused, match=said):
    sampling.generate(model, tokens, rows(2), length=2, **options)
