"""A claim is told once, as soon as its own trials are there, with what it comes to at the end."""

from experiments.protocol import early, reproduce, sequential, study
from experiments.protocol.claim import Claim, Trial, greater
from tests.experiments.protocol.test_study import Fake, plan


class Slowly(Fake):
  """Brings the results one by one."""

  def trials(self, points, ended=None):
    results = super().trials(points)
    for key, result in results.items():
      if ended:
        ended({key: result})
    return results


def measure(config):
  return {"auc": 0.2 * config["model"]["heads"], "initial_loss": 3.0}


def test_a_study_is_told_when_its_last_trial_ends_and_as_it_comes_out():
  told = []
  two = plan(name="second", reporting=(200, 201))
  studies = [(plan(), "quick"), (two, "quick")]
  found = study.run(studies, early.Watching(Slowly(measure), studies, told.append))
  assert [done.study.name for done in told] == [done.study.name for done in found]
  assert [{name: arm.keys for name, arm in done.arms.items()} for done in told] == [
    {name: arm.keys for name, arm in done.arms.items()} for done in found
  ]


def test_what_a_study_lacks_is_waited_for():
  told = []
  watching = early.Watching(Slowly(measure), [(plan(), "quick")], told.append)
  watching._ended({})
  assert not told
  assert len(watching.waiting[0]) > 1  # its tuning trials


def test_a_claim_is_told_once():
  said = []
  experiment = Trial(plan(), greater("two", "one", 0.0))
  about = {"document": "extension", "place": "extension", "statement": "x", "measure": "auc"}
  claim = Claim(id="HEAD-1", **about, experiment=experiment)
  news = reproduce.News([claim], {"HEAD-1": "quick"}, 1, lambda one, decided: said.append((one.id, decided["verdict"])))
  done = study.run([(plan(), "quick")], Fake(measure))[0]
  news.finished(done)
  news.seen(claim, sequential.first_look(claim, done))
  assert len(said) == 1
  assert said[0][0] == "HEAD-1"
