"""Scores against a slow loop; statuses and summaries on curves made by hand."""

import math

import jax
import numpy as np
import pytest

from train import metrics


def test_score_equals_a_slow_loop():
  rng = np.random.default_rng(0)
  logits, targets = rng.normal(size=(2, 3, 2, 5)), rng.integers(0, 5, size=(2, 3, 2))
  weights, slices = rng.integers(0, 2, size=(2, 3, 2)).astype(float), rng.integers(0, 2, size=(2, 3, 2))
  sums = metrics.score(logits, targets, weights, slices, 2)
  nll = right = 0.0
  per_slice = np.zeros((2, 2))
  for index in np.ndindex(2, 3, 2):
    p = np.exp(logits[index]) / np.exp(logits[index]).sum()
    hit = weights[index] * (p.argmax() == targets[index])
    nll -= weights[index] * math.log(p[targets[index]])
    right += hit
    per_slice[slices[index]] += (hit, weights[index])
  np.testing.assert_allclose([sums.nll, sums.right, sums.weight], [nll, right, weights.sum()], rtol=1e-5)
  np.testing.assert_allclose(np.stack([sums.slice_right_L, sums.slice_weight_L], 1), per_slice, rtol=1e-5)


def test_logits_that_are_not_finite_are_never_right():
  sums = metrics.score(
    np.full((1, 1, 1, 3), np.nan), np.zeros((1, 1, 1), int), np.ones((1, 1, 1)), np.zeros((1, 1, 1), int), 1
  )
  assert sums.right == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_label_smoothing_is_cross_entropy_with_smoothed_targets(smoothing):
  logits = np.random.default_rng(1).normal(size=(1, 4, 1, 6))
  targets, weights = np.array([[[0], [1], [5], [3]]]), np.array([[[1.0], [0.0], [2.0], [1.0]]])
  smooth = (1 - smoothing) * np.eye(6)[targets[..., 0]][:, :, None] + smoothing / 6
  each = -(smooth * np.asarray(jax.nn.log_softmax(logits))).sum(-1)
  expected = (each * weights).sum() / weights.sum()
  assert metrics.cross_entropy(logits, targets, weights, smoothing) == pytest.approx(expected, rel=1e-5)


def curve(train, accuracy, start=2.0):
  first = {"step": 0, "loss": start, "accuracy": 0.1, "train_loss": start, "grad_norm": 1.0, "grad_norm_max": 1.0}
  rows = [
    {"step": 10 * (i + 1), "loss": t, "accuracy": a, "train_loss": t, "grad_norm": 1.0, "grad_norm_max": 2.0}
    for i, (t, a) in enumerate(zip(train, accuracy, strict=True))
  ]
  return [first, *rows]


@pytest.mark.parametrize(
  ("train", "expected"),
  [
    ([1.5, 1.0], "done"),
    ([1.99, 1.95], "stalled"),
    ([1.0, 2.5], "diverged"),
    ([1.0, math.nan], "diverged"),
    ([math.inf, 1.0], "diverged"),
  ],
)
def test_statuses(train, expected):
  assert metrics.status(curve(train, [0.1] * len(train)))[0] == expected


def test_summary_counts_what_a_run_did_not_live_to_see():
  whole = metrics.summary(curve([1.0, 0.5, 0.2, 0.1], [0.5, 0.9, 0.95, 1.0]), planned=4)
  assert whole["auc"] == pytest.approx((0.5 + 0.9 + 0.95 + 1.0) / 4)
  assert (whole["t90"], whole["t90_restricted"], whole["accuracy"]) == (20, 20, 1.0)
  cut = metrics.summary(curve([1.0, math.nan], [0.5, 0.0]), planned=4)
  assert cut["auc"] == pytest.approx(0.5 / 4)
  assert (cut["t90"], cut["t90_restricted"], cut["accuracy"]) == (math.inf, 40, 0.0)


def test_the_target_must_be_held_for_two_evaluations():
  assert metrics.summary(curve([1.0] * 4, [0.95, 0.5, 0.91, 0.92]), planned=4)["t90"] == 30
