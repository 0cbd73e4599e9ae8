"""Replications: the expected chance is what simulation finds, seeds are fresh, answers stay with their row."""

import argparse
from dataclasses import replace

import numpy as np
import pytest

from experiments.cli.commands import replicate
from experiments.ledger import ledger
from experiments.protocol import assess, catalog, looks, repeats, replication, verdict
from experiments.protocol.claim import All, Equivalent, Moderated, Trial, greater
from model.errors import Refused
from tests.experiments.protocol.test_looks import ARMS, CLEAR, claim

ALPHA = 0.0178


def row(samples, test=CLEAR.experiment.test, **more):
  one = claim("MINE-ROW", test, ARMS)
  decided = verdict.verdict(one, samples, ALPHA)
  look = next(looks.schedule(12, 0.05)).record
  made = ledger.row(one, "small", "cpu", decided, look=look, seeds={"tuning": (0,), "reporting": range(100, 112)})
  return {**made, "trials": ["0" * 16], "run": {"date": "2026-01-01"}, **more}


def samples(rng, shift, other=0.0):
  one = rng.normal(0, 0.1, 12)
  return {"one": one, "two": one + 0.1 + rng.normal(shift, 0.1, 12), "four": one + 0.1 + rng.normal(other, 0.1, 12)}


def test_the_expected_chance_is_how_often_a_second_draw_agrees():
  """Truths drawn wide around the minimum effect: among rows promised about as much, as many agree as was promised."""
  rng, told, agreed = np.random.default_rng(0), [], []
  while len(told) < 400:
    shift = rng.uniform(-0.05, 0.2)
    first = row(samples(rng, shift))
    if first["verdict"] == "reproduced":
      told.append(repeats.expected(first))
      agreed.append(row(samples(rng, shift))["verdict"] == "reproduced")
  told, agreed = np.array(told), np.array(agreed)
  assert abs(told.mean() - agreed.mean()) < 0.06
  unsure = told < 0.85
  assert 50 < unsure.sum() < 350
  assert abs(told[unsure].mean() - agreed[unsure].mean()) < 0.12


def test_a_clear_row_is_sure_and_a_row_on_its_minimum_is_a_coin():
  clear = row({"one": np.zeros(12), "two": 0.5 + 0.01 * np.arange(12), "four": np.zeros(12)})
  assert repeats.expected(clear) > 0.99
  test = clear["tests"][0]
  near = {**clear, "tests": [{**test, "bound": [test["minimum_effect"] + 1e-9, test["bound"][1]]}]}
  assert repeats.expected(near) == pytest.approx(0.5, abs=1e-3)


def test_conjunctions_need_all_parts_and_fail_by_their_worst():
  rng = np.random.default_rng(3)
  both = All((greater("two", "one", 0.1), greater("four", "one", 0.1)))
  holds = row(samples(rng, 0.15, 0.15), both)
  parts = [repeats.expected({**holds, "tests": [test]}) for test in holds["tests"]]
  assert holds["verdict"] == "reproduced"
  assert repeats.expected(holds) == pytest.approx(parts[0] * parts[1])
  fails = row(samples(rng, 0.15, -0.2), both)
  assert fails["verdict"] == "refuted"
  assert repeats.expected(fails) == pytest.approx(repeats.expected({**fails, "tests": [fails["tests"][1]]}))


def test_equalities_and_conditions_have_a_chance_too():
  rng = np.random.default_rng(4)
  values = samples(rng, 0.3, 0.0) | {"one": np.zeros(12), "four": rng.normal(0, 0.01, 12)}
  same = row(values, Equivalent(greater("four", "one", 0.0), 0.1, greater("two", "one", 0.0)))
  assert same["verdict"] == "reproduced"
  assert repeats.expected(same) > 0.9
  cells = {"yes": greater("two", "one", 0.1), "no": greater("four", "one", 0.1)}
  split = row(values, Moderated("which", cells, greater("two", "four", 0.05)))
  assert split["verdict"] == "conditional"
  assert 0.9 < repeats.expected(split) <= 1.0


def test_rows_that_no_seed_decided_have_no_chance():
  assert repeats.expected({"verdict": "inconclusive", "tests": []}) is None
  exact = assess.TestResult("x", "EXACT", 3, 0.0, (0, 1), 1.0, None, None, None, True, (0, 1), "above")
  assert repeats.expected({"verdict": "reproduced", "tests": [vars(exact)]}) is None


def test_other_seeds_share_none_with_the_claim():
  again = replication.claim_at(CLEAR, 500).experiment.study
  assert (again.tuning, again.reporting) == ((500, 501, 502), tuple(range(503, 515)))
  for taken in (0, 1, 60, 101, 147):
    with pytest.raises(Refused, match=f"--first_seed={taken}.*148 or more"):
      replication.claim_at(CLEAR, taken)
  assert replication.claim_at(CLEAR, 148)


def test_answers_name_agreement_contradiction_and_what_stays_open():
  base = {"verdict": "reproduced", "condition": None}
  assert replication.agreement(base, base) == "agrees"
  assert replication.agreement(base, {**base, "verdict": "refuted"}) == "contradicts"
  assert replication.agreement(base, {**base, "verdict": "inconclusive"}) == "open"
  split = {"verdict": "conditional", "condition": "a"}
  assert replication.agreement(split, {**split, "condition": "b"}) == "contradicts"


def test_a_replication_stays_with_its_row_through_merges(tmp_path):
  rng = np.random.default_rng(5)
  old = row(samples(rng, 0.2))
  new = row(samples(rng, 0.2)) | {"seeds": {"tuning": [500], "reporting": list(range(501, 513))}}
  path, work = tmp_path / "ledger.jsonl", tmp_path / "work"
  work.mkdir()
  ledger.write(path, [old])
  ledger.write(work / "replications.jsonl", [new])
  for _ in range(2):  # the same seeds are one replication
    merged = ledger.merge(work, path)
  assert [one["answer"] for one in merged[0]["replications"]] == ["agrees"]
  assert replication.told(merged[0]) == "agrees (501–512)"
  (work / "replications.jsonl").unlink()
  ledger.write(work / "ledger.jsonl", [{**old, "verdict": "refuted"}])
  assert replication.told(ledger.merge(work, path)[0]) == "contradicts (501–512)"  # the row has changed, the answer too


def test_a_lot_is_drawn_by_its_seed():
  claims = [replace(CLEAR, id=f"MINE-{number}") for number in range(9)]
  held = {one.id: {"tier": "small"} for one in claims}
  space = lambda **more: argparse.Namespace(**{"tier": "small", "draw": 4, "draw_seed": 1, **more})  # noqa: E731
  first = [one.id for one in replication.chosen(claims, held, space())]
  assert first == [one.id for one in replication.chosen(list(reversed(claims)), held, space())][::-1]
  assert first != [one.id for one in replication.chosen(claims, held, space(draw_seed=3))]
  with pytest.raises(Refused, match="--draw=10 of 9"):
    replication.chosen(claims, held, space(draw=10))
  with pytest.raises(Refused, match="no trained row"):
    replication.chosen([replace(CLEAR, id="MINE-X", experiment=Trial(CLEAR.experiment.study, None))], held, space())


def test_a_claim_of_ones_own_is_told_the_way_to_other_seeds(monkeypatch):
  mine = replace(CLEAR, id="MINE-1")
  monkeypatch.setattr(catalog, "_own", {mine.id: mine})
  with pytest.raises(Refused, match=r"MINE-1 stands in a file of yours.* other seeds .*`assay reproduce` in another"):
    replication.chosen([mine], {}, argparse.Namespace(tier="quick", draw=None, draw_seed=0))


def test_a_cell_of_a_test_is_not_taken_for_markup(capsys):
  told = {"verdict": "reproduced", "reason": "one > two [none]: effect 1"}
  item = {"id": "MINE-1", "tier": "small", "was": told, "is": told, "answer": "agrees", "expected": None}
  replicate._print([item])
  assert "one > two [none]: effect 1" in capsys.readouterr().out
