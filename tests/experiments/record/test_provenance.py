"""What the user sets counts: alone, for all arms or points alike, or in a card; what a card of ours brings does not."""

import pytest

from configs import Refused, override
from experiments.cli import cli
from experiments.protocol import catalog, compare, sweep
from experiments.protocol.claim import Trial
from model.errors import Refused as MineRefused


def test_a_value_that_is_there_anyway_may_be_set_again():
  plain = override.resolve(override.load("recall", ["model.kind=rnn"]))
  assert override.resolve(override.load("recall", ["model.kind=rnn", "model.heads=4"])) == plain
  with pytest.raises(Refused, match=r"model\.heads=8 has no effect on model\.kind=rnn"):
    override.load("recall", ["model.kind=rnn", "model.heads=8"])


def test_heads_may_follow_a_width_that_they_must_divide():
  config = override.load("recall", ["model.kind=rnn", "model.width=63", "model.heads=3"])
  assert (config.model.width, config.model.heads) == (63, 3)


def test_what_is_shared_must_matter_to_one_arm():
  arms = compare.arms("recall", ["model.heads=8"], ["model.kind=bert", "model.kind=rnn"])
  assert [settings["model.heads"] for settings in arms.values()] == ["8", "8"]
  with pytest.raises(Refused, match=r"model\.heads=8 has no effect"):
    compare.arms("recall", ["model.heads=8"], ["model.kind=rnn", "model.kind=rnn,model.cell.kind=gru"])
  with pytest.raises(Refused, match=r"model\.heads=8 has no effect"):
    compare.arms("recall", [], ["model.kind=bert", "model.kind=rnn,model.heads=8"])


def test_what_is_shared_must_matter_at_one_point():
  points = sweep.points("recall", ["model.kind=rnn", "model.heads=8"], ["model.reads=none,after"])
  assert [config["model"]["heads"] for config in points.values()] == [8, 8]
  with pytest.raises(Refused, match=r"model\.heads=8 has no effect"):
    sweep.points("recall", ["model.kind=rnn", "model.heads=8"], ["model.cell.kind=lstm,gru"])


def test_tuples_are_arms_and_points():
  arms = compare.arms("recall", [], ["attention=dot", "attention=banded,model.attention.anchors=(0,1)"])
  assert [*arms.values()][1]["model.attention.anchors"] == "(0,1)"
  points = sweep.points("recall", ["model.attention.kind=banded"], ["model.attention.anchors=(),(0,1),(2,3)"])
  assert [config["model"]["attention"]["anchors"] for config in points.values()] == [[], [0, 1], [2, 3]]


def studies():
  """Every study of our claims once."""
  found = (claim.experiment.study for claim in catalog.all_claims() if isinstance(claim.experiment, Trial))
  return {study.name: study for study in found}.values()


def test_every_arm_of_our_claims_differs_in_what_has_an_effect():
  for study in studies():
    for tier, shared in study.tiers.items():
      arms = [override.load(study.card, own, shared=shared) for own in study.arms_at(tier).values()]
      override.refuse_idle_shared(study.card, shared, arms)


def test_the_command_names_a_users_file_by_its_absolute_path(tmp_path, monkeypatch):
  (tmp_path / "mine.py").write_text("from configs import base\nget_config = base.get_config\n")
  monkeypatch.chdir(tmp_path)
  seen = []
  command = type("Command", (), {"run": staticmethod(lambda space, overrides: (seen.append(space.config) or {}, 0))})
  monkeypatch.setattr(cli, "import_module", lambda name: command)
  for given in ("mine.py", "./mine.py", "recall", "hedas"):
    cli.main(["train", f"--config={given}"])
  assert seen == [str(tmp_path.resolve() / "mine.py")] * 2 + ["recall", "hedas"]


@pytest.mark.parametrize(
  ("arms", "tiers", "said"),
  [
    (
      {"a": {}, "b": {"model.heads": 8}},
      {"quick": {"model.kind": "rnn"}},
      r"arms\['b'\].*model\.heads=8 has no effect",
    ),
    (
      {"a": {}, "b": {"optim.clip": 2.0}},
      {"quick": {"model.cell.kind": "gru"}},
      r"tiers.*model\.cell\.kind=gru has no",
    ),
  ],
)
def test_a_claim_file_is_told_what_has_no_effect(arms, tiers, said, tmp_path):
  (tmp_path / "mine.py").write_text(f"""
from experiments.protocol.claim import Claim, Study, Trial, greater
STUDY = Study(name="tiny", card="recall", metric="auc", arms={arms!r}, tiers={tiers!r})
CLAIMS = (Claim(id="MINE-TINY", document="extension", place="extension", statement="One is better.",
  measure="mean accuracy", experiment=Trial(STUDY, greater("a", "b", 0.1))),)
""")
  with pytest.raises(MineRefused, match=said):
    catalog.select([str(tmp_path / "mine.py")])
