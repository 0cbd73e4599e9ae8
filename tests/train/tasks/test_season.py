import numpy as np
import pytest

from model.errors import Refused
from tests.train.tasks.test_tasks import draw
from train.tasks.season import Season


def moves(task, size=4000):
  """(series (B, T + 1), targets, weights, the moves x_t - x_{t-period} for t from period on)."""
  batch = draw(task, size=size)
  plain = draw(Season(levels=task.levels, period=task.period, length=task.length, noise=task.noise), size=size)
  series = np.concatenate([plain.inputs.tokens_BTC[..., 0], plain.targets_BTR[:, -1:, 0]], 1)
  np.testing.assert_array_equal(batch.inputs.tokens_BTC[..., 0], series[:, :-1])  # the same rows with the control
  moved = (series[:, task.period :] - series[:, : -task.period]) % task.levels
  return series, batch.targets_BTR[..., 0], batch.weights_BTR[..., 0], moved


@pytest.mark.parametrize(("period", "length"), [(5, 5), (3, 9)])
def test_every_level_comes_again_moved_by_at_most_one(period, length):
  task = Season(levels=7, period=period, length=length, noise=0.3)
  series, targets, weights, moved = moves(task)
  judged = np.arange(1, length + 1) >= period
  assert (weights == judged).all()
  assert (targets[:, judged] == series[:, 1:][:, judged]).all()
  share = np.bincount(moved.ravel(), minlength=7) / moved.size
  np.testing.assert_allclose(share[[0, 1, 6]], [0.7, 0.15, 0.15], atol=0.02)
  assert share[2:6].sum() == 0
  first = np.stack([np.bincount(series[:, t], minlength=7) for t in range(period)]) / len(series)
  np.testing.assert_allclose(first, 1 / 7, atol=0.03)


def test_moves_are_independent_and_bound_accuracy_and_loss():
  task = Season(levels=12, period=4, length=19, noise=0.3)
  _, _, _, moved = moves(task)
  signed = np.where(moved == 11, -1, moved).astype(float)
  correlation = np.corrcoef(signed.T) - np.eye(signed.shape[1])
  assert np.abs(correlation).max() < 0.08
  share = np.bincount(moved.ravel(), minlength=12)[[0, 1, 11]] / moved.size
  assert share.max() == pytest.approx(task.ceiling, abs=0.01)
  assert -(share * np.log(share)).sum() == pytest.approx(task.exact_entropy, abs=0.01)


def test_the_answers_of_the_control_are_one_season_by_position_and_the_same_moves():
  task = Season(levels=8, period=3, length=12, noise=0.4, absolute=True)
  _, targets, weights, moved = moves(task)
  season = (targets - np.pad(moved, ((0, 0), (2, 0)))) % 8  # target t is of time t + 1
  table = [season[0, 2], season[0, 3], season[0, 4]]
  assert len(set(table)) == 3
  for t in range(12):
    assert weights[0, t] == (t >= 2)
    if t >= 2:
      assert (season[:, t] == table[(t + 1) % 3]).all()


@pytest.mark.parametrize(
  "options",
  [{"absolute": True}, {"absolute": True, "levels": 3, "period": 4, "length": 5, "noise": 0.1}],
  ids=str,
)
def test_the_floor_is_the_best_constant_answer(options):
  task = Season(**options)
  batch = draw(task, size=8192)
  share = np.bincount(batch.targets_BTR.ravel(), batch.weights_BTR.ravel()) / batch.weights_BTR.sum()
  assert share.max() == pytest.approx(task.floor, abs=0.01)
  assert task.floor < task.ceiling


def test_extreme_noise():
  assert Season(noise=0.0).exact_entropy == 0
  assert Season(noise=0.0).ceiling == 1
  assert Season(noise=1.0).ceiling == 0.5
  assert Season(noise=1.0).exact_entropy == pytest.approx(np.log(2))


@pytest.mark.parametrize(
  ("options", "told"),
  [
    ({"period": 9, "length": 8}, "9 or more"),
    ({"levels": 2}, "3 or more"),
    ({"period": 1}, "2 or more"),
    ({"noise": 1.1}, "0 to 1"),
    ({"absolute": "no"}, "True or False"),
  ],
)
def test_impossible_options_are_refused(options, told):
  with pytest.raises(Refused, match=told):
    Season(**options)
