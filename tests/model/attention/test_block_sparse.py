"""Attention by sparse patterns: the papers' by an oracle, random blocks, no array of T by S, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.errors import Refused
from model.kernels import grid, tiles
from model.mask import Mask, Positions, causal, everything, rows
from tests.model.attention import cases, oracles_sparse, sparse

SIZE = 8
CASES = {  # rule, options, are positions arguments of the program, are gradients compared
  "bigbird causal": (causal(), {"pattern": "bigbird", "random": 1}, True, False),
  "bigbird both ways": (everything(), {"pattern": "bigbird", "random": 2}, True, True),
  "bigbird on a whole row": (everything(), {"pattern": "bigbird", "globals": 2, "random": 1}, False, False),
  "strided causal": (causal(), {"pattern": "strided"}, True, True),
  "strided both ways": (everything(), {"pattern": "strided"}, False, False),
  "fixed causal": (causal(), {"pattern": "fixed", "columns": 3}, True, False),
  "fixed both ways": (everything(), {"pattern": "fixed", "columns": 1}, False, False),
}


def sparsely(**options):
  return cases.mechanism("block_sparse", sparse.K, sparse.G, head_dim=sparse.D, block_size=SIZE, **options)


def told(made, rule):
  """The oracle's pattern; what is random is asked of the mechanism, and tested apart."""
  if made.pattern == "strided":
    return oracles_sparse.strided(SIZE)
  if made.pattern == "fixed":
    return oracles_sparse.fixed(SIZE, made.columns)
  place, count = np.meshgrid(np.arange(16), np.arange(1, 17), indexing="ij")
  blocks, there = (np.asarray(a) for a in made.own_mask(Mask(rows(1), rows(1), rule)).rule.second.draw(place, count))

  def drawn(i, n):
    return set(blocks[i, n - 1][there[i, n - 1]].tolist())

  return oracles_sparse.bigbird(SIZE, made.globals, drawn, rule == causal())


@pytest.mark.parametrize("name", CASES)
def test_equals_the_oracle_and_a_shuffled_cache(name, monkeypatch):
  rule, options, traced, slopes = CASES[name]
  if slopes:  # these in several steps
    monkeypatch.setitem(tiles.STEP, "cpu", 2**13)
  made, length = sparsely(**options), 83
  positions = sparse.packed(length) if traced else Positions(*(np.repeat(a, 2, 0) for a in rows(length, start=5)))
  qkv = sparse.vectors(length, 1)
  seen = sparse.rows_of(positions, np.zeros((2, length), bool))
  expected = oracles_sparse.attention(told(made, rule), *qkv, seen, rule == causal(), sparse.D**-0.5)
  sparse.check(made, qkv, positions, rule, expected, traced=traced, slopes=slopes)


def test_gradients_agree_with_finite_differences(monkeypatch):
  monkeypatch.setitem(tiles.STEP, "cpu", 2**13)
  made = sparsely(pattern="strided")
  with jax.enable_x64(True):
    qkv = sparse.vectors(70, 1, dtype=np.float64)
    for slope, gradient in sparse.slopes(made, qkv, sparse.packed(70), everything()):
      assert slope == pytest.approx(gradient, rel=1e-5)


def test_random_blocks_are_new_distinct_and_every_choice_is_as_likely():
  made = sparsely(random=2)
  pattern = made.own_mask(Mask(rows(1), rows(1), everything())).rule.second
  count, seeds = 9, 4000
  draw = lambda key: type(pattern)(SIZE, 1, 2, False, key).draw(jnp.full(1, 4), jnp.full(1, count))  # noqa: E731
  blocks, there = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), seeds))
  assert there.all()
  chosen = np.asarray(blocks)[:, 0]
  assert set(np.unique(chosen)) == {1, 2, 6, 7}  # neither 3, 4, 5 nor the global 0 and 8
  assert (chosen[:, 0] != chosen[:, 1]).all()
  pairs = np.unique(np.sort(chosen, 1), axis=0, return_counts=True)[1]
  assert len(pairs) == 6
  assert np.abs(pairs / seeds - 1 / 6).max() < 5 * (5 / 36 / seeds) ** 0.5  # five standard deviations


def test_random_blocks_of_a_causal_row_lie_before_and_do_not_depend_on_its_length():
  pattern = sparsely(random=2).own_mask(Mask(rows(1), rows(1), causal())).rule.second
  place = jnp.arange(12)
  draw = jax.jit(pattern.draw)
  (short, there), (long, there_too) = (draw(place, jnp.full(12, count)) for count in (12, 40))
  np.testing.assert_array_equal(short, long)
  np.testing.assert_array_equal(there, there_too)
  np.testing.assert_array_equal(there.sum(-1), np.clip(np.arange(12) - 2, 0, 2))
  assert ((np.asarray(short) < np.arange(12)[:, None] - 1) | ~np.asarray(there)).all()


def test_two_layers_draw_differently():
  positions = rows(30 * SIZE)
  look = jax.jit(lambda made: made.own_mask(Mask(positions, positions, everything())).tile())
  seen = [np.asarray(look(cases.mechanism("block_sparse", 1, 1, seed=seed, block_size=SIZE))) for seed in (0, 1)]
  assert (seen[0] != seen[1]).any()
  assert seen[0].sum((1, 2)) == seen[1].sum((1, 2))


def test_documents_are_laid_out_by_blocks():
  rng, length = np.random.default_rng(0), 120
  lengths = [rng.choice([1, 2, 5, 7, 8, 9, 16, 23], length) for _ in range(6)]
  segment = np.stack([np.repeat(np.arange(1, length + 1), row)[:length] for row in lengths]).astype(np.int32)
  plan = jax.jit(lambda segment: grid.lay(Positions(segment, segment), SIZE))(segment)
  for row, to in zip(segment, np.asarray(plan.to_RT), strict=True):
    assert len(set(to)) == len(to)  # none on top of another
    assert to.max() < int(plan.blocks) * SIZE
    for document in np.unique(row):
      columns = to[row == document]
      np.testing.assert_array_equal(np.diff(columns), 1)
      assert (columns[0] % SIZE == 0) if len(columns) > SIZE else (columns[0] // SIZE == columns[-1] // SIZE)
  for r, document in np.argwhere(np.stack([np.bincount(row, minlength=length + 1) for row in segment]) > SIZE):
    columns = np.asarray(plan.to_RT)[r, segment[r] == document]
    block, count = columns[0] // SIZE, -(-len(columns) // SIZE)
    np.testing.assert_array_equal(plan.place_RN[r, block : block + count], np.arange(count))
    assert (plan.count_RN[r, block : block + count] == count).all()


def test_no_array_grows_with_the_square_of_the_row():
  for rule, options in (
    (everything(), {"pattern": "bigbird"}),
    (causal(), {"pattern": "strided"}),
    (causal(), {"pattern": "fixed", "columns": 2}),
  ):
    made = cases.mechanism("block_sparse", 1, 1, head_dim=4, block_size=64, **options)
    assert sparse.largest(made, 4096, rule) < 4096 * 4096 / 16


def test_a_row_that_one_query_sees_is_dot():
  qkv, mask = cases.qkv(2, 2), cases.self_mask(cases.packed(), everything())
  plain = cases.run(cases.mechanism("dot", 2, 2), qkv, mask)
  for ours, theirs in zip(
    cases.run(cases.mechanism("block_sparse", 2, 2, block_size=8), qkv, mask), plain, strict=True
  ):
    sparse.close(ours, theirs)


@pytest.mark.parametrize(
  "options",
  [
    {"pattern": "random"},
    {"block_size": 0},
    {"globals": -1},
    {"random": -1},
    {"columns": 0, "pattern": "fixed"},
    {"columns": 9, "pattern": "fixed", "block_size": 8},
  ],
  ids=str,
)
def test_what_is_out_of_range_is_refused_in_one_line(options):
  with pytest.raises(Refused, match=f"attention.{next(iter(options))}") as caught:
    cases.build.make("attention", {"kind": "block_sparse", **options}, heads=4, head_dim=4)
  assert "\n" not in str(caught.value)
