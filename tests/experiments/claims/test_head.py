"""Claims about heads: their checks against known answers, their benches on small cases, their studies as declared."""

import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs import override
from experiments.bench import heads as bench
from experiments.claims.head import checks, published, studies
from experiments.protocol import catalog, study
from experiments.protocol.claim import Bench, Check, Citation, Trial, names
from experiments.run.cohorts import cohort_key, trial_key
from model import build
from train.step import parameters

CLAIMS = [claim for claim in catalog.group("HEAD") if claim.experiment is not None]
TRIALS = [claim for claim in CLAIMS if isinstance(claim.experiment, Trial)]
STUDIES = list({claim.experiment.study.name: claim.experiment.study for claim in TRIALS}.values())


def test_every_row_but_two_has_an_experiment():
  untested = {claim.id for claim in catalog.group("HEAD")} - {claim.id for claim in CLAIMS}
  assert untested == {"HEAD-16a", "HEAD-16b"}


@pytest.mark.parametrize("claim", TRIALS, ids=lambda claim: claim.id)
def test_tests_read_arms_of_their_study_and_probes_that_it_runs(claim):
  for name in names(claim.experiment.test):
    arm, _, measure = name.partition(":")
    assert arm in claim.experiment.study.arms
    if measure.startswith("probe."):
      assert measure.split(".")[1] in claim.experiment.study.probes


@pytest.mark.parametrize("plan", STUDIES, ids=lambda plan: plan.name)
def test_studies_resolve_at_every_tier(plan):
  for tier, arm in itertools.product(plan.tiers, plan.arms):
    config = study.point(plan, tier, arm, lr=plan.grid[0], seed=0, split="validation")
    assert config["train"]["steps"] % config["eval"]["every"] == 0


def count(plan, arm):
  config = study.point(plan, "small", arm, lr=plan.grid[0], seed=0, split="validation")
  return parameters(config, build.make("tasks", dict(config["task"]), package="train"))


def test_arms_that_differ_in_heads_have_equal_parameters():
  for plan, task in itertools.product(STUDIES, ("", "relations=4 ", "relations=1 ", "hops=2 ", "hops=1 ")):
    arms = [arm for arm in plan.arms if arm.startswith(f"{task}heads=") and "head_dim" not in arm]
    assert len({count(plan, arm) for arm in arms}) <= 1
  wide, narrow = (count(studies.MANY, arm) for arm in ("heads=32 head_dim=8", "heads=32"))
  assert wide - narrow == 3 * 4 * 64 * 64


def test_studies_share_the_trials_of_equal_arms():
  pairs = [
    ((studies.FOUR_KEYS, "heads=4"), (studies.RELATIONS, "relations=4 heads=4")),
    ((studies.FOUR_KEYS, "heads=8"), (studies.MANY, "heads=8")),
    ((studies.RELATIONS, "relations=1 heads=1"), (studies.COMPLEXITY, "relations=1 heads=1")),
  ]
  for one, other in pairs:
    configs = [study.point(plan, "small", arm, lr=1e-2, seed=100, split="test") for plan, arm in (one, other)]
    assert trial_key(configs[0], {}) == trial_key(configs[1], {})
  tuned = [
    study.point(p, "small", "heads=4", lr=1e-2, seed=0, split="validation") for p in (studies.FOUR_KEYS, studies.INSIDE)
  ]
  assert trial_key(tuned[0], {}) == trial_key(tuned[1], {})


def test_a_rate_or_a_seed_compiles_nothing_new():
  point = lambda lr, seed: study.point(studies.MANY, "small", "heads=8", lr=lr, seed=seed, split="test")  # noqa: E731
  assert cohort_key(point(1e-2, 100)) == cohort_key(point(2e-2, 101))


@pytest.mark.parametrize("run", ["expression", "guarantee"])
def test_checks_bring_the_samples_that_their_claim_reads(run):
  (claim,) = [c for c in CLAIMS if isinstance(c.experiment, Check) and c.experiment.run == f"head.checks.{run}"]
  samples = getattr(checks, run)()
  assert names(claim.experiment.test) <= set(samples)
  assert all(np.isfinite(values).all() for values in samples.values())
  if run == "guarantee":  # equal heads are no accident of a dead model
    assert max(samples["heads that start equal: loss, last over first"]) < 0.7
    assert min(samples["heads that start apart: largest difference"]) > 0.1


def test_two_features_need_a_large_gain_to_single_out_a_token(monkeypatch):
  order_HT = np.array([[1, 0, 3, 2, 5, 4], [5, 4, 3, 2, 1, 0]])
  assert checks._variation(checks._look(checks.permuting(order_HT), np.eye(6, dtype=np.float32))[0], order_HT) < 1e-6
  monkeypatch.setattr(checks, "GAIN", 1.0)
  blurred, _ = checks._look(checks.permuting(order_HT), np.eye(6, dtype=np.float32))
  assert checks._variation(blurred, order_HT) > 0.5


@given(st.integers(2, 5), st.integers(1, 4))
def test_what_fewer_heads_leave_out_of_disjoint_permutations(heads, terms):
  shifts_HT = (np.arange(6)[None] + np.arange(heads)[:, None]) % 6  # no token is read twice: orthogonal
  assert checks.left_out(shifts_HT, terms) == pytest.approx((max(heads - terms, 0) / heads) ** 0.5, abs=1e-12)


@given(st.integers(0, 2**31))
def test_no_product_of_one_head_comes_closer_than_the_bound(seed):
  rng = np.random.default_rng(seed)
  order_HT = checks._permutations(rng, 2, 4)
  weights_HXY = np.linalg.qr(rng.normal(size=(6, 2)))[0].T.reshape(2, 2, 3)
  whole = sum(np.kron(np.eye(4)[order], w) for order, w in zip(order_HT, weights_HXY, strict=True))
  w_XY = rng.normal(size=(2, 3))
  for _ in range(20):  # alternating least squares over A and W, from a random start
    blocks = whole.reshape(4, 2, 4, 3)
    a_TS = np.einsum("txsy,xy->ts", blocks, w_XY) / np.square(w_XY).sum()
    w_XY = np.einsum("txsy,ts->xy", blocks, a_TS) / np.square(a_TS).sum()
  error = np.linalg.norm(whole - np.kron(a_TS, w_XY)) / np.linalg.norm(whole)
  assert error >= checks.left_out(order_HT, 1) - 1e-9


def test_a_layer_s_cost_grows_with_the_width_of_its_heads():
  few, narrow, wide = (bench.Layer(bench.Size(8, 16, *heads)) for heads in ((2,), (8,), (8, 8)))
  assert few.parameters == narrow.parameters == 4 * 16 * 16
  assert wide.parameters == 4 * few.parameters
  assert few.flops < narrow.flops < wide.flops
  assert few.memory < narrow.memory
  few.call()


def test_the_least_of_several_calls_counts(monkeypatch):
  clock = itertools.accumulate(itertools.cycle([0.0, 5.0, 0.0, 2.0, 0.0, 3.0, 0.0, 9.0, 0.0, 4.0]))
  monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
  assert bench.least_times({"a": lambda: None}) == {"a": 2.0}


def racer(accuracies, times, budget=40, every=10):
  one = object.__new__(bench._Racer)
  one.accuracy, one.times, one.budget, one.every = accuracies, times, budget, every
  return one


def test_a_run_arrives_at_the_first_of_two_good_evaluations():
  run = racer([0.5, 0.92, 0.95], [3.0, 1.0, 2.0])
  assert run.done
  assert run.result() == (20, 0.1, True)
  assert run.result().seconds == 2.0


def test_a_run_that_never_arrives_counts_with_its_budget():
  assert not racer([0.95, 0.5], [1.0] * 2).done
  assert racer([0.95, 0.5, 0.95, 0.5], [1.0] * 4).result() == (40, 0.1, False)


def test_a_race_gives_every_arm_the_same_seeds():
  small = {"task.pairs": 4, "task.keys": 8, "task.relations": 1, "eval.batch": 8, "train.steps": 4, "eval.every": 2}
  runs = bench.race(small, {"one": {"model.heads": 1}, "again": {"model.heads": 1}}, seeds=(0, 1))
  assert {name: [run.steps for run in arm] for name, arm in runs.items()} == {"one": [4, 4], "again": [4, 4]}
  assert all(run.seconds > 0 for arm in runs.values() for run in arm)


def test_benches_bring_the_samples_that_their_claims_read(monkeypatch):
  layer = SimpleNamespace(flops=2.0, memory=2.0, parameters=2.0, call=lambda: None)
  monkeypatch.setattr(bench, "Layer", lambda size: layer)
  monkeypatch.setattr(
    bench, "race", lambda shared, arms, seeds: {arm: [bench.Run(10, 0.1, True)] * len(seeds) for arm in arms}
  )
  for claim in (claim for claim in CLAIMS if isinstance(claim.experiment, Bench)):
    samples = getattr(bench, claim.experiment.run.split(".")[1])()
    wanted = names(claim.experiment.test)
    assert wanted <= set(samples)
    assert {len(samples[name]) for name in wanted} == {len(bench.SEEDS)}


def test_benched_arms_match_in_parameters_and_use_seeds_of_their_own():
  def arm_count(shared, arm):
    config = override.resolve(override.load("heads", {**shared, **arm}))
    return parameters(config, build.make("tasks", dict(config["task"]), package="train"))

  beside, after = (arm_count({}, bench.PLACED[name]) for name in ("side by side", "one after the other"))
  assert beside < after < 1.02 * beside
  assert arm_count(bench.RECALL, bench.TRAINED["8 heads"]) == arm_count(bench.RECALL, bench.TRAINED["fixed width"])
  assert not set(bench.SEEDS) & {*studies.FOUR_KEYS.tuning, *studies.FOUR_KEYS.reporting}


def test_the_table_of_models_is_well_formed_and_its_shares_are_counted():
  (claim,) = [claim for claim in CLAIMS if isinstance(claim.experiment, Citation)]
  rows = claim.experiment.table
  assert len(rows) >= 15
  assert max(Counter(row[0] for row in rows).values()) == 1
  years = [int(year) for _, year, *_ in rows]
  assert years == sorted(years)
  assert all(len(row) == 5 and all(cell.isdigit() for cell in row[1:]) for row in rows)
  early = [row[4] for row in rows if int(row[1]) <= 2019]
  assert published.share(2017, 2019) == (early.count("8") + early.count("12")) / len(early)
  assert published.share(2017, 2024, tuple({row[4] for row in rows})) == 1.0
