"""A calibration is renewed where its rules read as they did, and by nothing else."""

from experiments.proof import rules
from experiments.protocol import calibration
from experiments.record import digest, moved


class Past:
  """A history of one commit with these texts of the rules, under today's paths or those before them."""

  def __init__(self, texts, where=lambda path: path):
    self.commits, self.where = ("c" * 40,), where
    self.texts = {where(path): text for path, text in texts.items()}

  def blobs(self, commit):
    return {path: str(hash(text)) for path, text in self.texts.items()}

  def text(self, commit, path):
    return self.texts.get(path) or self.texts.get(self.where(path))

  def reading(self, commit, path):
    return digest.parse(self.text(commit, path), path)

  def document(self):
    read = {path: digest.parse(text, path).text for path, text in self.texts.items()}
    return {"code_sha256": digest.of_texts(read), "null": {"above": 1}}


TEXTS = {path: (digest.root() / path).read_bytes() for path in calibration.RULES}


def test_rules_that_moved_are_the_same():
  past = Past(TEXTS, moved.path_before)
  document, problem = rules.renewed(past.document(), past)
  assert not problem
  assert document["code_sha256"] == calibration.rules()
  assert document["null"] == {"above": 1}
  assert document["proof"]["since"] == past.commits[0]


def test_another_rule_or_an_unknown_one_is_not_renewed():
  path = "experiments/protocol/repeats.py"
  assert b"ENOUGH = 0.8" in TEXTS[path]
  past = Past({**TEXTS, path: TEXTS[path].replace(b"ENOUGH = 0.8", b"ENOUGH = 0.7")})
  document, problem = rules.renewed(past.document(), past)
  assert document is None
  assert path in problem
  document, problem = rules.renewed({"code_sha256": "0" * 64}, past)
  assert document is None
  assert "no commit" in problem
